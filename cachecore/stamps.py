"""Stamps: an invalidation reaches every entry without a list of the entries.

Each tag has a stamp: a random text in a field of the namespace's hash. An entry contains
the stamps of all its tags. The rule:

    An entry may be served only while each of its stamps is current.

To invalidate a tag is to replace its stamp. No entry with the old stamp is served any
more, in any process, and nothing is searched or deleted.

The rule must hold in a race: an invalidation during a load.

1. A looks up the entry, and finds none.
2. A settles the stamps: it takes the current ones, and sets new ones for absent fields.
3. A begins to load. Its knowledge may be old by now.
4. B invalidates: the stamp of a tag is replaced.
5. A keeps its answer under the stamps of step 2.

Step 2 comes before step 3, so the entry of step 5 contains the replaced stamp and is
never served. If the stamps were read after the load, the entry would contain the new
stamp, and an old answer would be served. The same order protects followers: C, which
looks up after step 4, has other stamps than A's load, so C does not join it.

An evicted hash has no stamps. An absent stamp equals no stamp, so no entry is served
until it is loaded again: an eviction costs hits, and makes no old entry valid.
"""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from cachecore.errors import StoreError
from cachecore.keys import Keyspace
from cachecore.stores.base import Store

type Stamps = dict[str, str]


@dataclass(eq=False, slots=True)
class StampTable:
    """The stamps of one namespace in one store. Thread-safe."""

    _store: Store
    _keyspace: Keyspace

    def settle(self, current: Mapping[str, str | None]) -> Stamps | None:
        """The stamps for an entry that will be written; None if the store fails.

        ``current`` are the stamps that a look-up found, by field. An absent one is None,
        and is set now. To be called before the work begins (step 2 above).
        """
        absent = [field for field, stamp in current.items() if stamp is None]
        stamps = {f: s for f, s in current.items() if s is not None}
        if absent:
            new = {field: _new_stamp() for field in absent}
            try:
                stamps |= self._store.settle(self._keyspace.stamps, new)
            except StoreError:
                return None
        return stamps

    def invalidate(self, tags: Sequence[str]) -> dict[str, bool]:
        """Replace the stamps of ``tags``; whether each had one. Raises StoreError.

        A tag has a stamp from its first load until the hash is evicted. A tag without a
        stamp gets none: nothing was loaded under it, entries with an evicted stamp are
        not served, and later loads are new enough.
        """
        fields = {tag: self._keyspace.stamp_field(tag) for tag in tags}
        existed = self._store.replace(
            self._keyspace.stamps,
            {field: _new_stamp() for field in fields.values()},
            only_existing=True,
        )
        return {tag: existed[field] for tag, field in fields.items()}


def stamps_digest(stamps: Mapping[str, str]) -> str:
    """A digest of a load's stamps: only callers with the same stamps may follow it."""
    text = orjson.dumps(dict(stamps), option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(text).hexdigest()[:8]


def _new_stamp() -> str:
    return secrets.token_hex(8)
