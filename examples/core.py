"""The core alone: a cache for any slow load whose result is requested again.

Run it twice with a Redis: REDIS_URL=redis://127.0.0.1:6379/0 python examples/core.py
"""

import os
from collections.abc import Iterator

from cachecore import Piece, Request, StoreSettings, open_cache

cache = open_cache(StoreSettings("example", os.environ.get("REDIS_URL", "")))


def ask_a_model() -> Iterator[Piece]:
    print("(the model is asked)")
    yield Piece("Parcels arrive ")
    yield Piece("after three days.", finish_reason="stop")


request = Request(
    kind="llm", label="my-model", form={"question": "When?"}, tags=("faq",)
)
for _ in range(2):
    print("".join(piece.text for piece in cache.stream(request, ask_a_model)))
cache.admin.invalidate(["tag:faq"])
print("".join(piece.text for piece in cache.stream(request, ask_a_model)))
