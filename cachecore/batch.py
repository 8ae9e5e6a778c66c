"""Many small answers that are asked for at once: what a batch knows of each."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cachecore.entry import Cost
from cachecore.finder import Stamps
from cachecore.flights import Flight
from cachecore.metrics import Result
from cachecore.policy import HITS, MISSES, Reason
from cachecore.request import Request
from cachecore.streams import Piece, Usage

# Loads the answers to the forms at these places: all of them, some at a time.
type LoadMany = Callable[[Sequence[int]], Iterable[Mapping[int, Item]]]


@dataclass(frozen=True, slots=True)
class Item:
    """One answer of a batch.

    ``cost`` is what loading it took, ``billed`` whether this caller paid that.
    ``keep`` is false for one that is not fit for the next caller.
    """

    payload: bytes
    cost: Cost = Cost()  # noqa: RUF009 - frozen
    billed: bool = True
    keep: bool = True


@dataclass(slots=True)
class Batch:
    """A batch under way. ``items`` are the answers so far, by place."""

    request: Request
    forms: Sequence[Mapping[str, object]]
    load: LoadMany
    idle: float
    items: dict[int, Item] = field(default_factory=dict)
    left: list[int] = field(default_factory=list)
    failed: bool = False  # The store has failed it, and is left alone.
    reasons: set[Reason] = field(default_factory=set)  # of its look-ups
    loaded: bool = False


@dataclass(frozen=True, slots=True)
class Led:
    """An answer that this caller loads for everybody."""

    key: str
    stamps: Stamps
    flight: Flight
    absent: bool  # whether there was nothing before


def result_of(batch: Batch) -> Result:
    """What became of a batch that was answered to its end."""
    if batch.reasons <= HITS:
        return Result.HIT
    if batch.reasons <= HITS | MISSES:
        return Result.MISS if batch.loaded else Result.SHARED
    return Result.UNCACHED


def bytes_of(payload: Any) -> bytes:
    """Reads a payload that has to be bytes; raises ValueError for another."""
    if not isinstance(payload, bytes):
        msg = "the payload is not that of a batch's item"
        raise ValueError(msg)  # noqa: TRY004 - a caller handles one error
    return payload


def show(flight: Flight, item: Item) -> None:
    """Give an answer to those who follow it."""
    usage = Usage(prompt_tokens=item.cost.prompt_tokens)
    flight.publish(Piece(data=item.payload, usage=usage))
    flight.land()
