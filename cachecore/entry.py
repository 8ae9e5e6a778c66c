"""Entries and their bytes.

Layout, version 2::

    2 bytes   magic  b"dc"
    1 byte    format version
    1 byte    flags: 1 = zlib, 2 = AES-256-GCM
    16 bytes  order: the time of its request, in decimal digits
    n bytes   body

The order is in microseconds on the store's clock. It is not encrypted, so that a store
knows which of two entries was asked for later (``policy.may_replace``). 0 means no order.

Without a secret the body is a 16-byte BLAKE2b digest over the key, the header and the
text, then the text. With a secret it is a 12-byte nonce and the AES-GCM ciphertext, with
the key and the header as associated data. Both bind the bytes to their key: an entry that
was copied to another key, or has one changed bit, does not decode. The text is JSON, and
is deflated if that is worth its time. A payload of bytes follows the text after a zero
byte, and is not deflated. An entry is data, never code.

Bytes that do not decode raise CorruptEntry. An unknown format version is such a case, so
that plugins of different versions can share a store.
"""

import hashlib
import hmac
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final, NamedTuple

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cachecore.errors import CorruptEntry

MAGIC: Final = b"dc"
FORMAT_VERSION: Final = 2
# The place of the order in the header.
ORDER: Final = slice(4, 20)
_HEADER_SIZE: Final = 20
_DEFLATED: Final = 1
_ENCRYPTED: Final = 2
_DIGEST_SIZE: Final = 16
_NONCE_SIZE: Final = 12
_NUMBERS: Final = (int, float)

# Below this size, compression costs a hit more than it saves in the store.
COMPRESS_FROM: Final = 4096
# The byte before a payload of bytes: JSON never contains it.
_BYTES: Final = b"\0"
# The most bytes that one entry may inflate to: our own entries are much smaller.
MAX_TEXT: Final = 64 * 1024 * 1024


class Cost(NamedTuple):
    """The cost of a load: the tokens, money and seconds that a hit saves.

    ``cached_tokens`` and ``written_tokens`` are the prompt tokens read from and written to
    the provider's own cache, which have prices of their own.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    price: float = 0.0
    currency: str = "USD"
    seconds: float = 0.0
    cached_tokens: int = 0
    written_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """A kept answer.

    Times are in seconds since the epoch. ``stamps`` has the stamp of each tag, by its
    field, at the time of the load. ``payload`` is JSON data or bytes.
    """

    payload: Any
    created_at: float
    fresh_until: float
    stale_until: float
    stamps: dict[str, str]
    cost: Cost = Cost()  # noqa: RUF009 - frozen


def as_it_is(payload: Any) -> Any:
    """A reader that returns the payload unchanged."""
    return payload


def serialise(entry: Entry) -> bytes:
    """The entry as text. Raises TypeError for data that JSON would change."""
    payload = entry.payload
    _refuse_nan(payload)
    binary = isinstance(payload, bytes)
    text = orjson.dumps(
        {
            **({} if binary else {"payload": payload}),
            "created_at": entry.created_at,
            "fresh_until": entry.fresh_until,
            "stale_until": entry.stale_until,
            "stamps": entry.stamps,
            "cost": entry.cost._asdict(),
        }
    )
    return text + _BYTES + payload if binary else text


def _refuse_nan(value: object) -> None:
    # orjson would write null instead.
    if isinstance(value, float):
        if not isfinite(value):
            msg = "a number that is not finite"
            raise TypeError(msg)
    elif isinstance(value, dict):
        for item in value.values():
            _refuse_nan(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse_nan(item)


def seal(
    text: bytes, key: str, cipher_key: bytes | None = None, order: int = 0
) -> bytes:
    """The bytes for a serialised entry: deflated, bound to its key, encrypted."""
    flags = 0
    if len(text) >= COMPRESS_FROM and _BYTES not in text:
        deflated = zlib.compress(text, 6)
        if len(deflated) < len(text):
            text, flags = deflated, _DEFLATED
    when = b"%016d" % order
    if cipher_key is None:
        header = MAGIC + bytes((FORMAT_VERSION, flags)) + when
        return header + _digest(key, header, text) + text
    header = MAGIC + bytes((FORMAT_VERSION, flags | _ENCRYPTED)) + when
    nonce = os.urandom(_NONCE_SIZE)
    sealed = AESGCM(cipher_key).encrypt(nonce, text, header + key.encode())
    return header + nonce + sealed


def decode(
    data: bytes,
    key: str,
    cipher_key: bytes | None = None,
    read: Callable[[Any], Any] = as_it_is,
) -> Entry:
    """The entry written under ``key``; raises CorruptEntry for anything else.

    ``read`` converts the payload for the caller; its ValueError means that the entry is
    corrupt.
    """
    return _entry(unseal(data, key, cipher_key), read)


def unseal(data: bytes, key: str, cipher_key: bytes | None = None) -> bytes:
    """The text that ``seal`` got; raises CorruptEntry for any other bytes or key."""
    if data[:2] != MAGIC or len(data) < _HEADER_SIZE:
        msg = "not an entry"
        raise CorruptEntry(msg)
    version, flags = data[2], data[3]
    if version != FORMAT_VERSION or flags & ~(_DEFLATED | _ENCRYPTED):
        msg = f"an entry of format {version}/{flags}, which this version does not know"
        raise CorruptEntry(msg)
    text = _open(data, flags, key, cipher_key)
    return _inflate(text) if flags & _DEFLATED else text


def order_of(data: bytes | None) -> int | None:
    """The order in an entry's header; None if it is not an entry of this format."""
    if data is None or data[:3] != MAGIC + bytes((FORMAT_VERSION,)):
        return None
    order = data[ORDER]
    return int(order) if order.isdigit() else None


def _digest(key: str, header: bytes, text: bytes) -> bytes:
    state = hashlib.blake2b(key.encode(), digest_size=_DIGEST_SIZE)
    state.update(header)
    state.update(text)
    return state.digest()


def _open(data: bytes, flags: int, key: str, cipher_key: bytes | None) -> bytes:
    header, body = data[:_HEADER_SIZE], data[_HEADER_SIZE:]
    # A plain entry is refused if there is a secret, and the reverse: otherwise anyone
    # with access to the store could write answers.
    if bool(flags & _ENCRYPTED) != (cipher_key is not None):
        msg = "an entry written with another secret setting"
        raise CorruptEntry(msg)
    if cipher_key is not None:
        nonce, sealed = body[:_NONCE_SIZE], body[_NONCE_SIZE:]
        try:
            return AESGCM(cipher_key).decrypt(nonce, sealed, header + key.encode())
        except (InvalidTag, ValueError) as error:
            msg = "an entry that does not open with this secret"
            raise CorruptEntry(msg) from error
    digest, text = body[:_DIGEST_SIZE], body[_DIGEST_SIZE:]
    if not hmac.compare_digest(digest, _digest(key, header, text)):
        msg = "an entry whose bytes were changed or belong to another key"
        raise CorruptEntry(msg)
    return text


def _inflate(text: bytes) -> bytes:
    engine = zlib.decompressobj()
    try:
        inflated = engine.decompress(text, MAX_TEXT)
    except zlib.error as error:
        msg = "an entry that does not inflate"
        raise CorruptEntry(msg) from error
    if not engine.eof:
        msg = "an entry that inflates to too much or too little"
        raise CorruptEntry(msg)
    return inflated


def _entry(text: bytes, read: Callable[[Any], Any]) -> Entry:
    text, binary, payload = text.partition(_BYTES)
    try:
        data = orjson.loads(text)
        entry = Entry(
            payload=read(payload if binary else data["payload"]),
            created_at=data["created_at"],
            fresh_until=data["fresh_until"],
            stale_until=data["stale_until"],
            stamps=data["stamps"],
            cost=Cost(**data["cost"]),
        )
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        msg = "an entry without the fields of this format"
        raise CorruptEntry(msg) from error
    valid = (
        isinstance(entry.created_at, _NUMBERS)
        and isinstance(entry.fresh_until, _NUMBERS)
        and isinstance(entry.stale_until, _NUMBERS)
        and isinstance(entry.stamps, dict)
    )
    if not valid:
        msg = "an entry whose fields have other types"
        raise CorruptEntry(msg)
    return entry
