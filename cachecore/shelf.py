"""What is kept, and how it is got at: keep, invalidate, count votes, operate.

Whoever makes a value by other means than a load (the tools that wrap any node)
uses this much; ``cache`` adds the load and its company.

What the store raises never leaves ``settle`` and ``keep``.
"""

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import uniform
from typing import Final

from cachecore import entry as entries
from cachecore import policy
from cachecore.entry import Cost, Entry
from cachecore.errors import StoreError
from cachecore.finder import Finder, Look, Stamps
from cachecore.keys import SWITCH_FIELD, votes_key
from cachecore.metrics import Invalidated, Kept, Refused
from cachecore.policy import Refusal, Switch
from cachecore.request import Request
from cachecore.stores.base import Facts, digest

_MAX_TAGS: Final = 20  # in an event
_MAX_TAG: Final = 120


@dataclass(frozen=True, slots=True)
class Sealed:
    """An entry as bytes, for its key, and how long they are to be kept in seconds."""

    data: bytes
    ttl: float


class Vote(StrEnum):
    """What became of a vote against an entry."""

    COUNTED = "counted"
    DROPPED = "dropped"
    NOTHING_KEPT = "nothing_kept"


class Shelf(Finder):
    """The entries of one namespace in one store. Thread-safe."""

    # --- keeping ----------------------------------------------------------

    def settle(self, look: Look) -> Stamps | None:
        """The stamps that an entry for this look-up is to be written under.

        Sets those that are absent. To be taken before the work is done, so that
        an invalidation while it runs wins. None where nothing may be kept.
        """
        if look.stamps is None or not look.writable:
            return None
        absent = [field for field, stamp in look.stamps.items() if stamp is None]
        standing = {f: s for f, s in look.stamps.items() if s is not None}
        if absent:
            try:
                standing |= self._store.settle(
                    self._keyspace.stamps, {field: _new_stamp() for field in absent}
                )
            except StoreError:
                return None
            self._remember(list(look.stamps), [standing[f] for f in look.stamps])
        return standing

    def keep(
        self,
        request: Request,
        key: str,
        stamps: Stamps,
        payload: object,
        cost: Cost = Cost(),  # noqa: B008 - frozen
    ) -> bool:
        """Put ``payload`` under ``key``; False where that could not be."""
        sealed = self.seal(request, key, stamps, payload, cost)
        if sealed is None:
            return False
        try:
            self._store.keep(key, sealed.data, sealed.ttl)
        except StoreError:
            return self._refuse(request, Refusal.UNAVAILABLE)
        self._tell(Kept(request.subject, len(sealed.data)))
        return True

    def seal(
        self, request: Request, key: str, stamps: Stamps, payload: object, cost: Cost
    ) -> Sealed | None:
        """The entry's bytes; None, and the refusal told, where there can be none."""
        now = self._clock()
        rules = request.rules
        life = policy.lifetime(
            request.ttl or rules.ttl,
            now,
            uniform(-1, 1),  # noqa: S311 - jitter, not a secret
            request.traits.ends_at,
            max(rules.stale_while_revalidate, rules.stale_if_error),
        )
        if life.fresh_until <= now:
            return None
        entry = Entry(payload, now, life.fresh_until, life.stale_until, stamps, cost)
        try:
            text = entries.serialise(entry)
        except (TypeError, RecursionError):  # a lone surrogate, a NaN, no bottom
            self._refuse(request, Refusal.INVALID_OUTPUT)
            return None
        # Before it is deflated: this much comes out again, in one line.
        if len(text) > rules.max_entry_bytes:
            self._refuse(request, Refusal.TOO_LARGE)
            return None
        data = entries.seal(text, key, self._cipher_key)
        return Sealed(data, life.stale_until - now)

    def _refuse(self, request: Request, refusal: Refusal) -> bool:
        self._tell(Refused(request.subject, refusal))
        return False

    # --- feedback ---------------------------------------------------------

    def vote(
        self, key: str, voter: str, *, needed: int, window: float, quarantine: float
    ) -> Vote:
        """Count a vote against an entry; the last that is ``needed`` drops it.

        It is then neither kept nor served for ``quarantine`` seconds. A voter counts
        once within ``window`` seconds of the first vote. Raises StoreError.
        """
        kept_out = self._keyspace.quarantine_field(key)
        found = self._store.look_up(key, self._keyspace.stamps, [kept_out])
        if found.value is None:
            return Vote.NOTHING_KEPT
        box = votes_key(key, digest(found.value))
        mine = self._keyspace.stamp_field(voter)
        # A place for each vote, which the first to come takes: counting needs no lock.
        for number in range(1, needed + 1):
            if (
                self._store.settle(box, {f"v{number}": mine}, window)[f"v{number}"]
                == mine
            ):
                break
        if number < needed:
            return Vote.COUNTED
        until = str(int(self._clock() + quarantine))
        self._store.replace(self._keyspace.stamps, {kept_out: until})
        self._store.delete(key)
        self._store.delete(box)
        self._tell(Invalidated(("(votes)",), self._clock()))
        return Vote.DROPPED

    def owns(self, key: str) -> bool:
        """Whether this is the key of an entry in this namespace."""
        return self._keyspace.is_entry(key)

    # --- operating --------------------------------------------------------

    def invalidate(self, tags: Iterable[str]) -> None:
        """Kill every entry written so far under any of ``tags``; ``*`` is all.

        Raises StoreError: an operator must know that it did not happen.
        """
        dead = sorted(set(tags))
        fields = self._keyspace.stamp_fields(dead)
        self._store.replace(
            self._keyspace.stamps, {field: _new_stamp() for field in fields}
        )
        self._tell(Invalidated(_shown(dead), self._clock()))

    def turn(self, switch: Switch) -> None:
        """Set the namespace's switch for everyone, from the next request on.

        Raises StoreError.
        """
        self._store.replace(self._keyspace.stamps, {SWITCH_FIELD: switch.value})

    def facts(self) -> list[Facts]:
        """What the store's servers say of themselves. Raises StoreError."""
        return self._store.facts()

    def check(self) -> tuple[str, ...]:
        """Try the store as it will be used; sentences about what could be better.

        Raises StoreError with a remedy.
        """
        probe = self._keyspace.entry("value", secrets.token_bytes(16))
        return self._store.check(probe, self._keyspace.stamps)


def _shown(tags: Sequence[str]) -> tuple[str, ...]:
    """Some of the tags, cut, as text that can be written."""
    cut = (tag[:_MAX_TAG].encode("utf-8", "replace").decode() for tag in tags)
    return tuple(cut)[:_MAX_TAGS]


def _new_stamp() -> str:
    return secrets.token_hex(8)
