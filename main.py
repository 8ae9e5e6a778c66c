from dify_plugin import DifyPluginEnv, Plugin

# A request may take as long as the host lets it: 600 s, less its own margin.
plugin = Plugin(DifyPluginEnv(MAX_REQUEST_TIMEOUT=600))

if __name__ == "__main__":
    plugin.run()
