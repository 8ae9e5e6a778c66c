"""Looking up, and taking the lease with it where nothing is there."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from cachecore.finder import Look
from cachecore.flight_table import FlightTable
from cachecore.keys import Keyspace
from cachecore.policy import Switch
from cachecore.records import Pace
from cachecore.relay import Relay
from cachecore.request import Request
from cachecore.shelf import Shelf
from cachecore.stores.base import Bid, Store
from cachecore.streams import Answer
from cachecore.trips import LENIENT

_MAX_PRESENT: Final = 10_000


class Bidder(Shelf):
    """A shelf whose look-ups bid for the lease on what is probably absent."""

    def __init__(
        self,
        store: Store,
        keyspace: Keyspace,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        pace: Pace | None = None,
        **options: Any,
    ) -> None:
        super().__init__(store, keyspace, **options)
        self._flights = FlightTable()
        # Keys that were found lately: a bid for those would be in vain.
        self._present: set[str] = set()
        self._relay = (
            Relay(store, self._cipher_key, monotonic, pace) if store.shared else None
        )

    def seek(self, request: Request) -> Look:
        """Look an answer up, and take the lease where it is absent if that can be."""
        look = self.find(request, Answer.from_payload, bids=True)
        if look.entry is None:
            if not look.failed:
                self._present.discard(look.key)
        else:
            if len(self._present) >= _MAX_PRESENT:
                self._present.clear()
            self._present.add(look.key)
        return look

    def _bid(self, request: Request, key: str, fields: Sequence[str]) -> Bid | None:
        """A bid for the lease, where this look-up is likely to find nothing.

        One in a process: the others would only be in each other's way.
        """
        relay, held = self._relay, self._latest.get(tuple(fields))
        if relay is None or held is None or not self._store.bids:
            return None
        stamps = {f: s for f, s in zip(fields, held, strict=True) if s is not None}
        if len(stamps) < len(held):
            return None
        if request.control not in LENIENT or self._flights.has(key):
            return None
        if key in self._present or Switch.read(self._switch) is not Switch.ON:
            return None
        # No quarantine: where there is one, it is looked at first.
        return relay.bid(key, stamps, (self._switch, None, *held))

    def _give_back(self, look: Look) -> None:
        """Give the lease back that came with a look-up, where one did."""
        if self._relay is not None and look.held is not None:
            self._relay.give_back(look.held)

    def _outbid(self, bid: Bid | None, *, failed: bool = False) -> None:
        if bid is not None and self._relay is not None:
            self._relay.outbid(bid, failed=failed)
