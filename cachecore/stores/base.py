"""What the cache needs of a place to keep entries.

A store holds bytes under keys, each with a time to live, and hashes of short
texts (the stamps). It also holds leases and streams, in which the processes that share
it meet, and its clock is the one that all of them go by: leases end on it, and
``order`` numbers are read from it. It decides nothing. Every method raises StoreError,
and nothing else, when it could not do its work.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol


class Found(NamedTuple):
    """The answer to a look-up: ``value`` is None for an absent key.

    ``fields`` has the text of each field asked for, in order; None is absent.
    """

    value: bytes | None
    fields: tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes to keep under a key for ``ttl`` seconds.

    ``only_if_absent`` replaces no entry that is there; else it replaces what
    ``policy.may_replace`` lets it replace, by the order in its header.
    """

    key: str
    value: bytes
    ttl: float
    only_if_absent: bool = False


@dataclass(frozen=True, slots=True)
class Claim:
    """Who holds a lease after it was claimed, and what its entry holds now.

    ``order`` is when it was claimed, in microseconds on the store's clock; a later
    claim of the same entry has a higher one.
    """

    holder: str
    value: bytes | None
    order: int


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A heartbeat of a load, good for ``ttl`` seconds from now.

    ``renews`` is false for a load that makes no progress: its lease and its stream
    are left to their ends. ``records`` go on the stream.
    """

    lease: str
    stream: str
    token: str
    ttl: float
    renews: bool = True
    records: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Commit:
    """The end of a load. ``value`` is None where nothing is to be kept.

    ``value`` begins with the header of ``entry.seal``, which has the order of the
    request in it. ``records`` end the stream, which then stays for ``linger`` seconds.
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

    ``records`` are (position, bytes); bytes are None for a follower's own sign.
    ``alive`` says that the leader has sent a heartbeat that has not run out on the
    store's clock. ``subscribe`` is the position of the sign that was just left.
    """

    records: tuple[tuple[str, bytes | None], ...]
    alive: bool
    subscription: str = ""


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


class Store(Protocol):
    """The contract. tests/contract/store_contract.py checks it for every store."""

    shared: bool  # whether other processes use it

    def look_up(self, key: str, hash_key: str, fields: Sequence[str]) -> Found:
        """Read an entry and fields of a hash, in one round trip."""

    def look_up_many(
        self, keys: Sequence[str], hash_key: str, fields: Sequence[str]
    ) -> tuple[list[bytes | None], tuple[str | None, ...]]:
        """The same for several entries: the value of each, then the fields."""

    def keep(self, key: str, value: bytes, ttl: float) -> None:
        """Put ``value`` under ``key`` for ``ttl`` seconds, replacing what was there."""

    def keep_many(self, writes: Sequence[Write]) -> list[bool]:
        """Keep several entries; whether each was. Some may be kept where it fails."""

    def delete(self, key: str) -> None:
        """Remove a key. An absent one is no error."""

    def settle(
        self, hash_key: str, fields: Mapping[str, str], ttl: float | None = None
    ) -> dict[str, str]:
        """Set each field that is absent; return what stands in every one of them.

        ``ttl`` ends the hash so many seconds from now, if it has no end yet.
        """

    def replace(
        self, hash_key: str, fields: Mapping[str, str], *, only_existing: bool = False
    ) -> dict[str, bool]:
        """Set every field, or the ``only_existing`` ones alone; return which stood before."""

    def forget(self, hash_key: str, field: str) -> None:
        """Remove a field of a hash. An absent one is no error."""

    def publish(self, pages: Sequence[Page]) -> None:
        """Set the fields of several hashes."""

    def append(
        self, stream: str, records: Sequence[bytes], most: int, ttl: float
    ) -> None:
        """Add records to a stream that keeps about the last ``most``, for ``ttl`` seconds."""

    def tail(
        self, stream: str, after: str, count: int, *, in_background: bool = False
    ) -> list[tuple[str, bytes]]:
        """At most ``count`` records of such a stream behind a position, each with its own.

        ``after`` is empty for all; ``in_background`` says that nobody waits for it.
        """

    def gather(self, names: Sequence[str]) -> list[dict[str, str]]:
        """All fields of each of these hashes; none for an absent one."""

    def outages(self) -> tuple[int, float]:
        """How often it was left alone, and for how many seconds, where that is over.

        Asks nothing of it.
        """

    def facts(self) -> list[Facts]:
        """What each of its servers says of itself; empty where none may be asked."""

    def check(self, key: str, hash_key: str) -> tuple[str, ...]:
        """Do each kind of operation once, on ``key`` and ``hash_key``; leave nothing.

        For the moment the credentials are saved: raises StoreError with a
        sentence that names the remedy, and returns such sentences about what
        works and should be better.
        """

    def advice(self) -> tuple[str, ...]:
        """Sentences about what should be set up better, as ``check`` returns them."""

    def order(self, key: str) -> int:
        """The store's clock, in microseconds: when something was asked for."""

    def claim(
        self, entry: str, lease: str, token: str, ttl: float, *, take_over: str = ""
    ) -> Claim:
        """Take a lease that is free, or that ``token`` may take over; read the entry.

        Whose lease may be taken over is ``policy.may_take_over``.
        """

    def heartbeat(self, beats: Sequence[Heartbeat]) -> list[int | None]:
        """Renew leases and streams, add records; how many records each stream has.

        A lease that has run out and that nobody took is taken again. None for a
        heartbeat that was refused: it is not the others' fault.
        """

    def commit(self, commit: Commit) -> bool:
        """Keep the entry, end the stream, give the lease back: at once, in this order.

        Returns whether the entry was kept; ``policy.may_replace`` says when. A stream
        that nobody follows is not made.
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
        """Records behind the position ``after``; waits ``wait`` seconds for one.

        ``subscribe`` leaves a record of one's own, so that the leader knows that somebody
        follows; a stream that it begins lives for so many seconds. It begins none of
        a leader that is gone: a dead one would look alive. The first
        position is ``"0"``.
        """
