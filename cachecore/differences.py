"""Reasons for misses: the parts in which a request differs from earlier ones.

A request is compared with the nearest of the last misses of its model and app, by digests
of their parts. If a question was asked before and missed nevertheless, another part was
different: a clock in a system prompt, a user's name, a parameter.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from cachecore.events import Subject

_QUESTION: Final = "question"
# The parts of a prompt that requests of one app could share, in the servers' order.
_PREFIX: Final = ("tools", "system")
_REMEMBERED: Final = 64  # misses of one subject
_MAX_SUBJECTS: Final = 128

type Parts = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """The parts in which a request differs from the nearest earlier one.

    ``breaks_prefix`` is the first shareable part in which the request differs from the
    one right before it; a provider's own cache can't be used from there on. It is empty
    if no such part differs.
    """

    changed: tuple[str, ...]
    asked_before: bool
    breaks_prefix: str = ""


class Differences:
    """Remembers the last misses, by subject. Not thread-safe."""

    def __init__(self) -> None:
        self._seen: OrderedDict[Subject, OrderedDict[Parts, None]] = OrderedDict()

    def compare(self, of: Subject, parts: Mapping[str, str]) -> Difference | None:
        """The difference to the nearest earlier miss; None for the first miss."""
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
        # The parts that only one of them has, or that differ.
        changed = {name for name, _ in set(other) ^ set(parts.items())}
        again = _QUESTION in parts and _QUESTION not in changed
        return Difference(tuple(sorted(changed)), asked_before=again)

    # If several are equally near, the latest counts.
    return max(
        map(difference, reversed(seen)),
        key=lambda one: (one.asked_before, -len(one.changed)),
        default=None,
    )
