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


class Behind:
    """Runs jobs while there is something to do, and no thread while there is not.

    ``every`` in seconds. A job that raises StoreError is tried again with the next
    round. ``at_once`` is for a process that is frozen or gone between two calls: jobs
    run before the call ends, and nothing behind it.
    """

    def __init__(self, every: float = EVERY, *, at_once: bool = False) -> None:
        self._every = every
        self._at_once = at_once
        self._jobs: list[Callable[[], None]] = []
        self._woken = False
        self._lock = threading.Lock()  # guards _thread
        self._thread: threading.Thread | None = None

    def also(self, job: Callable[[], None]) -> None:
        """Run this too."""
        self._jobs.append(job)

    def wake(self, *, last: bool = False) -> None:
        """Say that there is something to do, ``last`` of one call.

        Costs next to nothing, but for the last at once.
        """
        if self._at_once:
            for job in self._jobs if last else ():
                self._try(job)
            return
        self._woken = True
        if self._thread is None:
            self._start()

    def _start(self) -> None:
        with self._lock:
            if self._thread is not None:
                return
            thread = threading.Thread(
                target=self._run, name="cache-behind", daemon=True
            )
            with suppress(RuntimeError):  # no more threads; the next event tries again
                thread.start()
                self._thread = thread

    def _run(self) -> None:
        idle = 0.0
        while idle < _IDLE:
            time.sleep(self._every)
            idle = 0.0 if self._woken else idle + self._every
            self._woken = False
            for job in self._jobs:
                self._try(job)
        with self._lock:
            self._thread = None
        if self._woken:  # Somebody woke it while it went to sleep.
            self._start()

    @staticmethod
    def _try(job: Callable[[], None]) -> None:
        try:
            job()
        except StoreError:
            pass
        except Exception as error:  # noqa: BLE001 - the others must go on
            logger.warning("work behind the answers failed: %s", type(error).__name__)
