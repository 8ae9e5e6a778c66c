"""A Dify host for development: it runs built packages as Dify's daemon does.

It fails in the cases in which the daemon fails. Each such rule names its file and line
in langgenius/dify-plugin-daemon (commit bdb5642a).
"""
