"""The credentials of the tools and the settings of the endpoints, read.

Both hold the same cache fields, under the same names as Cached Model's form,
so that what is typed once can be pasted.
"""

import hashlib
import os
from collections.abc import Mapping
from typing import Any

from cachecore import config
from cachecore.cache import Cache
from cachecore.config import Settings
from cachecore.keys import canonical
from cachecore.options import Options


def read(credentials: Mapping[str, Any]) -> Settings[Options]:
    """The cache fields; raises ConfigError with one sentence."""
    return config.read(credentials, os.environ, Options)


def open_cache(settings: Settings[Options]) -> Cache:
    """The cache that the settings name."""
    return config.open_cache(settings.store)


def ticket_key(settings: Settings[Options]) -> bytes:
    """What tickets are signed with: known to the credentials' holder only.

    Without a cache secret it rests on the Redis URL, which holds the password.
    """
    store = settings.store
    form = canonical(["ticket", store.namespace, store.redis_url, store.secret])
    return hashlib.sha256(form).digest()
