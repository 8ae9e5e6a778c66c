"""Time that passes only while every thread of a test waits.

A test with threads then does not depend on the machine: a wait of a minute takes no time,
and a thread that gets no processor for a second misses nothing. ``VirtualTime.install``
replaces ``threading.Condition``, ``Event``, ``Thread`` and ``Timer``, and ``time.sleep``.
The threads that wait are counted. When the last one waits, the clock jumps to the earliest
time limit, and its thread goes on.
"""

import heapq
import itertools
import threading
import time
from collections import deque
from typing import Any, ClassVar

import pytest

_RealCondition, _RealThread = threading.Condition, threading.Thread
_real_sleep = time.sleep
_LONGEST = 86_400.0  # seconds of a test


class _Ended(BaseException):
    """Ends a thread that waits when its test has ended."""


class _Waiter:
    """A thread that waits for a notification or for a time."""

    def __init__(self, condition: "_Condition", until: float | None) -> None:
        self.condition, self.until = condition, until
        self.notified = self.awake = False
        self.lock = threading.Lock()
        self.lock.acquire()


class VirtualTime:
    """The clock; the thread that makes it is the first that counts."""

    current: "ClassVar[VirtualTime | None]" = None  # the installed one

    def __init__(self, now: float = 1000.0) -> None:
        self._now = self._began = now
        self._condition = type("C", (_Condition,), {"time": self})
        self._owner = threading.current_thread()
        self._lock = threading.RLock()  # guards all below
        self._running = 1
        self._waiting: list[tuple[float, int, _Waiter]] = []
        self._forever: set[_Waiter] = set()
        self._order = itertools.count()
        self._closed = ""

    def __call__(self) -> float:
        return self._now

    def counts(self) -> bool:
        """Whether this thread belongs to the test; an earlier test may have left one."""
        thread = threading.current_thread()
        return thread is self._owner or getattr(thread, "time", None) is self

    def sleep(self, seconds: float) -> None:
        if not self.counts():
            _real_sleep(seconds)
            return
        condition = self._condition()
        with condition:
            condition.wait(seconds)

    def stop_process(self, seconds: float) -> None:
        """Let time pass as if the process was stopped, and then let all threads run."""
        self._now += seconds
        self.sleep(0)

    def install(self, patch: pytest.MonkeyPatch) -> None:
        VirtualTime.current = self
        patch.setattr(threading, "Condition", self._condition)
        patch.setattr(threading, "Event", _Event)  # gevent has one of its own
        of_test = type("T", (_Thread,), {"time": self})
        patch.setattr(threading, "Thread", of_test)
        patch.setattr(threading, "Timer", type("R", (_Timer, of_test), {}))
        patch.setattr(time, "sleep", self.sleep)

    def close(self, why: str = "the test has ended") -> None:
        """End every thread that still waits."""
        VirtualTime.current = None
        with self._lock:
            self._closed = why
            for waiter in [*self._forever, *(one for _, _, one in self._waiting)]:
                self.wake(waiter)

    def enter(self) -> None:
        """Count one more running thread."""
        with self._lock:
            self._running += 1

    def leave(self) -> None:
        """Count one less; let time pass if it was the last."""
        with self._lock:
            self._running -= 1
            self._pass()

    def block(self, waiter: _Waiter) -> None:
        """Return when the waiter is awake."""
        with self._lock:
            if self._closed:
                self._end()
            if waiter.until is None:
                self._forever.add(waiter)
            else:
                entry = waiter.until, next(self._order), waiter
                heapq.heappush(self._waiting, entry)
        self.leave()
        waiter.lock.acquire()
        if self._closed and not waiter.notified:
            self._end()

    def _end(self) -> None:
        if isinstance(threading.current_thread(), _Thread):
            raise _Ended
        raise AssertionError(self._closed)

    def wake(self, waiter: _Waiter) -> None:
        with self._lock:
            if not waiter.awake:
                waiter.awake = True
                self._forever.discard(waiter)
                self._running += 1
                waiter.lock.release()

    def _pass(self) -> None:
        if self._now > self._began + _LONGEST and not self._closed:
            self.close("time passed without an end")
        while self._running == 0 and self._waiting:
            until, _, waiter = heapq.heappop(self._waiting)
            if not waiter.awake:
                self._now = max(self._now, until)
                waiter.condition.forget(waiter)
                self.wake(waiter)
        if self._running == 0 and self._forever and not self._closed:
            self.close("every thread waits for another one")


class _Condition(_RealCondition):
    time: VirtualTime

    def __init__(self, lock: Any = None) -> None:
        super().__init__(lock)
        self._waiters_here: deque[_Waiter] = deque()

    def wait(self, timeout: float | None = None) -> bool:
        if not self.time.counts():
            return super().wait(timeout)
        until = None if timeout is None else self.time() + max(0.0, timeout)
        waiter = _Waiter(self, until)
        self._waiters_here.append(waiter)
        held = self._release_save()  # type: ignore[attr-defined]
        try:
            self.time.block(waiter)
        finally:
            self._acquire_restore(held)  # type: ignore[attr-defined]
        return waiter.notified

    def notify(self, n: int = 1) -> None:
        for _ in range(min(n, len(self._waiters_here))):
            waiter = self._waiters_here.popleft()
            waiter.notified = True
            self.time.wake(waiter)
        super().notify(n)

    def notify_all(self) -> None:
        self.notify(len(self._waiters_here))
        super().notify_all()

    def forget(self, waiter: _Waiter) -> None:
        self._waiters_here.remove(waiter)


class _Event:
    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._is_set = False

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        with self._changed:
            self._is_set = True
            self._changed.notify_all()

    def clear(self) -> None:
        self._is_set = False

    def wait(self, timeout: float | None = None) -> bool:
        with self._changed:
            return self._is_set or self._changed.wait(timeout) or self._is_set


class _Thread(_RealThread):
    time: VirtualTime

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._has_ended = threading.Event()

    def start(self) -> None:
        if not self.time.counts():
            self.time = None  # type: ignore[assignment]
            super().start()
            return
        self.time.enter()
        try:
            super().start()
        except BaseException:
            self.time.leave()
            raise

    def run(self) -> None:
        try:
            self.work()
        except _Ended:
            pass
        finally:
            self._has_ended.set()
            if self.time is not None:
                self.time.leave()

    def work(self) -> None:
        super().run()

    def join(self, timeout: float | None = None) -> None:
        self._has_ended.wait(timeout)

    def is_alive(self) -> bool:
        return super().is_alive() and not self._has_ended.is_set()


class _Timer(_Thread):
    def __init__(self, interval: float, function: Any) -> None:
        super().__init__()
        self.interval, self.function = interval, function

    def work(self) -> None:
        self.time.sleep(self.interval)
        self.function()
