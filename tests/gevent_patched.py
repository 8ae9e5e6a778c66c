"""A pytest plugin: it patches first, as ``import dify_plugin`` in a real process."""

import gevent.monkey

gevent.monkey.patch_all(sys=True)
