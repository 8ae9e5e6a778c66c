"""What is done behind the answers, every few seconds, in a thread of its own."""

import logging
import threading
from collections.abc import Callable
from typing import Final

from cachecore.errors import StoreError

logger = logging.getLogger(__name__)

EVERY: Final = 2.0


class Background:
    """Runs jobs soon after there is something to do, and no thread while there is not.

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
        self._lock = threading.Lock()  # of who runs the jobs

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
                self._round()
        elif not self.woken:
            self.woken = True
            timer = threading.Timer(self._every, self._run)
            timer.name, timer.daemon = "cache-background", True
            try:
                timer.start()
            except RuntimeError:  # no more threads just now
                self.woken = False

    def _run(self) -> None:
        self.woken = False
        if not self._round():
            self.wake()

    def _round(self) -> bool:
        """Run every job once; whether all of them could do their work."""
        if not self._lock.acquire(blocking=False):
            return False  # This very round may have asked for it.
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
        except Exception as error:  # noqa: BLE001 - the others must go on
            logger.warning("work behind the answers failed: %s", type(error).__name__)
        return True
