"""One request on its way: what it has met, and what it is about to load."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

from cachecore import policy
from cachecore.entry import Cost
from cachecore.finder import Look, Stamps
from cachecore.flights import Flight
from cachecore.policy import Control, Price
from cachecore.request import Request
from cachecore.streams import Answer, Piece, Usage, merge, unbilled

logger = logging.getLogger(__name__)

type Load = Callable[[], Iterable[Piece]]

# Those who take what is there; the others have said what they want.
LENIENT: Final = (Control.DEFAULT, Control.ALWAYS)


@dataclass(slots=True)
class Met:
    """What a request has met so far. A store that failed it once is left alone.

    ``look`` is its last look-up, None before the first; ``shared`` says that the
    answer came from a load that another caller had begun, ``waited`` that one was
    waited for in vain.
    """

    failure: bool = False
    look: Look | None = None
    shared: bool = False
    waited: bool = False


@dataclass(frozen=True, slots=True)
class Trip:
    """A load under way: the first of this process for its key."""

    request: Request
    look: Look
    stamps: Stamps
    flight: Flight
    load: Load
    met: Met


def joined(pieces: Iterable[Piece]) -> Piece:
    """Several pieces as one, which another caller has paid for."""
    piece = merge(pieces)
    return replace(piece, usage=unbilled(piece.usage))


def cost_of(usage: Usage | None, seconds: float, price: Price) -> Cost:
    """What a load cost: as whoever was asked says, or by the form's price."""
    if usage is None:
        return Cost(seconds=seconds, currency=price.currency)
    tokens = usage.prompt_tokens, usage.completion_tokens
    if usage.price is not None:
        return Cost(*tokens, usage.price, usage.currency, seconds)
    return policy.cost(*tokens, seconds, price)


def is_accepted(request: Request, answer: Answer) -> bool:
    """Whether the request takes the answer as a valid one."""
    try:
        return request.accept is None or request.accept(answer)
    except Exception as error:  # noqa: BLE001 - the answer was given in full
        # The name alone: the error's text may repeat the answer.
        name = type(error).__name__
        logger.warning("an answer could not be judged and is not kept: %s", name)
        return False
