"""Counters of one hash in the store, and which of them are not published yet."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cachecore.counters import Counts
from cachecore.stores.base import Page

_WHOLE_EVERY: Final = 60.0


@dataclass(slots=True)
class Sheet:
    """Counters of one hash, and which of them are not published yet."""

    name: str
    ttl: float
    counts: defaultdict[str, float]
    unsaid: set[str]
    whole_at: float = 0.0

    def add(self, counts: Counts) -> None:
        for name, amount in counts.items():
            self.counts[name] += amount
        self.unsaid |= counts.keys()

    def page(self, now: float) -> Page:
        """What has changed, as said from now on.

        Once a minute it is all: an eviction has left nothing of the rest.
        """
        names: Iterable[str] = self.unsaid
        if now - self.whole_at >= _WHOLE_EVERY:
            names, self.whole_at = self.counts, now
        shown = {name: repr(round(self.counts[name], 6)) for name in names}
        self.unsaid = set()
        return Page(self.name, shown, self.ttl)
