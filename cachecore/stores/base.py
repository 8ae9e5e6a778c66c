"""What the cache needs of a place to keep entries.

A store holds bytes under keys, each with a time to live, and hashes of short
texts (the stamps). A shared one also holds leases and streams, in which the
processes that use it meet. It decides nothing. Every method raises StoreError,
and nothing else, when it could not do its work.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Found:
    """The answer to a look-up: ``value`` is None for an absent key.

    ``fields`` has the text of each field asked for, in order; None is absent.
    """

    value: bytes | None
    fields: tuple[str | None, ...]
    held: bool = False  # whether the bid that came with it has got its lease


@dataclass(frozen=True, slots=True)
class Bid:
    """What takes a lease together with a look-up that finds nothing.

    ``fields`` are what those asked for must hold by then.
    """

    lease: str
    token: str
    ttl: float
    fields: tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes to keep under a key for ``ttl`` seconds.

    ``only_if_absent`` leaves what has come there meanwhile.
    """

    key: str
    value: bytes
    ttl: float
    only_if_absent: bool = False


@dataclass(frozen=True, slots=True)
class Claim:
    """Who holds a lease after it was claimed, and what its entry holds now."""

    holder: str
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Beat:
    """A sign of life of a load. Times in seconds.

    ``lease_ttl`` of 0 leaves the lease to its end. ``records`` go on the stream.
    """

    lease: str
    stream: str
    token: str
    lease_ttl: float
    stream_ttl: float
    records: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Landing:
    """The end of a load. ``value`` is None where nothing is to be kept.

    ``seen`` is the ``digest`` of the entry that was there when the load began.
    """

    entry: str
    lease: str
    stream: str
    token: str
    value: bytes | None
    ttl: float
    records: tuple[bytes, ...]
    stream_ttl: float
    seen: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """Fields to set in a hash, which is kept for ``ttl`` seconds from then."""

    name: str
    fields: Mapping[str, str]
    ttl: float


@dataclass(frozen=True, slots=True)
class Facts:
    """What a server says of itself, by INFO's names, as far as it is a number."""

    server: str
    numbers: Mapping[str, float]


def digest(value: bytes | None) -> str:
    """What a landing remembers of the entry that its load began with; empty for none."""
    if value is None:
        return ""
    return hashlib.sha1(value, usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class Heard:
    """New records of a stream, and who holds the lease.

    ``records`` are (position, bytes); bytes are None for a listener's own sign.
    """

    records: tuple[tuple[str, bytes | None], ...]
    holder: str | None


class Watcher(Protocol):
    """Hears when a store is left alone from now on, and when it is asked again."""

    def watch_store(self, *, opens: bool) -> None:
        """``opens``: its breaker has opened; else it has closed."""


class Store(Protocol):
    """The contract. tests/contract/store_contract.py checks it for every store."""

    shared: bool  # whether other processes use it, so that leases make sense

    @property
    def bids(self) -> bool:
        """Whether a look-up can take a lease."""

    def look_up(
        self, key: str, hash_key: str, fields: Sequence[str], bid: Bid | None = None
    ) -> Found:
        """Read an entry and fields of a hash, in one round trip.

        Where there is no entry, the fields are those of ``bid`` and its lease is free,
        the lease is taken at the same time, if the store ``bids``.
        """

    def look_up_many(
        self, keys: Sequence[str], hash_key: str, fields: Sequence[str]
    ) -> tuple[list[bytes | None], tuple[str | None, ...]]:
        """The same for several entries: the value of each, then the fields."""

    def keep(self, key: str, value: bytes, ttl: float) -> None:
        """Put ``value`` under ``key`` for ``ttl`` seconds, replacing what was there."""

    def keep_many(self, kept: Sequence[Write]) -> None:
        """The same for several entries; some may be kept where it fails."""

    def delete(self, key: str) -> None:
        """Remove a key. An absent one is no error."""

    def settle(
        self, hash_key: str, fields: Mapping[str, str], ttl: float | None = None
    ) -> dict[str, str]:
        """Set each field that is absent; return what stands in every one of them.

        ``ttl`` ends the hash so many seconds from now.
        """

    def replace(self, hash_key: str, fields: Mapping[str, str]) -> None:
        """Set every field, whatever was there."""

    def forget(self, hash_key: str, field: str) -> None:
        """Remove a field of a hash. An absent one is no error."""

    def publish(self, pages: Sequence[Page]) -> None:
        """Set the fields of several hashes."""

    def append(
        self, stream: str, records: Sequence[bytes], most: int, ttl: float
    ) -> None:
        """Add records to a stream that keeps about the last ``most``, for ``ttl`` seconds."""

    def gather(self, names: Sequence[str]) -> list[dict[str, str]]:
        """All fields of each of these hashes; none for an absent one."""

    def watch(self, watcher: Watcher) -> None:
        """Tell ``watcher`` when the store is left alone, as long as it lives."""

    def facts(self) -> list[Facts]:
        """What each of its servers says of itself; empty where none may be asked."""

    def check(self, key: str, hash_key: str) -> tuple[str, ...]:
        """Do each kind of operation once, on ``key`` and ``hash_key``; leave nothing.

        For the moment the credentials are saved: raises StoreError with a
        sentence that names the remedy, and returns such sentences about what
        works and should be better.
        """

    def claim(
        self, entry: str, lease: str, token: str, ttl: float, *, over: str = ""
    ) -> Claim:
        """Take a lease that is free, or that ``token`` may take over; read the entry.

        A token ends in ``.`` and a mark of the stamps that its load began
        under; a lease with another mark is taken over, and so is that of the
        token ``over``, or any if it is ``*``.
        """

    def beat(self, beats: Sequence[Beat]) -> list[int | None]:
        """Keep leases and add records; how many records, signs included, each has.

        None for one that was refused: it is not the others' fault.
        """

    def land(self, landing: Landing) -> bool:
        """Keep the entry, end the stream, give the lease back: at once, in this order.

        Keeps it, and returns true, only under the token's own lease, or where there
        is no entry but the one seen, and no lease or that of one who only would not
        wait: under the same mark, and no refresh (its token begins with ``r``). A
        stream that nobody listens to is not made.
        """

    def listen(
        self, stream: str, lease: str, after: str, wait: float, *, sign: bool
    ) -> Heard:
        """Records behind the position ``after``; waits ``wait`` seconds for one.

        ``sign`` leaves a record of one's own, so that the leader knows that
        somebody listens. The first position is ``"0"``.
        """
