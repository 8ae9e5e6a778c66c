"""Apps that call apps: a call that would lead one back to itself is refused.

An app runs its callees as its own user, so who called whom is found by user: in this
process, and in the store for the others. A call is forgotten when it has ended.
"""

import threading
from collections.abc import Callable
from typing import Final

from cachetools import TTLCache

from cachecore.cache import Cache
from cachecore.metrics import INTERNAL
from cachecore.policy import Rules
from cachecore.request import Request
from rag_cache.caller import Caller
from rag_cache.reverse import ReverseError

# Apps that may call one another, at most; and how long a call is remembered whose
# process was killed before it ended.
_MAX_DEPTH: Final = 5
_SECONDS: Final = 300

# Calls under way, by user and app called: who called, and how many of them.
_under_way: TTLCache[tuple[str, str], tuple[list[str], int]] = TTLCache(4096, _SECONDS)
_lock = threading.Lock()


def enter(cache: Cache, caller: Caller, app_id: str) -> Callable[[], None]:
    """Begin a call; what is returned ends it. Raises ReverseError for a circle."""
    if not caller.app_id:
        return lambda: None
    mine, target = (caller.user_id, caller.app_id), (caller.user_id, app_id)
    above = cache.find(_request(caller, caller.app_id)).entry
    with _lock:
        known, _ = _under_way.get(mine, ([], 0))
        chain = [*(known or (above.payload if above else ())), caller.app_id]
        if app_id in chain or len(chain) > _MAX_DEPTH:
            msg = "The app was not called: it would end up calling itself."
            raise ReverseError(msg)
        _, count = _under_way.get(target, ([], 0))
        _under_way[target] = chain, count + 1
    _remember(cache, caller, app_id, chain)
    return lambda: _leave(cache, caller, app_id)


def _leave(cache: Cache, caller: Caller, app_id: str) -> None:
    target = caller.user_id, app_id
    with _lock:
        chain, count = _under_way.pop(target, ([], 0))
        if count > 1:
            _under_way[target] = chain, count - 1
            return
    cache.drop(_request(caller, app_id))


def _remember(cache: Cache, caller: Caller, app_id: str, chain: list[str]) -> None:
    request = _request(caller, app_id)
    look = cache.find(request)
    stamps = cache.settle(look)
    if stamps is not None:
        cache.keep(request, look.key, stamps, chain)


def _request(caller: Caller, app_id: str) -> Request:
    return Request(
        kind="value",
        label=INTERNAL,
        form={"callers of": app_id, "for": caller.user_id},
        rules=Rules(ttl=_SECONDS),
    )
