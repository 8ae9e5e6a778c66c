"""The pairs that GPTCache and RedisVL serve at their defaults: JSON in, JSON out.

Each pair has a cache of its own: one question is stored, the other is asked. Both use
the given vectors, because their own models come from a hub. GPTCache runs unchanged.
RedisVL needs a server with RediSearch; here its default distance is applied directly.
"""

import inspect
import json
import sys
import tempfile
from typing import Any

import numpy as np
from gptcache import Cache
from gptcache.adapter.api import get, init_similar_cache, put
from gptcache.embedding.base import BaseEmbedding
from redisvl.extensions.cache.llm import SemanticCache

type Vectors = dict[str, list[float]]


class _Given(BaseEmbedding):
    """The vectors of the input."""

    def __init__(self, vectors: Vectors) -> None:
        self._vectors = vectors

    def to_embeddings(self, data: Any, **_: Any) -> Any:
        return np.array(self._vectors[data], dtype="float32")

    @property
    def dimension(self) -> int:
        return len(next(iter(self._vectors.values())))


def _gptcache(one: str, other: str, vectors: Vectors) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        cache = Cache()
        init_similar_cache(folder, cache, embedding=_Given(vectors))
        put(one, "kept", cache_obj=cache)
        return get(other, cache_obj=cache) is not None


def _redisvl(one: str, other: str, vectors: Vectors) -> bool:
    defaults = inspect.signature(SemanticCache.__init__).parameters
    a, b = np.array(vectors[one]), np.array(vectors[other])
    cosine = a @ b / (np.linalg.norm(a) * np.linalg.norm(b))
    return bool(1 - cosine <= defaults["distance_threshold"].default)


def main() -> None:
    given = json.load(sys.stdin)
    vectors: Vectors = given["vectors"]
    found = {
        name: [served(one, other, vectors) for one, other in given["pairs"]]
        for name, served in (("GPTCache", _gptcache), ("RedisVL", _redisvl))
    }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
