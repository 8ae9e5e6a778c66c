"""Bands: the scores that may be served, by the comparisons that were made.

Each score belongs to a band, and each band remembers its last comparisons. A comparison
is between the kept answer to another question and the model's answer to this one. The
rule:

    A band serves only if its right comparisons since the last wrong one are so many
    that they would occur in fewer than 5 % of the cases if a share ``max_wrong`` were
    wrong.

With ``max_wrong`` at 1 % this needs 299 comparisons (0.99^299 < 0.05), at 2 % 149. A wrong
comparison closes the band. At each new start the band could open by luck, so each start
needs more comparisons: with k wrong ones among the last comparisons the limit is
5 % / (1 + k)². These limits add up to less than 9 % over all starts.

A share of a serving band's requests is still compared. The share falls while the evidence
grows. So a change is noticed after a few comparisons, and few served answers are wrong
until then.
"""

import math
from collections import deque
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from cachecore.policy import BAND_STARTS

# Below this score, two questions are compared only if a judge model was asked.
ALONE: Final = 0.5
WINDOW: Final = 2_000  # the remembered comparisons of a band
_CHANCE: Final = 0.05
# The compared share is higher than the evidence requires, by this factor. So wrong
# answers remain below the limit until a change is noticed; see ``share`` and
# tests/fuzz/test_streams.py.
_CAUTION: Final = 2.0


def band_of(score: float) -> int | None:
    """The number of the band of a score; None if it is below all bands."""
    place = sum(score >= start for start in BAND_STARTS)
    return place - 1 if place else None


@lru_cache(4096)
def needed(max_wrong: float, wrongs: int) -> int:
    """The number of right comparisons in a row that open a band."""
    chance = _CHANCE / (1 + wrongs) ** 2
    return math.ceil(math.log(chance) / math.log1p(-max_wrong))


@dataclass(slots=True)
class Band:
    """The evidence of one band.

    ``right_since`` counts the right comparisons since the last wrong one, ``wrongs``
    counts the wrong ones among the last comparisons.
    """

    right_since: int = 0
    wrongs: int = 0
    _last: deque[bool] = field(default_factory=deque)

    def add(self, *, right: bool) -> None:
        """Add a comparison."""
        self._last.append(right)
        self.wrongs += not right
        self.right_since = self.right_since + 1 if right else 0
        if len(self._last) > WINDOW:
            self.wrongs -= not self._last.popleft()

    @property
    def rights(self) -> int:
        """The number of right comparisons among the last ones."""
        return len(self._last) - self.wrongs

    def serves(self, max_wrong: float) -> bool:
        """Whether the band serves, by the rule above."""
        return self.right_since >= needed(max_wrong, self.wrongs)

    def share(self, max_wrong: float, least: float) -> float:
        """The share of servable requests that is still sent upstream, and compared."""
        if not self.serves(max_wrong):
            return 1.0
        return max(least, min(1.0, _CAUTION / (max_wrong * self.right_since)))
