"""A ticket: what ``cache_lookup`` hands to ``cache_store`` through the workflow.

It holds the key, the stamps at the look-up and the request's order. So the key is typed
once, an invalidation in between wins, and a value of an earlier request never replaces
a value of a later request. A model in the workflow may see or invent this text. So the
ticket is sealed with a secret of the namespace: it shows nothing of its content, and a
text that was not sealed with this secret is refused.
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
# If the store was not available, there is no secret to seal with and nothing to keep.
NOTHING: Final = _PREFIX + "none"
_NONCE: Final = 12
_MAX_TEXT: Final = 16_384
# As base64 it fits into the text. A longer ticket is written without ``asked``, and its
# value is not compared by its meaning.
_MAX_BODY: Final = 12_000


@dataclass(frozen=True, slots=True)
class Ticket:
    """``stamps`` is empty if nothing may be kept.

    ``order`` is the time of the request on the store's clock. ``issued_at`` is when the
    work began, in seconds since the epoch. ``label`` names the work in the statistics.
    ``ttl`` is the value's lifetime in seconds; None for that of the credentials.
    ``asked`` describes the request, if it is compared by its meaning. ``ends_at`` is
    when the value expires in any case, in seconds since the epoch.
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
    """The ticket as text."""
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
            "The parameter ticket is not from a Cache Lookup in this namespace; "
            "connect it to the ticket output of the Cache Lookup node."
        )
        raise BadInput(msg) from None
    return Ticket(*orjson.loads(body))


def text_of(parameters: Mapping[str, Any]) -> str:
    """The parameter ``ticket``; raises BadInput if it is empty."""
    return inputs.required(parameters, "ticket").strip()
