"""The core of the cache: keys, entries, policy, stores and flights.

It knows nothing of Dify, gevent or HTTP. Read ``cache.py`` first: it is the
only file that knows the order in which the others are used.
"""
