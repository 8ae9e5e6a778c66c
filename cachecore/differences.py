"""Why did it miss? In what a request that was not found differs from those before it.

Each is compared with the nearest of the last ones of its model and app, by digests of
their parts. A question that was asked before and missed all the same was kept apart
by another part: the clock in a system prompt, a user's name, a parameter.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from cachecore.events import Subject

_QUESTION: Final = "question"
# The parts of a prompt that requests of one app could share, as servers order them.
_PREFIX: Final = ("tools", "system")
_REMEMBERED: Final = 64  # misses of one subject
_MAX_SUBJECTS: Final = 128

type Parts = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """The parts that a request has otherwise than the one that is nearest to it.

    ``breaks_prefix`` is the first part, of those that requests could share, in which it
    differs from the one right before it: from there on a provider's own cache is of no
    use. Empty where it differs in none.
    """

    changed: tuple[str, ...]
    asked_before: bool
    breaks_prefix: str = ""


class Differences:
    """Remembers the last misses, by subject. Not thread-safe."""

    def __init__(self) -> None:
        self._seen: OrderedDict[Subject, OrderedDict[Parts, None]] = OrderedDict()

    def compare(self, of: Subject, parts: Mapping[str, str]) -> Difference | None:
        """How a miss differs from the nearest before it; None for the first."""
        seen = self._seen.setdefault(of, OrderedDict())
        self._seen.move_to_end(of)
        if len(self._seen) > _MAX_SUBJECTS:
            self._seen.popitem(last=False)
        found = _nearest(seen, parts)
        if found is not None:
            last = dict(next(reversed(seen)))
            broken = (p for p in _PREFIX if parts.get(p) != last.get(p))
            found = replace(found, breaks_prefix=next(broken, ""))
        mine = tuple(sorted(parts.items()))
        seen[mine] = None
        seen.move_to_end(mine)
        if len(seen) > _REMEMBERED:
            seen.popitem(last=False)
        return found


def _nearest(
    seen: "OrderedDict[Parts, None]", parts: Mapping[str, str]
) -> Difference | None:
    def difference(other: Parts) -> Difference:
        # What stands in one of them only, or in both otherwise.
        changed = {name for name, _ in set(other) ^ set(parts.items())}
        again = _QUESTION in parts and _QUESTION not in changed
        return Difference(tuple(sorted(changed)), asked_before=again)

    # Of those that are as near, the latest.
    return max(
        map(difference, reversed(seen)),
        key=lambda one: (one.asked_before, -len(one.changed)),
        default=None,
    )
