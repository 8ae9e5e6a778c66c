"""Apps that call apps: a call through which an app would call itself is refused.

An app runs the apps that it calls as its own user. So the chain of calls is found by
user: in this process, and in the store for other processes. A call is forgotten when it
has ended.
"""

import threading
from typing import Final

from cachetools import TTLCache

from cachecore.cache import Cache
from cachecore.events import INTERNAL
from cachecore.policy import Rules
from cachecore.request import Request
from rag_cache.caller import Caller
from rag_cache.errors import ReverseError

# The most apps in a chain of calls; and how long a call is remembered if its process
# was killed before it ended.
_MAX_DEPTH: Final = 5
_SECONDS: Final = 300

# Calls in progress, by user and called app: the chain of callers, and the number of
# calls.
_under_way: TTLCache[tuple[str, str], tuple[list[str], int]] = TTLCache(4096, _SECONDS)
_lock = threading.Lock()


class Call:
    """A call of an app, from ``enter`` to ``end``."""

    def __init__(self, cache: Cache, caller: Caller, app_id: str) -> None:
        self._cache = cache
        self._caller = caller
        self._app_id = app_id
        self._chain: list[str] = []
        self._remembered = False

    def enter(self) -> None:
        """Begin. Raises ReverseError for a circle."""
        caller = self._caller
        if not caller.app_id:
            return
        mine, target = (caller.user_id, caller.app_id), (caller.user_id, self._app_id)
        with _lock:
            above, _ = _under_way.get(mine, ([], 0))
        if not above:
            kept = self._cache.find(_request(caller, caller.app_id)).entry
            above = kept.payload if kept else []
        chain = [*above, caller.app_id]
        if self._app_id in chain or len(chain) > _MAX_DEPTH:
            msg = "The app was not called: it would end up calling itself."
            raise ReverseError(msg)
        with _lock:
            _, count = _under_way.get(target, ([], 0))
            _under_way[target] = chain, count + 1
        self._chain = chain

    def remember(self) -> None:
        """Write the call to the store for other processes, because the app will run."""
        if not self._chain:
            return
        request = _request(self._caller, self._app_id)
        look = self._cache.find(request)
        stamps = self._cache.settle(look)
        if stamps is not None:
            self._remembered = True
            self._cache.keep(request, look.key, stamps, self._chain)

    def end(self) -> None:
        """End the call. Must be called once, also after an error."""
        if not self._chain:
            return
        target = self._caller.user_id, self._app_id
        with _lock:
            chain, count = _under_way.pop(target, ([], 0))
            if count > 1:
                _under_way[target] = chain, count - 1
        if self._remembered:
            self._cache.drop(_request(self._caller, self._app_id))


def _request(caller: Caller, app_id: str) -> Request:
    return Request(
        kind="value",
        label=INTERNAL,
        form={"callers of": app_id, "for": caller.user_id},
        rules=Rules(ttl=_SECONDS),
    )
