"""The time of a hit as the cache grows: entries, values, tags, callers.

Each is measured against the smallest of its kind, by turns; 1 means no growth.
"""

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import cycle

import redis
from servers import redis as servers

from bench.core_hit import hits, raw_get
from bench.measure import Result, by_turns, ratio, timed
from bench.texts import prose
from cachecore.answer import Piece, Usage
from cachecore.opening import StoreSettings, open_cache
from cachecore.policy import Rules
from cachecore.request import Request

ENTRIES = (10**3, 10**4, 10**5, 10**6)
SIZES = (1, 10, 100, 1000)  # KB
TAGS = (0, 4, 16)
CALLERS = (1, 10, 100, 1000)
FLAT = 1.2
_ASKED = 1000  # of the entries are asked for
_FILL = """for number = tonumber(ARGV[1]), tonumber(ARGV[2]) do
  redis.call('SET', ARGV[3] .. number .. '}', ARGV[4], 'PX', 86400000)
end"""


def entries(*, rounds: int, times: int, most: int) -> Iterator[Result]:
    """A hit among more and more entries, each number in a separate Redis."""
    counts = [count for count in ENTRIES if count <= most]
    with ExitStack() as stack:
        asks = []
        for count in counts:
            url, _ = stack.enter_context(servers.server())
            asks.append(_among(url, count))
        timings: list[list[float]] = [[] for _ in counts]
        for turn in range(rounds + 1):
            for ask, found in zip(asks, timings, strict=True):
                taken = timed(ask, times)
                if turn:
                    found.append(taken)
        for count, found in zip(counts[1:], timings[1:], strict=True):
            name = f"core hit, {count:,} entries / {counts[0]:,}"
            yield ratio(name, found, timings[0], FLAT)


def _among(url: str, count: int) -> Callable[[], object]:
    """A function that asks by turns for some of ``count`` entries."""
    namespace = f"bench-{uuid.uuid4().hex[:8]}"
    cache = open_cache(StoreSettings(namespace, url, timeout=5, events="off"))
    answer = prose(200)
    asked = [
        Request("llm", "m", {"question": number})
        for number in range(min(count, _ASKED))
    ]
    for request in asked:
        for _ in cache.stream(request, lambda: [_piece(answer)]):
            pass
    client = redis.Redis.from_url(url)
    key = cache.key(asked[0])
    value, start = client.get(key), key[: key.index("{")] + "{" + "0" * 57
    for first in range(len(asked), count, 50_000):
        last = min(first + 50_000, count) - 1
        client.eval(_FILL, 0, first, last, start, value)
    kept = client.dbsize()
    if not isinstance(kept, int) or kept < count:
        raise AssertionError(f"{kept} of {count} entries")
    turns = cycle(asked)

    def ask() -> None:
        def load() -> list[Piece]:
            raise AssertionError("the hits were none")

        for _ in cache.stream(next(turns), load):
            pass

    return ask


def _piece(text: str) -> Piece:
    return Piece(text, (), "stop", Usage(50, 50))


def values(redis_url: str, *, rounds: int, times: int) -> Iterator[Result]:
    """A hit of longer and longer answers, against a raw GET of each."""
    rules = Rules(max_entry_bytes=4 * 1024 * 1024)
    for size in SIZES:
        text = prose(size * 1024)
        hit, raw = hits(redis_url, text, rules=rules), raw_get(redis_url, text)
        often = max(20, times // size)
        ours, reference = by_turns(
            lambda hit=hit, often=often: timed(hit, often),  # type: ignore[misc]
            lambda raw=raw, often=often: timed(raw, often),  # type: ignore[misc]
            rounds,
        )
        yield ratio(f"core hit / raw GET, {size:,} KB", ours, reference, None)


def tags(redis_url: str, *, rounds: int, times: int) -> Iterator[Result]:
    """A hit of entries with more and more tags, against one without tags."""
    text = prose(2048)
    plain = hits(redis_url, text)
    for count in TAGS[1:]:
        own = tuple(f"topic:{number}" for number in range(count))
        hit = hits(redis_url, text, tags=own)
        ours, reference = by_turns(
            lambda hit=hit: timed(hit, times),  # type: ignore[misc]
            lambda: timed(plain, times),
            rounds,
        )
        yield ratio(f"core hit, {count} tags / none", ours, reference, None)


def callers(redis_url: str, *, rounds: int, times: int) -> Iterator[Result]:
    """A hit of one process with more and more callers, against one; needs gevent."""
    hit = hits(redis_url, prose(2048))
    alone: list[float] = []
    crowds: dict[int, list[float]] = {count: [] for count in CALLERS[1:]}
    for _ in range(rounds):
        alone.append(timed(hit, times))
        for count, found in crowds.items():
            found.append(timed(hit, max(times, 2 * count), count))
    for count, found in crowds.items():
        yield ratio(f"core hit, {count:,} callers / one, gevent", found, alone, FLAT)
