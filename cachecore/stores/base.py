"""What the cache needs of a place to keep entries.

A store holds bytes under keys, each with a time to live, and hashes of short
texts (the stamps). It decides nothing. Every method raises StoreError, and
nothing else, when it could not do its work.
"""

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


class Store(Protocol):
    """The contract. tests/contract/store_contract.py checks it for every store."""

    def look_up(self, key: str, hash_key: str, fields: Sequence[str]) -> Found:
        """Read an entry and fields of a hash, in one round trip."""

    def keep(self, key: str, value: bytes, ttl: float) -> None:
        """Put ``value`` under ``key`` for ``ttl`` seconds, replacing what was there."""

    def delete(self, key: str) -> None:
        """Remove a key. An absent one is no error."""

    def settle(self, hash_key: str, fields: Mapping[str, str]) -> dict[str, str]:
        """Set each field that is absent; return what stands in every one of them."""

    def replace(self, hash_key: str, fields: Mapping[str, str]) -> None:
        """Set every field, whatever was there."""

    def check(self, key: str, hash_key: str) -> None:
        """Do each kind of operation once, on ``key`` and ``hash_key``; leave nothing.

        For the moment the credentials are saved: raises StoreError with a
        sentence that names the remedy.
        """
