"""The operator's actions on a namespace, and the users' votes.

Each raises StoreError, because its caller must know that nothing has changed.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from cachecore.events import Hook, Invalidated
from cachecore.keys import (
    SWITCH_FIELD,
    TICKET_FIELD,
    Keyspace,
    read_reported_key,
    reported_key,
    votes_key,
)
from cachecore.policy import Switch
from cachecore.stamps import StampTable, field_of
from cachecore.stores.base import Store

_MAX_TAGS: Final = 20  # in an event
_MAX_TAG: Final = 120


class Vote(StrEnum):
    """The result of a vote against an entry."""

    COUNTED = "counted"
    DROPPED = "dropped"
    NOTHING_KEPT = "nothing_kept"


@dataclass(eq=False, slots=True)
class Admin:
    """Operates one namespace in one store. Thread-safe."""

    _store: Store
    _keyspace: Keyspace
    _stamps: StampTable
    _clock: Callable[[], float]
    _emit: Hook

    def invalidate(self, tags: Iterable[str]) -> dict[str, bool]:
        """Invalidate every present entry with any of ``tags``; ``*`` is all entries.

        Returns for each tag whether anything was ever loaded under it.
        """
        dead = sorted(set(tags))
        existed = self._stamps.invalidate(dead)
        self._emit(Invalidated(_shown(dead), self._clock()))
        return existed

    def switch(self) -> Switch:
        """The namespace's switch as it is now. Raises StoreError."""
        any_entry = self._keyspace.entry("value", b"")
        found = self._store.look_up(any_entry, self._keyspace.stamps, [SWITCH_FIELD])
        return Switch.read(found.fields[0])

    def turn(self, switch: Switch) -> None:
        """Set the namespace's switch for everyone, from the next request on."""
        self._store.replace(self._keyspace.stamps, {SWITCH_FIELD: switch.value})

    def vote(self, key: str, voter: str, *, needed: int, window: float) -> Vote:
        """Count a vote against an entry; the last that is ``needed`` drops it.

        A voter counts once. The votes end ``window`` seconds after the first one. Votes
        against an entry that a band served to another question count against the band.
        """
        key, served_sealed = read_reported_key(key)
        served = served_sealed.rpartition(".")[0]
        if served_sealed and not hmac.compare_digest(
            served_sealed, self.signed(key, served)
        ):
            return Vote.NOTHING_KEPT  # This key was never reported.
        found = self._store.look_up(key, self._keyspace.stamps, [SWITCH_FIELD])
        if found.value is None:
            return Vote.NOTHING_KEPT
        digest = hashlib.sha1(found.value, usedforsecurity=False).hexdigest()
        box = votes_key(key, digest, served)
        mine = field_of(voter, self._keyspace.secret)
        # Each vote has a field, which the first voter takes: counting needs no lock.
        for number in range(1, needed + 1):
            place = f"v{number}"
            if self._store.settle(box, {place: mine}, window)[place] == mine:
                break
        if number < needed:
            return Vote.COUNTED
        if served:
            # A process without ``match: meaning`` does not load this module.
            from cachecore.meaning import evidence  # noqa: PLC0415

            # This comes first: if it fails, nothing is dropped, and a vote tries again.
            now = self._clock()
            evidence.vote(self._store, self._keyspace, served, key, now)
        self._store.delete(key)
        self._store.delete(box)
        self._emit(Invalidated(("(votes)",), self._clock()))
        return Vote.DROPPED

    def signed(self, key: str, served: str) -> str:
        """The signed statement, for votes, that a band ``served`` the entry ``key``."""
        text = reported_key(key, served).encode()
        signature = hmac.digest(self.ticket_secret(), text, "sha256").hex()[:16]
        return f"{served}.{signature}"

    def owns(self, key: str) -> bool:
        """Whether this is the key of an entry in this namespace."""
        return self._keyspace.is_entry(key)

    def ticket_secret(self) -> bytes:
        """The secret for this namespace's tickets: random, and made once.

        It is stored beside the stamps. If the namespace has a secret of its own, the
        ticket secret depends on it, so that a reader of the store can't make tickets.
        """
        made = self._store.settle(
            self._keyspace.stamps, {TICKET_FIELD: secrets.token_hex(32)}
        )[TICKET_FIELD]
        own = self._keyspace.secret or b""
        return hashlib.sha256(b"ticket\0" + made.encode() + b"\0" + own).digest()

    def check(self) -> tuple[str, ...]:
        """Test the store with the commands in use; returns advice for its setup."""
        probe = self._keyspace.entry("value", secrets.token_bytes(16))
        return self._store.check(probe, self._keyspace.stamps)


def _shown(tags: Sequence[str]) -> tuple[str, ...]:
    """Some of the tags, cut, as text that can be written."""
    cut = (tag[:_MAX_TAG].encode("utf-8", "replace").decode() for tag in tags)
    return tuple(cut)[:_MAX_TAGS]
