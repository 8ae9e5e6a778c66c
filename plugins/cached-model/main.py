from dify_plugin import DifyPluginEnv

from difykit.plugin import GuardedPlugin

# A request may take as long as the host lets it: 600 s, less its own margin.
plugin = GuardedPlugin(DifyPluginEnv(MAX_REQUEST_TIMEOUT=600))

if __name__ == "__main__":
    plugin.run()
