"""The score: how likely two questions are the same, from 0 to 1, computed locally.

It is a logistic function of cheap features: the similarity of the vectors, the important
words that only one question has, and whether one word seems to be exchanged for another, as
in similar questions about different things. Its weights are learned (``dev/bench/meaning``,
from fow-cache's pairs, CC BY 4.0). A score is not a probability for the actual traffic;
``bands`` measures there how often a score is right.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from cachecore.meaning.guards import read
from cachecore.meaning.words import LIGHT

_ENDINGS: Final = (
    *("ations", "ation", "ments", "ment", "ings", "ing", "ies", "ied", "es", "ed", "s"),
    *("ly", "er"),
)
_FEW: Final = 2  # words
_MANY: Final = 8
_LONGEST: Final = 24  # letters of a word
_STEM: Final = 3  # the fewest letters of a stem
_LONG: Final = 8  # letters; from this length a word may have two typing mistakes

# The weight of each of the ``features``; from python -m bench.meaning.
WEIGHTS: Final = (
    -0.2874,
    5.7126,
    -2.8756,
    -4.2409,
    -0.2122,
    0.8789,
    -0.4502,
    4.5501,
    -1.0667,
    -1.7660,
    -1.1157,
    -1.2955,
    -2.0692,
    0.9659,
    2.6826,
    -0.3080,
    -0.2918,
)
BIAS: Final = 3.8412


def score(one: str, other: str, cosine: float) -> float:
    """The score of two questions; ``cosine`` is the cosine of their vectors."""
    total = BIAS + sum(
        weight * value
        for weight, value in zip(WEIGHTS, features(one, other, cosine), strict=True)
    )
    return 1 / (1 + math.exp(-max(-30.0, min(30.0, total))))


def features(one: str, other: str, cosine: float) -> list[float]:
    """The features of two questions, beginning with their cosine."""
    first, second = read(one), read(other)
    mine, theirs = _heavy(first.tokens), _heavy(second.tokens)
    only_mine, only_theirs = _apart(mine, theirs)
    heavy = (_share(mine, only_mine) + _share(theirs, only_theirs)) / 2
    words = _jaccard(first.words, second.words)
    exchanged = float(len(only_mine) == 1 and len(only_theirs) == 1)
    few = range(1, _FEW + 1)
    two = float(len(only_mine) in few and len(only_theirs) in few and not exchanged)
    added = float(bool(only_mine) != bool(only_theirs))
    same = float(not only_mine and not only_theirs)
    lengths = len(first.tokens), len(second.tokens)
    return [
        *(cosine, cosine**2, heavy, words, exchanged, two, added, same),
        _dice(" ".join(mine), " ".join(theirs)),
        min(lengths) / max(1, *lengths),
        *(exchanged * words, added * words),
        min(len(only_mine) + len(only_theirs), 8) / 8,
        *(exchanged * cosine, added * cosine, two * cosine, (1 - words) * cosine),
    ]


@lru_cache(512)
def _heavy(tokens: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(_stem(token) for token in tokens if token not in LIGHT)


def _stem(word: str) -> str:
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _STEM:
            return word[: -len(ending)]
    return word


def _share(words: Sequence[str], missing: Sequence[str]) -> float:
    return (len(words) - len(missing)) / (len(words) or 1)


def _jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / max(1, len(one | other))


def _dice(one: str, other: str) -> float:
    mine, theirs = (
        {text[n : n + 3] for n in range(len(text) - 2)} for text in (one, other)
    )
    return 2 * len(mine & theirs) / max(1, len(mine) + len(theirs))


def _apart(mine: Sequence[str], theirs: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words that only one of two questions has, except typing mistakes.

    If there are many such words, none counts as a mistake: comparing all takes too long.
    """
    have, had = frozenset(mine), frozenset(theirs)
    only_mine = [word for word in mine if word not in had]
    only_theirs = [word for word in theirs if word not in have]
    if max(len(only_mine), len(only_theirs)) > _MANY:
        return only_mine, only_theirs
    return (
        [word for word in only_mine if not any(_is_slip(word, one) for one in theirs)],
        [word for word in only_theirs if not any(_is_slip(word, one) for one in mine)],
    )


@lru_cache(16_384)
def _is_slip(one: str, other: str) -> bool:
    """Whether two words differ only in an ending or a typing mistake."""
    short, long = sorted((one, other), key=len)
    if len(short) <= _STEM or len(long) > _LONGEST:
        return False
    if long.startswith(short):
        return True
    most = 2 if len(long) >= _LONG else 1
    return len(long) - len(short) <= most and _distance(one, other) <= most


def _distance(one: str, other: str) -> int:
    """The number of letters to change, add, drop or exchange."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for at, letter in enumerate(one, 1):
        new = [at]
        for place, theirs in enumerate(other, 1):
            cost = min(row[place] + 1, new[-1] + 1, row[place - 1] + (letter != theirs))
            turned = (one[at - 2 : at], other[place - 2 : place])
            if at > 1 and place > 1 and turned[0] == turned[1][::-1]:
                cost = min(cost, before[place - 2] + 1)
            new.append(cost)
        before, row = row, new
    return row[-1]
