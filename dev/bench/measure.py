"""How things are timed here: by turns, so that a noisy machine disturbs both alike."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """One line of the table. Times in microseconds, medians over the rounds.

    ``figure`` is what ``limit`` bounds: the ratio, or the difference in ms.
    """

    name: str
    ours: float
    reference: float
    figure: float
    spread: tuple[float, float]
    limit: float
    unit: str = "x"

    @property
    def held(self) -> bool:
        """Whether the figure is within its limit."""
        return self.figure <= self.limit


def timed(work: Callable[[], object], times: int) -> float:
    """Microseconds for one call, over ``times`` of them."""
    started = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - started) / times * 1e6


def by_turns(
    ours: Callable[[], float], reference: Callable[[], float], rounds: int
) -> tuple[list[float], list[float]]:
    """What both say, called in turn, the first pair thrown away."""
    pairs = [(ours(), reference()) for _ in range(rounds + 1)][1:]
    return [a for a, _ in pairs], [b for _, b in pairs]


def ratio(name: str, ours: list[float], reference: list[float], limit: float) -> Result:
    """The median of the rounds' ratios, with its quartiles."""
    ratios = [a / b for a, b in zip(ours, reference, strict=True)]
    return Result(
        name,
        statistics.median(ours),
        statistics.median(reference),
        statistics.median(ratios),
        _quartiles(ratios),
        limit,
    )


def difference(
    name: str, ours: list[float], reference: list[float], limit: float
) -> Result:
    """The difference of the medians in ms; the spread is that of the pairs."""
    pairs = [(a - b) / 1e3 for a, b in zip(ours, reference, strict=True)]
    middle = (statistics.median(ours) - statistics.median(reference)) / 1e3
    return Result(
        name,
        statistics.median(ours),
        statistics.median(reference),
        middle,
        _quartiles(pairs),
        limit,
        "ms",
    )


def _quartiles(values: list[float]) -> tuple[float, float]:
    low, _, high = statistics.quantiles(values, n=4)
    return low, high
