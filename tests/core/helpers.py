"""Helpers of the core's tests: a clock that tests set, and small factories."""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from cachecore.answer import Piece, Usage
from cachecore.cache import Cache
from cachecore.errors import StoreError
from cachecore.events import Event, Lookup, Refused
from cachecore.keys import Keyspace
from cachecore.request import Request
from cachecore.stores.base import Found
from cachecore.stores.memory import MemoryStore
from tests.virtual_time import VirtualTime

END = Piece(finish_reason="stop", usage=Usage(7, 2))


def await_threads(name: str) -> None:
    """Wait for the background work of this test with that name."""
    for thread in threading.enumerate():
        # In virtual time each test has its own class of threads.
        if thread.name == name and isinstance(thread, threading.Thread):
            thread.join(10)


def each(
    names: str | Sequence[str], cases: Iterable[Any]
) -> Callable[[Callable[..., None]], Callable[[], None]]:
    """Like ``pytest.mark.parametrize``, in one test; it names the first failed case.

    For tables of pure functions, where pytest takes ten times as long as the functions.
    """

    def decorate(test: Callable[..., None]) -> Callable[[], None]:
        def whole() -> None:
            for case in cases:
                try:
                    test(*([case] if isinstance(names, str) else case))
                except BaseException as error:
                    error.add_note(f"of the case {case!r}")
                    raise

        whole.__name__ = test.__name__
        return whole

    return decorate


class FakeClock:
    """A clock that moves only when a test moves it."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


class BrokenStore:
    """A fake: a store that does not answer, and counts its calls."""

    def __init__(self) -> None:
        self.asked = 0

    def _fail(self, *_: Any, **__: Any) -> Any:
        self.asked += 1
        raise StoreError("the store is broken")

    shared = True
    look_up = keep = delete = settle = replace = forget = check = _fail
    claim = heartbeat = commit = read = order = _fail
    publish = gather = append = tail = facts = advice = _fail
    look_up_many = keep_many = _fail

    def outages(self) -> tuple[int, float]:
        return 0, 0.0


class FailingFrom:
    """A fake: a memory store in which ``method`` fails; ``fail_in`` changes it.

    ``calls`` has the calls of the requests themselves, not those of the heartbeat.
    """

    def __init__(self, inner: MemoryStore, method: str) -> None:
        self.inner, self._method, self.calls = inner, method, []
        self.shared = inner.shared
        self.failed = False

    def fail_in(self, method: str) -> None:
        self._method = method

    def mend(self) -> None:
        self.fail_in("")

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            if threading.current_thread().name != "cache-heartbeat":
                self.calls.append(name)
            if name == self._method:
                self.failed = True
                raise StoreError("broken here")
            return getattr(self.inner, name)(*args, **options)

        return call


class Bench:
    """A cache over memory, with a clock, chance, events and an upstream that counts."""

    def __init__(self, store: Any = None, draw: float = 0.5, **options: Any) -> None:
        self.clock = FakeClock()
        self.draw = draw  # from 0 to 1: what chance gives
        self.store = store or MemoryStore(clock=self.clock)
        self.events: list[Event] = []
        self.loads = 0
        time = VirtualTime.current
        if time is not None:
            options = {"monotonic": time, "sleep": time.sleep, **options}
        self.cache = Cache(
            self.store,
            options.pop("keyspace", Keyspace("test")),
            clock=self.clock,
            hook=self.events.append,
            chance=lambda: self.draw,
            **options,
        )

    def loader(
        self, *texts: str, end: Piece | None = END
    ) -> Callable[[], Iterator[Piece]]:
        def load() -> Iterator[Piece]:
            self.loads += 1
            for text in texts:
                yield Piece(text=text)
            if end is not None:
                yield end

        return load

    def ask(
        self, request: Request, *texts: str, end: Piece | None = END
    ) -> list[Piece]:
        return list(
            self.cache.stream(
                request, self.loader(*(texts or ("hello ", "world")), end=end)
            )
        )

    def text(self, request: Request, *texts: str) -> str:
        return "".join(piece.text for piece in self.ask(request, *texts))

    @property
    def reasons(self) -> list[str]:
        return [
            event.reason.value for event in self.events if isinstance(event, Lookup)
        ]

    @property
    def refusals(self) -> list[str]:
        return [
            event.refusal.value for event in self.events if isinstance(event, Refused)
        ]


def request(question: str = "q", **changes: Any) -> Request:
    return replace(
        Request(kind="llm", label="m", form={"question": question}), **changes
    )


def found(
    value: bytes | None, fields: Sequence[str], stored: Mapping[str, str]
) -> Found:
    return Found(value, tuple(stored.get(field) for field in fields))
