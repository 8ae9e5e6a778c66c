"""The outcome of a request, as the tools output it."""

from dataclasses import dataclass
from time import time

from cachecore.cache import RequestState
from cachecore.keys import reported_key
from cachecore.lookup import Look

# An answer from a load that another caller had begun.
SHARED = "shared_load"


@dataclass(frozen=True, slots=True)
class Outcome:
    """``reason`` is a policy.Reason's value, or one of the tool's own reasons."""

    reason: str
    hit: bool = False
    age_seconds: float = 0.0
    cache_key: str = ""


def outcome_of(state: RequestState) -> Outcome:
    """The outcome of a request that has been answered."""
    if state.look is None:
        return Outcome("not_asked")
    found = look_outcome(state.look)
    if state.shared and not found.hit:
        return Outcome(SHARED, cache_key=found.cache_key)
    return found


def look_outcome(look: Look) -> Outcome:
    """The outcome of a look-up."""
    entry = look.entry
    age = round(max(0.0, time() - entry.created_at), 3) if entry else 0.0
    key = reported_key(look.key, look.served)
    return Outcome(look.reason.value, entry is not None, age, key)
