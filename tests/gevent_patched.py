"""A pytest plugin: patch first, as ``import dify_plugin`` does in a real process."""

import gevent.monkey

gevent.monkey.patch_all(sys=True)
