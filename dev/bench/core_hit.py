"""A hit in the core against a raw GET of the same answer, in one process.

Our side builds the key of a 2 KB prompt each time, reads the entry and its stamps from
Redis, checks and decodes the entry, and makes the piece that is replayed.
"""

import uuid
from collections.abc import Callable, Iterator

import redis
from gevent import monkey

from bench.measure import Result, by_turns, ratio, timed
from bench.texts import messages, prose
from cachecore.answer import Piece, Usage
from cachecore.opening import StoreSettings, open_cache
from cachecore.policy import Rules
from cachecore.request import Request


def hits(
    redis_url: str,
    text: str,
    *,
    rules: Rules = Rules(),  # noqa: B008 - frozen
    tags: tuple[str, ...] = (),
) -> Callable[[], str]:
    """A function that answers ``text`` from the cache."""
    namespace = f"bench-{uuid.uuid4().hex[:8]}"
    cache = open_cache(StoreSettings(namespace, redis_url, timeout=2))
    asked, loads = messages(), 0

    def load() -> Iterator[Piece]:
        nonlocal loads
        loads += 1
        if loads > 1:
            raise AssertionError("the calls were not hits")
        yield Piece(text)
        yield Piece(finish_reason="stop", usage=Usage(500, 500))

    def hit() -> str:
        form = {"model": "m", "temperature": 0.2, "messages": [*map(dict, asked)]}
        request = Request(kind="llm", label="m", form=form, rules=rules, tags=tags)
        return "".join(piece.text for piece in cache.stream(request, load))

    hit()
    if hit() != text:
        raise AssertionError("the hit is not the answer that was kept")
    return hit


def run(
    redis_url: str,
    *,
    size: int,
    limit: float | None,
    rounds: int,
    times: int,
    callers: int = 1,
) -> Iterator[Result]:
    """Time both by turns."""
    text = prose(size)
    hit = hits(redis_url, text)
    raw = raw_get(redis_url, text)
    ours, reference = by_turns(
        lambda: timed(hit, times, callers), lambda: timed(raw, times, callers), rounds
    )
    patched = monkey.is_module_patched("socket")
    how = f"{callers} caller{'s' * (callers > 1)}{', gevent' * patched}"
    name = f"core hit / raw GET, {size // 1024} KB, {how}"
    yield ratio(name, ours, reference, limit)


def raw_get(redis_url: str, text: str) -> Callable[[], bytes]:
    """A function that reads ``text`` from the Redis unchanged."""
    client = redis.Redis.from_url(redis_url)
    key = f"bench-raw-{uuid.uuid4().hex[:8]}"
    client.set(key, text, px=600_000)

    def raw() -> bytes:
        found: bytes | None = client.get(key)
        if found is None:
            raise AssertionError("the plain answer is missing")
        return found

    if raw() != text.encode():
        raise AssertionError("another answer than was set")
    return raw
