"""One load for many processes: a lease, and a stream in which it is told.

Who takes the lease on an entry loads it; who finds it taken listens. The leader
tells its pieces in a Redis Stream named by the lease's token, numbered, in small
batches and off its own path, and only once somebody listens: a listener leaves a
sign there. Its lease is kept alive as long as the upstream makes progress.

The lease decides who loads and who may keep; the stream alone decides what a
listener shows. A stream has one writer, so that nothing in it can be spliced; a
gap in its numbers, or bytes that don't open, is a dead leader.
"""

import secrets
from collections.abc import Iterator, Mapping
from typing import Final

from cachecore import records
from cachecore.errors import NotAsked, StoreError
from cachecore.lead import Lead
from cachecore.listener import Listener
from cachecore.stores.base import Bid, Claim, digest
from cachecore.streams import Piece
from cachecore.telling import Telling

# So many leaders that were given up may follow one another before a claim is given up.
_TAKEOVERS: Final = 8


class Relay(Telling):
    """The leases and streams of one cache, over a shared store.

    One thread tells for all the loads that this process leads, in one round
    trip for all that are due; it starts with the first and ends when idle.
    """

    def claim(
        self, key: str, stamps: Mapping[str, str], *, over: str = ""
    ) -> tuple[Lead | str, bytes | None]:
        """A lease to lead under, or the token of who leads; and what is kept by now.

        Takes over from a leader that was given up, and from any if ``over`` is
        ``*``. Raises StoreError.
        """
        sort = "r" if over == "*" else "t"
        rest = f"{secrets.token_hex(8)}.{records.mark(stamps)}"
        lead = Lead(self, key, sort + rest, self.timer())
        for _ in range(_TAKEOVERS):
            claim = self._claimed(lead, over)
            if claim.holder == lead.token:
                break
            # At once: what a fellow of this process gives back is given up before it is
            # forgotten, so that one of the two is seen here.
            with self._changed:
                bidder = self._unbid(claim.holder)
                gone = claim.holder in self._abandoned
            if bidder is not None:
                lead = bidder
                break
            if not gone:
                return claim.holder, claim.value
            # Who takes over from a refresh stands for it.
            over = claim.holder
            lead = Lead(self, key, over[0] + rest, self.timer())
        else:
            return claim.holder, claim.value
        lead.seen_entry = digest(claim.value)
        return lead, claim.value

    # --- a lease that comes with a look-up --------------------------------

    def bid(
        self, key: str, stamps: Mapping[str, str], fields: tuple[str | None, ...]
    ) -> Bid | None:
        """A bid for the lease on an entry; None where one is out already.

        It ends with ``outbid``, ``take`` or ``give_back``.
        """
        token = f"t{secrets.token_hex(8)}.{records.mark(stamps)}"
        lead = Lead(self, key, token, self.timer())
        with self._changed:
            if key in self._bidden:
                return None
            self._bidden.add(key)
            self._bids[token] = lead
        return Bid(lead.lease, token, self.pace.lease, fields)

    def outbid(self, bid: Bid, *, failed: bool) -> None:
        """The lease was not to be had, or ``failed``: nobody knows whether it was."""
        lead = self._unbid(bid.token)
        if failed and lead is not None:
            self.abandon(lead)

    def take(self, bid: Bid | None) -> Lead | None:
        """Lead under the lease that a bid has got; None if another caller does."""
        return None if bid is None else self._unbid(bid.token)

    def give_back(self, bid: Bid) -> None:
        """The lease is not needed, for another caller leads. Off this caller's path."""
        with self._changed:
            lead = self._unbid(bid.token)
            if lead is not None:
                self.give_up(lead.token)
        if lead is not None:
            lead.leave()

    def _unbid(self, token: str) -> Lead | None:
        with self._changed:
            lead = self._bids.pop(token, None)
            if lead is not None:
                self._bidden.discard(lead.key)
            return lead

    def _claimed(self, lead: Lead, over: str) -> Claim:
        names = lead.key, lead.lease, lead.token, self.pace.lease
        try:
            return self.store.claim(*names, over=over)
        except NotAsked:
            raise
        except StoreError:
            self.abandon(lead)  # Redis may have given it without our hearing of it.
            raise

    # --- the leader's side ------------------------------------------------

    def listen(self, key: str, token: str, credential: str) -> Iterator[list[Piece]]:
        """What the leader with ``token`` tells; see Listener.pieces."""
        return Listener(
            self.store,
            key,
            token,
            cipher_key=self._cipher_key,
            timer=self.timer,
            pace=self.pace,
        ).pieces(credential)
