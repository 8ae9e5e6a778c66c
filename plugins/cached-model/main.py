from dify_plugin import DifyPluginEnv

from difykit.plugin import GuardedPlugin

# The host's own limit for a request is 600 s.
plugin = GuardedPlugin(DifyPluginEnv(MAX_REQUEST_TIMEOUT=600))

if __name__ == "__main__":
    plugin.run()
