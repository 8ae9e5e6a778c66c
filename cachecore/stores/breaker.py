"""Stop asking a store that does not answer.

The first failure opens the breaker: for a while every call fails at once. Then
one call at a time is let through to try; its success closes the breaker, its
failure opens it for longer. One log line when it opens, one when it closes.

Our own, because the usual library holds its lock around the call.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from cachecore.errors import NotAsked, StillConnecting, StoreError

logger = logging.getLogger(__name__)

FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 15.0


class Breaker:
    """Guards the calls to one store. ``name`` is for the log: no secret in it.

    ``told`` hears whether it opens, each time it opens or closes.
    """

    def __init__(
        self,
        name: str,
        timer: Callable[[], float] = time.monotonic,
        told: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self._name = name
        self._timer = timer
        self._told = told
        self._lock = threading.Lock()  # guards all below; never held around a call
        self._pause = FIRST_PAUSE
        self._retry_at: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether calls fail without being tried."""
        return self._retry_at is not None

    @contextmanager
    def call(self, *, forced: bool = False) -> Iterator[None]:
        """Raise StoreError at once while open; else watch what the body raises.

        A StoreError out of the body counts as a failure, anything else not, and
        neither does StillConnecting: what is being connected to has not failed.
        Only the call that was let through to try moves an open breaker: those
        that were under way when it opened say nothing new. ``forced`` is let
        through at any time: a person waits for its verdict.
        """
        tries = self._admit(forced=forced)
        try:
            yield
        except StillConnecting:
            raise
        except StoreError as error:
            self.fail(error, tried=tries)
            raise
        if tries:
            self._close()

    def _admit(self, *, forced: bool) -> bool:
        if not self.is_open:
            return False
        if forced:
            return True
        with self._lock:
            now = self._timer()
            if self._retry_at is None:
                return False  # Closed while this caller waited for the lock.
            if now < self._retry_at:
                msg = "Redis did not answer a moment ago and is being left alone."
                raise NotAsked(msg)
            # This caller tries; the others wait for its verdict.
            self._retry_at = now + self._pause
            return True

    def fail(self, error: StoreError, *, tried: bool = False) -> None:
        """Open it, or keep it open for longer if this call was let through to try."""
        with self._lock:
            opens = self._retry_at is None
            if tried:
                self._pause = min(self._pause * 2, LONGEST_PAUSE)
            if opens or tried:
                self._retry_at = self._timer() + self._pause
        if opens:
            logger.warning(
                "the cache at %s is unavailable, answers come from upstream: %s",
                self._name,
                error.remedy,
            )
            self._told(True)

    def _close(self) -> None:
        with self._lock:
            self._retry_at = None
            self._pause = FIRST_PAUSE
        logger.warning("the cache at %s is available again", self._name)
        self._told(False)
