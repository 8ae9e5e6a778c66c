"""The contract of a store.

A store holds bytes under keys, each with a time to live, and hashes of short texts (the
stamps). It also holds leases and streams for the processes that share it. All of these
processes use the store's clock: leases expire on it, and ``order`` numbers are read
from it. A store makes no decisions. A method that fails raises StoreError, and no other
error.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol


class Found(NamedTuple):
    """The result of a look-up: ``value`` is None for an absent key.

    ``fields`` has the text of each requested field, in order; None if it is absent.
    """

    value: bytes | None
    fields: tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes to keep under a key for ``ttl`` seconds.

    With ``only_if_absent`` the write replaces no entry. Otherwise it replaces an entry
    if ``policy.may_replace`` permits that, by the order in the header of ``value``.
    """

    key: str
    value: bytes
    ttl: float
    only_if_absent: bool = False


@dataclass(frozen=True, slots=True)
class Claim:
    """The holder of a lease after a claim, and the current bytes of its entry.

    ``order`` is the time of the claim, in microseconds on the store's clock. A later claim
    of the same entry has a higher order.
    """

    holder: str
    value: bytes | None
    order: int


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A heartbeat of a load, valid for ``ttl`` seconds from now.

    ``renews`` is false for a load without progress: its lease and its stream expire.
    ``records`` are added to the stream.
    """

    lease: str
    stream: str
    token: str
    ttl: float
    renews: bool = True
    records: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Commit:
    """The end of a load. ``value`` is None if nothing must be kept.

    ``value`` begins with the header of ``entry.seal``, which contains the order of the
    request. ``records`` end the stream, which is then kept for ``linger`` seconds.
    """

    entry: str
    lease: str
    stream: str
    token: str
    value: bytes | None
    ttl: float
    records: tuple[bytes, ...] = ()
    linger: float = 30.0


@dataclass(frozen=True, slots=True)
class StreamReply:
    """New records of a stream.

    ``records`` are (position, bytes); the bytes are None for a subscription. ``alive``
    says that a heartbeat of the leader has not expired on the store's clock.
    ``subscription`` is the position of the caller's new subscription.
    """

    records: tuple[tuple[str, bytes | None], ...]
    alive: bool
    subscription: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """Fields to set in a hash, which then expires in ``ttl`` seconds."""

    name: str
    fields: Mapping[str, str]
    ttl: float


@dataclass(frozen=True, slots=True)
class Facts:
    """The numbers that a server reports about itself, by their names in INFO."""

    server: str
    numbers: Mapping[str, float]


class Store(Protocol):
    """The contract. tests/contract/store_contract.py checks it for every store."""

    shared: bool  # whether other processes use this store

    def look_up(self, key: str, hash_key: str, fields: Sequence[str]) -> Found:
        """Read an entry and fields of a hash, in one round trip."""

    def look_up_many(
        self, keys: Sequence[str], hash_key: str, fields: Sequence[str]
    ) -> tuple[list[bytes | None], tuple[str | None, ...]]:
        """``look_up`` for several entries: the value of each, then the fields."""

    def keep(self, key: str, value: bytes, ttl: float) -> None:
        """Put ``value`` under ``key`` for ``ttl`` seconds; replace an old value."""

    def keep_many(self, writes: Sequence[Write]) -> list[bool]:
        """Keep several entries; return for each whether it was kept.

        After a StoreError some of them may be kept.
        """

    def delete(self, key: str) -> None:
        """Remove a key. An absent key is no error."""

    def settle(
        self, hash_key: str, fields: Mapping[str, str], ttl: float | None = None
    ) -> dict[str, str]:
        """Set each absent field; return the texts of all ``fields``.

        The hash expires in ``ttl`` seconds, if it has no time to live yet.
        """

    def replace(
        self, hash_key: str, fields: Mapping[str, str], *, only_existing: bool = False
    ) -> dict[str, bool]:
        """Set all fields, or only the existing ones; return which fields existed."""

    def forget(self, hash_key: str, field: str) -> None:
        """Remove a field of a hash. An absent field is no error."""

    def publish(self, pages: Sequence[Page]) -> None:
        """Set the fields of several hashes."""

    def append(
        self, stream: str, records: Sequence[bytes], most: int, ttl: float
    ) -> None:
        """Add records to a stream, which then expires in ``ttl`` seconds.

        The stream keeps about the last ``most`` records.
        """

    def tail(
        self, stream: str, after: str, count: int, *, in_background: bool = False
    ) -> list[tuple[str, bytes]]:
        """At most ``count`` records of a stream after a position, each with its position.

        ``after`` is empty for all records. ``in_background`` says that no caller waits.
        """

    def gather(self, names: Sequence[str]) -> list[dict[str, str]]:
        """All fields of each of these hashes; an absent hash has none."""

    def outages(self) -> tuple[int, float]:
        """The number of outages, and the total seconds of those that ended.

        The method sends nothing to the store.
        """

    def facts(self) -> list[Facts]:
        """The facts that each of its servers reports; empty if that is not permitted."""

    def check(self, key: str, hash_key: str) -> tuple[str, ...]:
        """Do each kind of operation once, on ``key`` and ``hash_key``; leave no data.

        It runs when credentials are saved. It raises StoreError with a sentence that
        names the remedy. It returns sentences about a setup that works but should be
        improved.
        """

    def advice(self) -> tuple[str, ...]:
        """Sentences about a setup that should be improved, as from ``check``."""

    def order(self, key: str) -> int:
        """The time on the store's clock, in microseconds."""

    def claim(
        self, entry: str, lease: str, token: str, ttl: float, *, take_over: str = ""
    ) -> Claim:
        """Take a lease that is free, or that ``token`` may take over; read the entry.

        ``policy.may_take_over`` decides about a takeover.
        """

    def heartbeat(self, beats: Sequence[Heartbeat]) -> list[int | None]:
        """Renew leases and streams, add records; return each stream's record count.

        An expired lease is taken again if no other token holds it. The count is None
        for a heartbeat that was refused; the other heartbeats are still sent.
        """

    def commit(self, commit: Commit) -> bool:
        """Keep the entry, end the stream, release the lease: atomically, in this order.

        Returns whether the entry was kept; ``policy.may_replace`` decides that. It does
        not create a stream if there is no subscription.
        """

    def read(
        self,
        stream: str,
        lease: str,
        token: str,
        after: str,
        wait: float,
        *,
        subscribe: float = 0,
    ) -> StreamReply:
        """Records after the position ``after``; waits up to ``wait`` seconds for one.

        With ``subscribe`` it adds a subscription, so that the leader publishes its
        pieces. If this creates the stream, the stream expires in ``subscribe`` seconds.
        If the leader does not hold the lease, no stream is created, because the leader
        would then look alive. The first position is ``"0"``.
        """
