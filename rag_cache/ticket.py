"""A ticket: what ``cache_lookup`` hands to ``cache_store`` through the workflow.

It holds the key and the stamps that stood at the look-up, signed, so that the
key is typed once and an invalidation in between wins. It is text that a model
in the workflow may see or invent: only the signature makes it a ticket.
"""

import base64
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from rag_cache import inputs
from rag_cache.inputs import BadInput

_PREFIX: Final = "t2."
_MAX_TEXT: Final = 16_384


class BadTicket(ValueError):
    """The text is not a ticket of these credentials."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """``stamps`` is empty where nothing may be kept.

    ``issued_at``, in seconds since the epoch, says when the work began; ``label``
    what work it is, for the statistics.
    """

    key: str
    stamps: dict[str, str]
    issued_at: float
    label: str


def write(ticket: Ticket, secret: bytes) -> str:
    """The ticket as one word."""
    body = orjson.dumps([ticket.key, ticket.stamps, ticket.issued_at, ticket.label])
    seal = hmac.digest(secret, body, "sha256")[:16]
    return _PREFIX + base64.urlsafe_b64encode(seal + body).decode().rstrip("=")


def read(text: str, secret: bytes) -> Ticket:
    """The ticket that ``write`` made with this secret; raises BadTicket."""
    word = text.strip()
    if not word.startswith(_PREFIX) or len(word) > _MAX_TEXT:
        raise BadTicket
    try:
        data = base64.urlsafe_b64decode(word.removeprefix(_PREFIX) + "===")
    except ValueError:
        raise BadTicket from None
    seal, body = data[:16], data[16:]
    if not hmac.compare_digest(seal, hmac.digest(secret, body, "sha256")[:16]):
        raise BadTicket
    return Ticket(*orjson.loads(body))


def given(parameters: Mapping[str, Any], secret: bytes) -> Ticket:
    """The parameter ``ticket``, read. Raises BadInput."""
    try:
        return read(inputs.required(parameters, "ticket"), secret)
    except BadTicket:
        msg = (
            "The parameter ticket is not one that cache_lookup gave with these "
            "credentials; connect it to the ticket output of the cache_lookup node."
        )
        raise BadInput(msg) from None
