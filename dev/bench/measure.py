"""Timing by turns, so that a noisy machine disturbs both sides equally."""

import statistics
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Result:
    """One line of the table: our value, the reference's, and the figure.

    ``figure`` is limited by ``limit`` from above, or from below if ``least``; None is
    no limit. ``of`` is the unit of both values, ``unit`` that of the figure; ``spread``
    has the figure's quartiles.
    """

    name: str
    ours: float
    reference: float
    figure: float
    spread: tuple[float, float]
    limit: float | None = None
    unit: str = "x"
    of: str = "us"
    least: bool = False

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> "Result":
        """A result, from the JSON of ``asdict``."""
        return cls(**{**data, "spread": tuple(data["spread"])})

    @property
    def held(self) -> bool:
        """Whether the figure is within its limit."""
        if self.limit is None:
            return True
        return self.figure >= self.limit if self.least else self.figure <= self.limit


def timed(work: Callable[[], object], times: int, callers: int = 1) -> float:
    """Microseconds for one call, over ``times`` calls by this many callers at once."""
    if callers == 1:
        started = time.perf_counter()
        for _ in range(times):
            work()
        return (time.perf_counter() - started) / times * 1e6
    each = max(1, times // callers)
    failed: list[Exception] = []

    def call() -> None:
        try:
            for _ in range(each):
                work()
        except Exception as error:  # noqa: BLE001 - raised below, in the caller's thread
            failed.append(error)

    threads = [threading.Thread(target=call) for _ in range(callers)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return (time.perf_counter() - started) / (each * callers) * 1e6


def by_turns(
    ours: Callable[[], float], reference: Callable[[], float], rounds: int
) -> tuple[list[float], list[float]]:
    """The values of both, called by turns; the first pair is dropped."""
    pairs = [(ours(), reference()) for _ in range(rounds + 1)][1:]
    return [a for a, _ in pairs], [b for _, b in pairs]


def ratio(
    name: str, ours: Sequence[float], reference: Sequence[float], limit: float | None
) -> Result:
    """The median of the rounds' ratios, with its quartiles."""
    ratios = [a / b for a, b in zip(ours, reference, strict=True)]
    return Result(
        name,
        statistics.median(ours),
        statistics.median(reference),
        statistics.median(ratios),
        quartiles(ratios),
        limit,
    )


def times_fewer(
    name: str, ours: Sequence[float], reference: Sequence[float], limit: float | None
) -> Result:
    """The reference's multiple of ours: higher is better."""
    turned = ratio(name, reference, ours, limit)
    return Result(
        name,
        turned.reference,
        turned.ours,
        turned.figure,
        turned.spread,
        limit,
        least=True,
    )


def difference(
    name: str, ours: Sequence[float], reference: Sequence[float], limit: float
) -> Result:
    """The difference of the medians in ms; the spread is that of the pairs."""
    pairs = [(a - b) / 1e3 for a, b in zip(ours, reference, strict=True)]
    middle = (statistics.median(ours) - statistics.median(reference)) / 1e3
    return Result(
        name,
        statistics.median(ours),
        statistics.median(reference),
        middle,
        quartiles(pairs),
        limit,
        "ms",
    )


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """The first and the third quartile."""
    low, _, high = statistics.quantiles(values, n=4)
    return low, high
