"""A hit in the core against a raw GET of the same answer, in one process.

Ours builds the key of a 2 KB prompt each time, asks Redis for the entry and its
stamps, checks and decodes the entry, and makes the piece that is replayed.
"""

import uuid
from collections.abc import Iterator

import redis

from bench.measure import Result, by_turns, ratio, timed
from cachecore.config import StoreSettings, open_cache
from cachecore.request import Request
from cachecore.streams import Piece, Usage

SENTENCE = "The parcel is on its way and arrives within two to four working days. "


def prose(size: int) -> str:
    """Text of ``size`` characters."""
    return (SENTENCE * (size // len(SENTENCE) + 1))[:size]


def run(redis_url: str, *, size: int, limit: float, rounds: int, times: int) -> Result:
    """Time both by turns."""
    settings = StoreSettings(f"bench-{uuid.uuid4().hex[:8]}", redis_url, timeout=2)
    cache, text, prompt = open_cache(settings), prose(size), prose(2048)
    client = redis.Redis.from_url(redis_url)
    client.set(f"{settings.namespace}:raw", text, px=60_000)

    loads = 0

    def load() -> Iterator[Piece]:
        nonlocal loads
        loads += 1
        yield Piece(text)
        yield Piece(finish_reason="stop", usage=Usage(500, 500))

    def hit() -> str:
        messages = [
            {"role": "system", "content": prompt},
            {"role": "user", "content": "When does my parcel come?"},
        ]
        form = {"model": "m", "temperature": 0.2, "messages": messages}
        request = Request(kind="llm", label="m", form=form)
        return "".join(piece.text for piece in cache.stream(request, load))

    def raw() -> bytes | None:
        return client.get(f"{settings.namespace}:raw")

    hit()
    if hit() != text or raw() != text.encode():
        raise AssertionError("the hit is not the answer that was kept")
    ours, reference = by_turns(
        lambda: timed(hit, times), lambda: timed(raw, times), rounds
    )
    if loads != 1:
        raise AssertionError(f"{loads} loads: the hits were none")
    return ratio(f"core hit, {size // 1024} KB / raw GET", ours, reference, limit)
