"""The breaker: stop asking a store that does not answer, until it answers again.

The breaker opens after one call that the store refused or cut off, or after several
calls in a row without an answer in time. A call counts only the time in which its
process runs (see ``connection.Budget``), so a busy process opens no breaker.

While the breaker is open every call fails at once. A thread asks the store every
``PROBE_EVERY`` seconds; its first answer closes the breaker. The log has one line when the
breaker opens and one when it closes.

This is our own code, because the usual library holds its lock during the call.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from cachecore.errors import NotAsked, StoreError, StoreTimeout

logger = logging.getLogger(__name__)

# The breaker opens after this many timeouts in a row.
TIMEOUTS: Final = 3
PROBE_EVERY: Final = 0.075
# After this many seconds of an outage, the store is asked less often.
_LONG_OUTAGE: Final = 30.0
_PROBE_SELDOM: Final = 0.5
# If no thread has asked the store for this long, a caller does: the process was frozen,
# or no thread could be started.
_NOBODY_ASKS: Final = 2.0


class Breaker:
    """Guards the calls to one store. ``name`` is for the log and contains no secret.

    ``probe`` asks the store once, and raises StoreError if it does not answer. Without a
    probe, a caller tries every ``_NOBODY_ASKS`` seconds.
    """

    def __init__(
        self,
        name: str,
        probe: Callable[[], None] | None = None,
        *,
        timer: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._name = name
        self._probe = probe
        self._timer = timer
        self._sleep = sleep
        self._lock = threading.Lock()  # guards all below; never held around a call
        self._timeouts = 0
        self._opened_at = 0.0
        self._asked_at = 0.0
        self._opened = 0
        self._away = 0.0
        self.is_open = False

    @contextmanager
    def call(self, *, forced: bool = False) -> Iterator[None]:
        """Raise NotAsked at once while open; otherwise count the errors of the body.

        A StoreError of the body is a failure. NotAsked is none, because nothing was
        sent. A ``forced`` call always passes, because a person waits for its result.
        """
        tries = self.is_open
        if tries and not (forced or self._tries()):
            raise NotAsked(
                "Redis did not answer a moment ago; it will be asked again soon."
            )
        try:
            yield
        except NotAsked:
            raise
        except StoreError as error:
            self.fail(error)
            raise
        # A call that began before the breaker opened is no new evidence.
        if tries or (self._timeouts and not self.is_open):
            self.succeed()

    def _tries(self) -> bool:
        """Whether this caller must try, because nothing else asks the store."""
        with self._lock:
            now = self._timer()
            if now - self._asked_at < _NOBODY_ASKS:
                return False
            self._asked_at = now
            return True

    def fail(self, error: StoreError) -> None:
        """Count a failure; open if there is enough evidence."""
        with self._lock:
            if isinstance(error, StoreTimeout):
                self._timeouts += 1
                if self._timeouts < TIMEOUTS:
                    return
            if self.is_open:
                return
            self.is_open = True
            self._opened += 1
            self._opened_at = self._asked_at = self._timer()
        logger.warning(
            "the cache at %s is unavailable, answers come from upstream: %s",
            self._name,
            error.remedy,
        )
        if self._probe is not None:
            thread = threading.Thread(
                target=self._ask_until_it_answers, name="cache-probe", daemon=True
            )
            with suppress(RuntimeError):  # no more threads: callers try
                thread.start()

    def succeed(self) -> None:
        """Note an answer of the store; close the breaker if it is open."""
        with self._lock:
            self._timeouts = 0
            if not self.is_open:
                return
            self.is_open = False
            self._away += self._timer() - self._opened_at
        logger.warning("the cache at %s is available again", self._name)

    @property
    def outages(self) -> tuple[int, float]:
        """The number of outages, and the total seconds of those that ended."""
        with self._lock:
            return self._opened, self._away

    def _ask_until_it_answers(self) -> None:
        assert self._probe is not None  # noqa: S101 - started only with one
        while self.is_open:
            now = self._asked_at = self._timer()
            try:
                self._probe()
            except StoreError:
                lasts = now - self._opened_at
                self._sleep(PROBE_EVERY if lasts < _LONG_OUTAGE else _PROBE_SELDOM)
            else:
                self.succeed()
                return
