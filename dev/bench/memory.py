"""The memory of an entry in Redis, against its answer: the growth of used_memory.

Entries as Cached Model keeps them, of prose without repetition, in a separate Redis.
python -m bench.memory prints the table of docs/operations.md.
"""

import random
from collections.abc import Iterator

import redis
from servers import redis as servers

from bench.measure import Result
from bench.texts import random_prose
from cachecore.answer import Piece, Usage
from cachecore.opening import StoreSettings, open_cache
from cachecore.request import Request

_COUNT = 300
_SIZES = (500, 2048, 8192, 20480)
# From this size on, an answer must be stored in half of its bytes.
_LONG = 8192
LANGUAGES = {"en": "English", "zh": "Chinese"}


def run(*, secret: str = "", limit: float = 0.5) -> Iterator[Result]:
    """Bytes of the Redis for an entry, over those of its answer."""
    rng = random.Random(7)
    with servers.server() as (url, _):
        client = redis.Redis.from_url(url)
        for language, name in LANGUAGES.items():
            for size in _SIZES:
                took, raw = _entry(client, url, size, language, secret, rng)
                share = took / raw
                yield Result(
                    f"bytes of an entry / answer, {size / 1024:.1f} KB, {name}",
                    took,
                    raw,
                    share,
                    (share, share),
                    limit if size >= _LONG else None,
                    of="B",
                )
        client.close()


def _entry(
    client: "redis.Redis",
    url: str,
    size: int,
    language: str,
    secret: str,
    rng: random.Random,
) -> tuple[float, float]:
    client.flushall()
    settings = StoreSettings("memory", url, secret, timeout=5, events="off")
    cache = open_cache(settings)
    answers = [random_prose(size, language, rng) for _ in range(_COUNT)]

    def keep(number: int) -> None:
        def load() -> list[Piece]:
            return [Piece(answers[number], (), "stop", Usage(400, 300))]

        form = {"question": number, "size": size, "language": language}
        for _ in cache.stream(Request("llm", "m", form), load):
            pass

    keep(0)  # the stamps
    before = client.info("memory")["used_memory"]
    for number in range(1, _COUNT):
        keep(number)
    took = (client.info("memory")["used_memory"] - before) / (_COUNT - 1)
    raw = sum(len(one.encode()) for one in answers) / _COUNT
    return took, raw


if __name__ == "__main__":
    print("| answer | bytes an entry | of the answer's |\n|---|---|---|")
    for secret in ("", "a long secret of the cache"):
        for result in run(secret=secret):
            what = result.name.partition(", ")[2] + ", encrypted" * bool(secret)
            print(f"| {what} | {result.ours:.0f} | {result.figure:.2f} |")
