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
stamp, and an old answer would be served.

The same order protects a caller that could follow A's load:

1. A settles the stamps, and loads.
2. B invalidates.
3. C looks up, and finds the new stamp. A's load has the old one, so C does not follow it:
   a load may only be followed under equal stamps.

And it holds if the store evicts the hash:

1. A's entry is kept under its stamps.
2. The store evicts the hash. An absent stamp equals no stamp, so A's entry is not served.
3. C settles: the absent stamps get new random texts.
4. A's entry still has the old ones, so it is never served again. An eviction costs hits,
   and makes no old entry valid.

One caller can't obey the rule: while the store is not available, nobody can read a stamp.
Such a caller may join a load of its own process, if that began at most
``Rules.join_without_store`` seconds ago. This is the longest time in which an invalidation
is not seen.
"""

import hashlib
import secrets
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import orjson

from cachecore.errors import StoreError
from cachecore.keys import Keyspace, fingerprint
from cachecore.stores.base import Store

type Stamps = dict[str, str]


def are_current(stamps: Mapping[str, str], current: Mapping[str, str | None]) -> bool:
    """Whether an entry with ``stamps`` may be served: the rule above.

    ``current`` are the stamps in the store by field; an absent one is None. An entry
    without stamps could never be invalidated, so it may not be served.
    """
    for field, stamp in stamps.items():
        if current.get(field) != stamp:
            return False
    return bool(stamps)


def plain_tag(text: str) -> str:
    """A tag in the form in which tags are compared.

    Names that look the same to people are the same tag: letter case, Unicode form,
    invisible characters and the width of spaces make no difference. Every tag is changed
    to this form before it gets into a key or a stamp.
    """
    seen = "".join(
        char for char in text if unicodedata.category(char) not in ("Cf", "Cs")
    )
    folded = unicodedata.normalize("NFC", seen).casefold()
    return " ".join(unicodedata.normalize("NFC", folded).split())


@lru_cache(4096)  # A namespace has few tags, and each hit needs some.
def field_of(tag: str, secret: bytes | None = None) -> str:
    """The field of a tag's stamp. Tags may be private, so they are digested."""
    return "t:" + fingerprint(plain_tag(tag).encode(), secret)[:32]


def fields_of(tags: Iterable[str], secret: bytes | None = None) -> list[str]:
    """One field for each distinct tag, in a stable order."""
    return [field_of(tag, secret) for tag in sorted(set(tags))]


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
        fields = {tag: field_of(tag, self._keyspace.secret) for tag in tags}
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
