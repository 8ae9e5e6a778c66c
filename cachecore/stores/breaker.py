"""Stop asking a store that does not answer, and notice soon when it does.

The breaker opens on evidence: one call that the store refused or cut off, or several
calls in a row that it did not answer in time. A call counts its waiting in turns of its
own process (see ``connection.Budget``), so a busy process is no evidence.

While the breaker is open every call fails at once. A thread asks the store every
``PROBE_EVERY`` seconds; its first answer closes the breaker. The log has one line when the
breaker opens and one when it closes.

Our own, because the usual library holds its lock around the call.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from cachecore.errors import NotAsked, StoreError, StoreTimeout

logger = logging.getLogger(__name__)

# So many calls in a row must time out before the breaker opens.
TIMEOUTS: Final = 3
PROBE_EVERY: Final = 0.075
# After so many seconds the store is asked less often: it is a long outage.
_LONG_OUTAGE: Final = 30.0
_PROBE_SELDOM: Final = 0.5
# Where no thread asks the store (a frozen process, no more threads), a caller does.
_NOBODY_ASKS: Final = 2.0


class Breaker:
    """Guards the calls to one store. ``name`` is for the log and holds no secret.

    ``probe`` asks the store once and raises StoreError where it does not answer; without
    one a caller tries, every ``_NOBODY_ASKS`` seconds.
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
        """Raise NotAsked at once while open; else watch what the body raises.

        A StoreError out of the body is a failure, but for NotAsked: nothing was sent.
        ``forced`` is let through at any time: a person waits for its verdict.
        """
        tries = self.is_open
        if tries and not (forced or self._tries()):
            raise NotAsked("Redis did not answer a moment ago and is being left alone.")
        try:
            yield
        except NotAsked:
            raise
        except StoreError as error:
            self.fail(error)
            raise
        # One that began before it opened says nothing new.
        if tries or (self._timeouts and not self.is_open):
            self.succeed()

    def _tries(self) -> bool:
        """Whether this caller is the one to try, since nobody else asks the store."""
        with self._lock:
            now = self._timer()
            if now - self._asked_at < _NOBODY_ASKS:
                return False
            self._asked_at = now
            return True

    def fail(self, error: StoreError) -> None:
        """Count a failure; open where the evidence is enough."""
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
        """Count an answer of the store; close where the breaker is open."""
        with self._lock:
            self._timeouts = 0
            if not self.is_open:
                return
            self.is_open = False
            self._away += self._timer() - self._opened_at
        logger.warning("the cache at %s is available again", self._name)

    @property
    def outages(self) -> tuple[int, float]:
        """How often it has opened, and the seconds of those times that are over."""
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
