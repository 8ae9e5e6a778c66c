"""The core of the cache: keys, entries, policy, stores and flights.

It does not depend on Dify, gevent or HTTP. Read ``cache.py`` first: only this file has the
order in which the others are used. ``examples/core.py`` uses the core alone.
"""

from cachecore.answer import Piece, Usage
from cachecore.cache import Cache, RequestState
from cachecore.entry import Cost
from cachecore.errors import CacheError, NothingCached
from cachecore.keys import Keyspace
from cachecore.opening import StoreSettings, open_cache, open_statistics
from cachecore.policy import Control, Rules, Scope, Traits
from cachecore.request import Request

__all__ = [
    "Cache",
    "CacheError",
    "Control",
    "Cost",
    "Keyspace",
    "NothingCached",
    "Piece",
    "Request",
    "RequestState",
    "Rules",
    "Scope",
    "StoreSettings",
    "Traits",
    "Usage",
    "open_cache",
    "open_statistics",
]
