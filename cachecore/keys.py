"""Request -> canonical form -> fingerprint -> key.

The canonical form is one JSON text of one structure, with sorted object keys and the
order of lists. It is one structure, so that no boundary between two parts can be forged.
Numbers have the notation to which Dify's Go daemon changes them (``1.0`` arrives as
``1``), so that both notations are one request. NaN, infinities and lone surrogates have
no canonical form and are refused.

The names made here are a contract, because two plugins with different versions may use
the same store. See docs/adr/0003.
"""

import hashlib
import hmac
import re
from dataclasses import dataclass
from math import isfinite
from typing import Final, Literal, get_args

import orjson

from cachecore.errors import UnkeyableError

PREFIX: Final = "dify:cache:v1"
type Kind = Literal["llm", "embedding", "rerank", "retrieval", "app", "value"]

_FINGERPRINT: Final = re.compile(r"\{[0-9a-f]{64}\}")
_SERVED: Final = re.compile(r"[0-9a-f]{32}\.[0-9]\.[0-9a-f]{16}")
_SERVED_SEPARATOR: Final = "~"
SWITCH_FIELD: Final = "switch"
TICKET_FIELD: Final = "ticket"

# Above 2**53 a float no longer names one integer, so the notations remain different.
_EXACT_FLOAT_LIMIT: Final = 2**53


def canonical(value: object) -> bytes:
    """The one JSON text of ``value``.

    Accepts None, bool, int, float, str, and lists, tuples and string-keyed dicts
    of them. Raises UnkeyableError for anything else.
    """
    try:
        return orjson.dumps(_plain(value), option=orjson.OPT_SORT_KEYS)
    except (TypeError, RecursionError) as error:
        msg = f"the request has no canonical form: {type(error).__name__}"
        raise UnkeyableError(msg) from None


def _plain(value: object) -> object:
    # Most values of a request are texts: they need no call of this function.
    if isinstance(value, dict):
        return {
            key: item if type(item) is str else _plain(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [item if type(item) is str else _plain(item) for item in value]
    if isinstance(value, float):
        return _number(value)
    if value is None or isinstance(value, str | int):
        return value
    msg = f"the request holds a {type(value).__name__}, which has no canonical form"
    raise UnkeyableError(msg)


def _number(value: float) -> int | float:
    if not isfinite(value):
        msg = "the request holds a number that is not finite"
        raise UnkeyableError(msg)
    if value.is_integer() and abs(value) < _EXACT_FLOAT_LIMIT:
        return int(value)
    return value


def fingerprint(form: bytes, secret: bytes | None = None) -> str:
    """SHA-256 of a canonical form, in hex; HMAC-SHA-256 when there is a secret."""
    if secret is None:
        return hashlib.sha256(form).hexdigest()
    return hmac.digest(secret, form, "sha256").hex()


def part_digest(value: object, secret: bytes) -> str:
    """A short keyed digest of a part of a request; useless without the key."""
    return fingerprint(canonical(value), secret)[:12]


def short_key(entry_key: str) -> str:
    """The head of a key's fingerprint: enough to distinguish entries in a list."""
    return entry_key[-65:-53]


def lease_key(entry_key: str) -> str:
    """The key of the lease to load an entry, in the entry's slot."""
    return f"{entry_key}:lease"


def votes_key(entry_key: str, digest: str, served: str = "") -> str:
    """The hash of the votes against an entry, in the entry's slot.

    ``digest`` is that of the entry's bytes: a new answer has no votes against it.
    ``served`` names the band that served the entry to another question: the votes then
    count against the band.
    """
    return ":".join(filter(None, (entry_key, "votes", digest[:8], served)))


def reported_key(entry_key: str, served: str = "") -> str:
    """A key as users get it for their votes: with the band that served it, if any."""
    return f"{entry_key}{_SERVED_SEPARATOR}{served}" if served else entry_key


def read_reported_key(text: str) -> tuple[str, str]:
    """The key and the band from the text of ``reported_key``."""
    key, _, served = text.partition(_SERVED_SEPARATOR)
    return key, served


def flight_key(entry_key: str, token: str) -> str:
    """The key of the stream of the load with the lease ``token``."""
    return f"{entry_key}:flight:{token}"


@dataclass(frozen=True, slots=True)
class Keyspace:
    """The names that one namespace may use in a store.

    ``secret`` is the key of every fingerprint, so that tenants with different secrets
    share nothing, even if both use the same namespace.
    """

    namespace: str
    secret: bytes | None = None

    def entry(self, kind: Kind, form: bytes) -> str:
        """The key of an entry. Braces keep its lease and flight in its slot."""
        digest = fingerprint(form, self.secret)
        return f"{PREFIX}:{self.namespace}:{kind}:{{{digest}}}"

    def is_entry(self, key: str) -> bool:
        """Whether ``key`` has the form of a reported key in this namespace."""
        key, served = read_reported_key(key)
        if served and not _SERVED.fullmatch(served):
            return False
        kind, _, digest = key.removeprefix(f"{PREFIX}:{self.namespace}:").partition(":")
        return kind in get_args(Kind.__value__) and bool(_FINGERPRINT.fullmatch(digest))

    @property
    def stamps(self) -> str:
        """The hash with the stamp of each tag, and the switch."""
        return f"{PREFIX}:{self.namespace}:stamps"

    def statistics(self, instance: str = "", span: int = 0, number: int = 0) -> str:
        """A process's counters, or those of one span; without a process, the index."""
        name = f"{PREFIX}:{self.namespace}:stats"
        if instance:
            name += f":{instance}"
        return f"{name}:{span}:{number}" if span else name

    def recent(self, instance: str) -> str:
        """The recent decisions of a process, beside its counters."""
        return f"{self.statistics(instance)}:recent"

    def questions(self, form: bytes) -> str:
        """The log of the questions of a partition; ``form`` is a request without one."""
        return f"{PREFIX}:{self.namespace}:questions:{fingerprint(form, self.secret)}"

    def subject(self, form: bytes) -> str:
        """The id of the subject for which comparisons are counted."""
        return fingerprint(form, self.secret)[:32]

    def comparisons(self, subject: str) -> str:
        """The log of the comparisons of the subject with this id."""
        return f"{PREFIX}:{self.namespace}:comparisons:{subject}"

    def bands(self, week: int) -> str:
        """The hash with the state of the bands that were compared in a week."""
        return f"{PREFIX}:{self.namespace}:bands:{week}"

    @property
    def events(self) -> str:
        """The stream of the event log."""
        return f"{PREFIX}:{self.namespace}:events"
