"""What is done behind the answers, every few seconds, in a thread of its own."""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from cachecore.errors import StoreError

logger = logging.getLogger(__name__)

EVERY: Final = 2.0
_IDLE: Final = 60.0


class Background:
    """Runs jobs while there is something to do, and no thread while there is not.

    ``every`` in seconds. A job that raises StoreError is tried again with the next
    round. ``at_once`` is for a process that is frozen or gone between two calls: jobs
    run before the call ends, and nothing behind it.
    """

    def __init__(self, every: float = EVERY, *, at_once: bool = False) -> None:
        self._every = every
        self._jobs: list[Callable[[], None]] = []
        self.at_once = at_once
        # Whether the next round is sure to come: who sees that need not wake it.
        self.woken = False
        self._lock = threading.Lock()  # of who starts the thread, or runs the jobs
        self._thread: threading.Thread | None = None

    def also(self, job: Callable[[], None]) -> None:
        """Run this too, after those that were there."""
        self._jobs.append(job)

    def wake(self, *, last: bool = False) -> None:
        """Say that there is something to do, ``last`` of one call.

        Costs next to nothing, but for the last at once. Waits for no lock: Python's
        garbage collector may close an answer, and so come here, while this very thread
        holds one.
        """
        if self.at_once:
            if last:
                self._run_now()
            return
        if self._thread is None:
            self._start()
        self.woken = self._thread is not None

    def _run_now(self) -> None:
        if self._lock.acquire(blocking=False):
            try:
                self._round()
            finally:
                self._lock.release()

    def _start(self) -> None:
        if not self._lock.acquire(blocking=False):
            return  # Another caller starts it; or the next event does.
        try:
            if self._thread is None:
                thread = threading.Thread(
                    target=self._run, name="cache-background", daemon=True
                )
                with suppress(RuntimeError):  # no more threads just now
                    thread.start()
                    self._thread = thread
        finally:
            self._lock.release()

    def _run(self) -> None:
        idle = 0.0
        try:
            while idle < _IDLE:
                time.sleep(self._every)
                idle = 0.0 if self.woken else idle + self._every
                self.woken = False
                if not self._round():
                    self.woken = True  # Not done yet: it is no time to leave.
        finally:
            self._thread = None
        if self.woken:  # Somebody woke it while it went to sleep.
            self._start()

    def _round(self) -> bool:
        """Run every job once; whether all of them could do their work."""
        done = [self._try(job) for job in self._jobs]
        return all(done)

    @staticmethod
    def _try(job: Callable[[], None]) -> bool:
        try:
            job()
        except StoreError:
            return False
        except Exception as error:  # noqa: BLE001 - the others must go on
            logger.warning("work behind the answers failed: %s", type(error).__name__)
        return True
