"""A ticket: what ``cache_lookup`` hands to ``cache_store`` through the workflow.

It holds the key, the stamps that stood at the look-up and the order in which it was
asked, so that the key is typed once, an invalidation in between wins, and a value that was
asked for earlier replaces none that was asked for later. It is text that a model in the
workflow may see or invent: it is sealed with a secret that the namespace keeps, shows
nothing, and what was not sealed so is refused.
"""

import base64
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from rag_cache import inputs
from rag_cache.errors import BadInput

_PREFIX: Final = "t3."
# Where the store was away there is nothing to seal it with, and nothing to keep.
NOTHING: Final = _PREFIX + "none"
_NONCE: Final = 12
_MAX_TEXT: Final = 16_384
# As base64 it fits into the text. What is longer is not compared by its meaning.
_MAX_BODY: Final = 12_000


@dataclass(frozen=True, slots=True)
class Ticket:
    """``stamps`` is empty where nothing may be kept.

    ``order`` is when the value was asked for, on the store's clock; ``issued_at``, in
    seconds since the epoch, when the work began; ``label`` what work it is, for the
    statistics; ``ttl`` how long the value is kept in seconds, None for the credentials'.
    ``asked`` says what was asked for, where that is compared by its meaning; ``ends_at`` is
    when the value is over in any case, in seconds since the epoch.
    """

    key: str
    stamps: dict[str, str]
    order: int
    issued_at: float
    label: str
    ttl: int | None = None
    ends_at: float | None = None
    asked: dict[str, Any] | None = None


def write(ticket: Ticket, secret: bytes) -> str:
    """The ticket as one word."""
    fields = [ticket.key, ticket.stamps, ticket.order, ticket.issued_at]
    fields += [ticket.label, ticket.ttl, ticket.ends_at]
    body = orjson.dumps([*fields, ticket.asked])
    if len(body) > _MAX_BODY:
        body = orjson.dumps(fields)
    nonce = os.urandom(_NONCE)
    sealed = nonce + AESGCM(secret).encrypt(nonce, body, _PREFIX.encode())
    return _PREFIX + base64.urlsafe_b64encode(sealed).decode().rstrip("=")


def read(text: str, secret: bytes) -> Ticket:
    """The ticket that ``write`` made with this secret. Raises BadInput."""
    word = text.strip()
    try:
        valid = word.startswith(_PREFIX) and len(word) <= _MAX_TEXT
        data = base64.urlsafe_b64decode(word[len(_PREFIX) :] + "===") if valid else b""
        body = AESGCM(secret).decrypt(data[:_NONCE], data[_NONCE:], _PREFIX.encode())
    except (ValueError, InvalidTag):
        msg = (
            "The parameter ticket is not one that Cache Lookup gave in this namespace; "
            "connect it to the ticket output of the Cache Lookup node."
        )
        raise BadInput(msg) from None
    return Ticket(*orjson.loads(body))


def text_of(parameters: Mapping[str, Any]) -> str:
    """The parameter ``ticket``; raises BadInput where it is empty."""
    return inputs.required(parameters, "ticket").strip()
