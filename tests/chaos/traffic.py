"""Fifty questions a second at a cache whose Redis is in trouble, each answer checked.

The number of questions is bounded. The upstream is a function in this process, and
can always answer, so every failed answer is a fault of the cache.
"""

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from cachecore.answer import Piece, Usage
from cachecore.cache import Cache
from cachecore.keys import Keyspace
from cachecore.redis_url import parse
from cachecore.request import Request
from cachecore.stores.redis import RedisStore

RATE = 50
QUESTIONS = 10
# In ms: far above the permitted delay of an answer, far below redis-py's own timeout.
HANGING = 2000.0


@dataclass
class Tally:
    """The result of a run, with a time in milliseconds for each answer."""

    wrong: list[str] = field(default_factory=list)
    failed: list[BaseException] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    loads: int = 0

    def report(self, name: str) -> str:
        """One line for a person."""
        ordered = sorted(self.times)
        return (
            f"{name:44} {len(ordered):4} answers, {self.loads:4} loads, "
            f"{len(self.wrong)} wrong, {len(self.failed)} failed; "
            f"median {statistics.median(ordered):6.2f} ms, "
            f"worst {ordered[-1]:7.2f} ms"
        )


class Traffic:
    """Questions to a cache of its own; ``run`` may be called several times.

    ``processes`` caches, each with connections of its own, represent this many
    processes. A pause of ``pause`` seconds before each piece makes a load slow.
    """

    def __init__(
        self,
        url: str,
        namespace: str = "chaos",
        *,
        processes: int = 1,
        pause: float = 0.0,
        **options: float,
    ) -> None:
        self._stores = [RedisStore(parse(url), **options) for _ in range(processes)]
        self._caches = [Cache(store, Keyspace(namespace)) for store in self._stores]
        self._pause = pause
        self.store, self.cache = self._stores[0], self._caches[0]

    def close(self) -> None:
        """Drop the connections."""
        for store in self._stores:
            store.close()

    def run(
        self, seconds: float, during: Callable[[float], None] | None = None
    ) -> Tally:
        """Ask for ``seconds``; ``during`` receives the seconds that have passed."""
        tally = Tally()
        threads = []
        started = time.monotonic()
        for number in range(int(seconds * RATE)):
            due = started + number / RATE
            time.sleep(max(0.0, due - time.monotonic()))
            if during is not None:
                during(time.monotonic() - started)
            thread = threading.Thread(target=self._ask, args=(number, tally))
            thread.start()
            threads.append(thread)
        for thread in threads:
            thread.join(30)
            if thread.is_alive():
                tally.failed.append(TimeoutError("an answer took more than 30 s"))
        return tally

    def _ask(self, number: int, tally: Tally) -> None:
        # Two questions in a row are equal; if there are two processes, each gets one.
        question = f"question {number // 2 % QUESTIONS}"
        request = Request(kind="llm", label="m", form={"question": question})

        def load() -> Iterator[Piece]:
            tally.loads += 1
            for text in (f"the answer to {question}", ", ", "whole"):
                time.sleep(self._pause)
                yield Piece(text)
            yield Piece(finish_reason="stop", usage=Usage(3, 4))

        began = time.perf_counter()
        try:
            cache = self._caches[number % len(self._caches)]
            pieces = cache.stream(request, load)
            text = "".join(piece.text for piece in pieces)
        except Exception as error:
            tally.failed.append(error)
        else:
            if text != f"the answer to {question}, whole":
                tally.wrong.append(text)
        tally.times.append((time.perf_counter() - began) * 1e3)


def sound(tally: Tally, name: str) -> None:
    """Print the report; assert that no answer was wrong, failed or hung."""
    print(tally.report(name))
    assert tally.wrong == []
    assert tally.failed == []
    assert max(tally.times) < HANGING


def recovers(traffic: Traffic) -> None:
    """Wait for hits: the trouble must be over, and the breaker must try first."""
    deadline = time.monotonic() + 40
    while traffic.run(0.3).loads:
        assert time.monotonic() < deadline, "the cache never came back"


@contextmanager
def troubled(url: str, **options: Any) -> Iterator[Traffic]:
    """Traffic that has run without a fault until now."""
    traffic = Traffic(url, **options)
    sound(traffic.run(0.4), "before")
    yield traffic
    traffic.close()
