"""Bands: which scores have earned to be served, by comparisons that were made.

Scores lie in bands. Of each band the last comparisons are known: the answer that another
question had, against the answer that the model gave to this one. The law:

    A band serves only while its comparisons since the last wrong one, all of them right,
    would be seen in fewer than 5 % of the cases if one in ``1 / max_wrong`` were wrong.

With ``max_wrong`` at 1 % that takes 299 (0.99^299 < 0.05), at 2 % 149. A wrong one closes the
band. Beginning anew is another chance to be lucky, so each time asks for more: with k
wrong ones among the last comparisons the 5 % become 5 % / (1 + k)², which over all times adds up
to less than 9 %.

A band that serves goes on being compared, at a share that falls as its evidence grows: what
changes is noticed after a few, and few are wrong until then.
"""

import math
from collections import deque
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from cachecore.policy import BAND_STARTS

# Below it two questions are compared only where a judge model was asked.
ALONE: Final = 0.5
WINDOW: Final = 2_000  # comparisons of a band that are remembered
_CHANCE: Final = 0.05
# With so much less than the evidence allows, wrong ones stay below the limit while a change
# has not been noticed yet; see ``share`` and the streams of tests/fuzz/test_streams.py.
_CAUTION: Final = 2.0


def band_of(score: float) -> int | None:
    """The number of the band that a score lies in; None for one below all."""
    place = sum(score >= start for start in BAND_STARTS)
    return place - 1 if place else None


@lru_cache(4096)
def needed(max_wrong: float, wrongs: int) -> int:
    """How many right comparisons in a row open a band."""
    chance = _CHANCE / (1 + wrongs) ** 2
    return math.ceil(math.log(chance) / math.log1p(-max_wrong))


@dataclass(slots=True)
class Band:
    """What is known of one band: ``right_since`` counts those since the last wrong one.

    ``wrongs`` counts the wrong ones among the last comparisons.
    """

    right_since: int = 0
    wrongs: int = 0
    _last: deque[bool] = field(default_factory=deque)

    def add(self, *, right: bool) -> None:
        """A comparison was made."""
        self._last.append(right)
        self.wrongs += not right
        self.right_since = self.right_since + 1 if right else 0
        if len(self._last) > WINDOW:
            self.wrongs -= not self._last.popleft()

    @property
    def rights(self) -> int:
        """How many of the last comparisons were right."""
        return len(self._last) - self.wrongs

    def serves(self, max_wrong: float) -> bool:
        """Whether the law above lets it."""
        return self.right_since >= needed(max_wrong, self.wrongs)

    def share(self, max_wrong: float, least: float) -> float:
        """Which share of what it may serve is asked upstream all the same, and compared."""
        if not self.serves(max_wrong):
            return 1.0
        return max(least, min(1.0, _CAUTION / (max_wrong * self.right_since)))
