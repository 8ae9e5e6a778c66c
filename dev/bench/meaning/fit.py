"""Learns the weights of ``cachecore.meaning.score`` from pairs: a logistic regression."""

import math
import random
from collections.abc import Sequence

_RIDGE = 1.0
_STEPS = 30


def fit(
    rows: Sequence[Sequence[float]], same: Sequence[bool]
) -> tuple[list[float], float]:
    """Weights and bias for the features, unscaled; Newton's method with a ridge."""
    width = len(rows[0])
    means = [sum(row[n] for row in rows) / len(rows) for n in range(width)]
    spreads = [
        math.sqrt(sum((row[n] - means[n]) ** 2 for row in rows) / len(rows)) or 1.0
        for n in range(width)
    ]
    scaled = [
        [*((row[n] - means[n]) / spreads[n] for n in range(width)), 1.0] for row in rows
    ]
    weights = [0.0] * (width + 1)
    for _ in range(_STEPS):
        slope = [_RIDGE * w for w in weights[:-1]] + [0.0]
        curve = [
            [_RIDGE * (a == b) for b in range(width + 1)] for a in range(width + 1)
        ]
        for row, is_same in zip(scaled, same, strict=True):
            total = sum(w * x for w, x in zip(weights, row, strict=True))
            chance = 1 / (1 + math.exp(-max(-30.0, min(30.0, total))))
            for a, x in enumerate(row):
                slope[a] += (chance - is_same) * x
                for b, y in enumerate(row):
                    curve[a][b] += chance * (1 - chance) * x * y
        step = _solved(curve, slope)
        weights = [w - s for w, s in zip(weights, step, strict=True)]
    plain = [w / s for w, s in zip(weights[:-1], spreads, strict=True)]
    bias = weights[-1] - sum(w * m for w, m in zip(plain, means, strict=True))
    return plain, bias


def _solved(matrix: list[list[float]], right: list[float]) -> list[float]:
    """The x for which ``matrix · x = right``, by elimination."""
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    size = len(rows)
    for at in range(size):
        best = max(range(at, size), key=lambda n: abs(rows[n][at]))
        rows[at], rows[best] = rows[best], rows[at]
        for n in range(size):
            if n != at:
                factor = rows[n][at] / rows[at][at]
                rows[n] = [
                    x - factor * y for x, y in zip(rows[n], rows[at], strict=True)
                ]
    return [row[-1] / row[n] for n, row in enumerate(rows)]


def folds(count: int, parts: int, seed: int = 0) -> list[list[int]]:
    """The indices from 0 to ``count``, shuffled into this many parts."""
    places = list(range(count))
    random.Random(seed).shuffle(places)
    return [places[part::parts] for part in range(parts)]
