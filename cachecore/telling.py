"""Telling other processes of the loads that this one leads, and keeping their leases.

One thread for all leads, while there are any: it sends what is new and gives signs of life.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from cachecore import records
from cachecore.errors import StoreError
from cachecore.lead import Lead
from cachecore.records import Pace
from cachecore.stores.base import Beat, Store

logger = logging.getLogger(__name__)
# Tokens of leaders that are waited for no more; their leases end within seconds.
_REMEMBERED: Final = 1024
# Ends of loads that are told between two rounds of signs of life.
_ENDS: Final = 8


class Telling:
    """The thread that tells, and what it knows of each lead. Thread-safe."""

    def __init__(
        self,
        store: Store,
        cipher_key: bytes | None,
        timer: Callable[[], float] = time.monotonic,
        pace: Pace | None = None,
    ) -> None:
        self.store = store
        self.timer = timer
        self.pace = pace or Pace()
        self._cipher_key = cipher_key
        # Reentrant: the collector may close a leader while its thread holds it.
        self._changed = threading.Condition(threading.RLock())  # guards all below
        self._leads: set[Lead] = set()
        self._abandoned: OrderedDict[str, None] = OrderedDict()
        self._bids: dict[str, Lead] = {}  # by token, until it is known who leads
        self._bidden: set[str] = set()  # their keys
        self._thread: threading.Thread | None = None

    def add(self, lead: Lead) -> None:
        """Tell for this load from now on."""
        with self._changed:
            self._leads.add(lead)
            if self._thread is None or not self._thread.is_alive():
                thread = threading.Thread(
                    target=self._run, name="cache-relay", daemon=True
                )
                # No more threads to be had: the next load tries again, and this one
                # is not told meanwhile.
                with suppress(RuntimeError):
                    thread.start()
                    self._thread = thread
            elif lead.end is not None:
                self._changed.notify()

    def drop(self, lead: Lead) -> None:
        """Tell no more for this load."""
        with self._changed:
            self._leads.discard(lead)

    def give_up(self, token: str) -> None:
        """Wait for this leader no more: who claims next takes its lease over."""
        with self._changed:
            self._abandoned[token] = None
            while len(self._abandoned) > _REMEMBERED:
                self._abandoned.popitem(last=False)

    def abandon(self, lead: Lead) -> None:
        """Give back, as soon as the store can be reached, a lease that nobody leads under.

        Until then this process does not wait for it; others wait for a sign of life.
        """
        self.give_up(lead.token)
        now = self.timer()
        lead.failed = False
        lead.ends_at = now + self.pace.lease
        lead.end, lead.due = records.GONE, now + self.pace.beat
        self.add(lead)

    def wake(self) -> None:
        """A load is due earlier than it was."""
        with self._changed:
            self._changed.notify()

    def _run(self) -> None:
        while True:
            due = self._due()
            if due is None:
                return
            try:
                self._tell(due)
            except Exception as error:  # noqa: BLE001 - the thread serves all loads
                logger.warning("a load was not told on: %s", type(error).__name__)
                for lead in due:
                    lead.failed = True
                    if lead.end is None:
                        self.drop(lead)

    def _due(self) -> list[Lead] | None:
        """Those that something is to be said for; None when nobody flies any more."""
        idle_since = self.timer()
        with self._changed:
            while True:
                now = self.timer()
                # A copy: the collector may close a leader, and add it, in mid-loop.
                leads = list(self._leads)
                due = [lead for lead in leads if lead.due <= now]
                if due:
                    return due
                # It looks up by itself: waking it costs a leader time before its
                # first token.
                wait = min((lead.due - now for lead in leads), default=1)
                self._changed.wait(min(wait, self.pace.glance))
                if leads:
                    idle_since = now
                elif not self._leads and now - idle_since > self.pace.patience:
                    self._thread = None
                    return None

    def _tell(self, due: Sequence[Lead]) -> None:
        # Who is landing speaks for itself.
        live = [lead for lead in due if lead.end is None]
        held = [lead for lead in live if lead.busy.acquire(blocking=False)]
        try:
            with self._changed:
                flying = [lead for lead in held if lead in self._leads]
            unheard = [lead for lead in flying if not lead.joined]
            self._beat(flying)
            # Those who were just found to listen shall not wait for the next turn.
            self._beat([lead for lead in unheard if lead.joined and not lead.failed])
        finally:
            for lead in held:
                lead.busy.release()
        # A few at a time: a crowd of failed loads must not silence those that live.
        for lead in [lead for lead in due if lead.end is not None][:_ENDS]:
            with lead.busy:
                self._end(lead)

    def _beat(self, leads: Sequence[Lead]) -> None:
        if not leads:
            return
        now = self.timer()
        for lead in leads:
            lead.told_at = now
        counts: Sequence[int | None]
        try:
            counts = self.store.beat([self._sign(lead, now) for lead in leads])
        except StoreError:
            counts = [None] * len(leads)
        for lead, count in zip(leads, counts, strict=True):
            if count is None:
                # A request that met a failing store leaves it alone from then on.
                lead.failed = True
            if lead.end is not None:
                continue  # It ended meanwhile: that is told next.
            if count is None:
                self.drop(lead)
                continue
            lead.joined = lead.joined or count > lead.count
            pause = self.pace.beat if lead.joined else self.pace.glance
            lead.due = now + pause
            if lead.joined and lead.moved_at > now:
                lead.due = now + self.pace.batch

    def _sign(self, lead: Lead, now: float) -> Beat:
        # Without progress it says so, and its lease runs out; but a refresh's, for
        # what was asked for earlier must not be kept in its place.
        idle = lead.flight.idle if lead.flight else 0
        moving = now - lead.moved_at < idle
        held = moving or lead.token.startswith("r")
        return Beat(
            *(lead.lease, lead.stream, lead.token),
            self.pace.lease if held else 0,
            self.pace.linger + self.pace.lease,
            lead.unsaid(sign=records.ALIVE if moving else records.STILL),
        )

    def _end(self, lead: Lead) -> None:
        self.drop(lead)
        try:
            self.store.land(lead.landing(lead.end or records.GONE, None, 1))
        except StoreError:
            if not lead.ends_at:
                self.abandon(lead)
            elif self.timer() < lead.ends_at:
                lead.due = self.timer() + self.pace.beat
                self.add(lead)

    def seal(self, record: Any, stream: str) -> bytes:
        """The bytes of a record: bound to its stream, encrypted if entries are."""
        return records.seal(record, stream, self._cipher_key)
