"""A Dify host for development: it runs built packages as Dify's daemon does.

It fails where the daemon fails; each such rule names the file and line of
langgenius/dify-plugin-daemon (commit bdb5642a) it was read from.
"""
