"""Connections of redis-py whose calls end in time, and making them aside."""

import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Final

import redis

from cachecore.errors import StillConnecting

MAX_CONNECTIONS: Final = 64
type Command = tuple[str | bytes | int, ...]
type Reply = Any

CONNECT_LIMIT: Final = 2.0


class Aside[T]:
    """Makes something off the answer's path.

    Who needs one waits until ``until`` and no longer; what is ready later is
    handed to ``keep``. While one is that late, nobody waits for another.
    """

    def __init__(
        self,
        make: Callable[[], T],
        keep: Callable[[T], None],
        fail: Callable[[Exception], None],
    ) -> None:
        self._make, self._keep, self._fail = make, keep, fail
        self._lock = threading.Lock()  # guards _late and who takes what was made
        self._late = 0

    def get(self, until: float) -> T:
        if self._late:
            raise StillConnecting
        made: Future[T] = Future()
        left: list[bool] = []
        threading.Thread(target=self._run, args=(made, left), daemon=True).start()
        try:
            return made.result(max(0.0, until - time.monotonic()))
        except TimeoutError:
            with self._lock:
                if not made.done():
                    left.append(True)
                    self._late += 1
                    raise StillConnecting from None
            return made.result()

    def _run(self, made: "Future[T]", left: list[bool]) -> None:
        thing: T | None = None
        failure: Exception | None = None
        try:
            thing = self._make()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told below
            failure = error
        with self._lock:
            if left:
                self._late -= 1
            elif failure is not None:
                made.set_exception(failure)
            else:
                made.set_result(thing)  # type: ignore[arg-type]
        if not left:
            return
        if failure is not None:
            self._fail(failure)
        else:
            self._keep(thing)  # type: ignore[arg-type]


class Bounded:
    """A socket whose calls end together, at ``until``: its own limit is for each."""

    __slots__ = ("_sock", "until")

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self.until = time.monotonic() + CONNECT_LIMIT

    def recv(self, size: int) -> bytes:
        left = self.until - time.monotonic()
        if left > 0:
            self._sock.settimeout(left)
            with suppress(TimeoutError):
                return self._sock.recv(size)  # type: ignore[no-any-return]
        # What has arrived by now counts: a process too busy to look in time is no
        # fault of Redis. What never ends is not waited for, though.
        if left > -CONNECT_LIMIT:
            self._sock.settimeout(0)
            with suppress(BlockingIOError, ssl.SSLWantReadError):
                return self._sock.recv(size)  # type: ignore[no-any-return]
        raise TimeoutError

    def sendall(self, data: bytes) -> None:
        self._sock.settimeout(max(0.001, self.until - time.monotonic()))
        self._sock.sendall(data)

    def is_stale(self) -> bool:
        """Whether the other end has left, or sent what nobody asked for."""
        self._sock.settimeout(0)
        try:
            self._sock.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        except OSError:
            pass
        return True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


class BoundedMixin:
    """A connection of redis-py over such a socket."""

    _sock: Any

    def _connect(self) -> Bounded:
        return Bounded(super()._connect())  # type: ignore[misc]

    def bound(self, until: float) -> None:
        """End everything asked of it from now on at ``until``."""
        self._sock.until = until

    def is_stale(self) -> bool:
        """Whether it can't be used any more."""
        return bool(self._sock.is_stale())


class Plain(BoundedMixin, redis.Connection): ...


class Tls(BoundedMixin, redis.SSLConnection): ...


class Unix(BoundedMixin, redis.UnixDomainSocketConnection): ...
