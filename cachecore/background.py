"""Background work: jobs that run every few seconds in a thread of their own."""

import logging
import threading
from collections.abc import Callable
from typing import Final

from cachecore.errors import StoreError

logger = logging.getLogger(__name__)

EVERY: Final = 2.0


class Background:
    """Runs jobs soon after ``wake``; there is no thread while there is no work.

    ``every`` is in seconds. A job that raises StoreError runs again in the next round.
    ``at_once`` is for a process that is frozen or ended between two calls: the jobs run
    before the call ends, and nothing runs after it.
    """

    def __init__(self, every: float = EVERY, *, at_once: bool = False) -> None:
        self._every = every
        self._jobs: list[Callable[[], None]] = []
        self.at_once = at_once
        # Whether the next round will certainly run: then nobody has to wake it.
        self.woken = False
        self._lock = threading.Lock()  # held while the jobs run

    def also(self, job: Callable[[], None]) -> None:
        """Add a job, which runs after the present ones."""
        self._jobs.append(job)

    def wake(self, *, last: bool = False) -> None:
        """Report that there is work; ``last`` says that a call ends with it.

        It takes almost no time, except for the last one under ``at_once``. It waits for
        no lock: Python's garbage collector may close an answer, which calls this, while
        the same thread holds a lock.
        """
        if self.at_once:
            if last:
                self._round()
        elif not self.woken:
            self.woken = True
            timer = threading.Timer(self._every, self._run)
            timer.name, timer.daemon = "cache-background", True
            try:
                timer.start()
            except RuntimeError:  # no thread can be started
                self.woken = False

    def _run(self) -> None:
        self.woken = False
        if not self._round():
            self.wake()

    def _round(self) -> bool:
        """Run every job once; whether all of them succeeded."""
        if not self._lock.acquire(blocking=False):
            # Another thread runs the jobs; the next round runs them again.
            return False
        try:
            done = [self._done(job) for job in self._jobs]
            return all(done)
        finally:
            self._lock.release()

    @staticmethod
    def _done(job: Callable[[], None]) -> bool:
        try:
            job()
        except StoreError:
            return False
        except Exception as error:  # noqa: BLE001 - the other jobs must run
            logger.warning("background work failed: %s", type(error).__name__)
        return True
