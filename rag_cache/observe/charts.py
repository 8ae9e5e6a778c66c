"""The data of charts, and the format of numbers; dashboard.html draws the charts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup


@dataclass(frozen=True, slots=True)
class Bar:
    """A row of a chart: a bar as long as ``value``, with ``shown`` at its end."""

    label: str
    value: float
    shown: str
    kind: str = "hit"


@dataclass(frozen=True, slots=True)
class Moment:
    """A time in seconds since 1970, shown as ``shape`` says (%m %d %H %M %S).

    The page's script shows it in the browser's own zone; without a script it is UTC.
    """

    at: float
    shape: str

    def __str__(self) -> str:
        return datetime.fromtimestamp(self.at, UTC).strftime(self.shape)

    @property
    def marks(self) -> Markup:
        """The attributes by which the script finds it."""
        made = Markup('data-at="{:.0f}" data-shape="{}" data-utc="{}"')
        return made.format(self.at, self.shape, str(self))


@dataclass(frozen=True, slots=True)
class Span:
    """The requests of a period: hits, misses, and those without a look-up."""

    when: Moment
    amounts: tuple[float, float, float]

    @property
    def rate(self) -> float | None:
        """The share of hits in all requests with a look-up."""
        hits, misses, _ = self.amounts
        return hits / (hits + misses) if hits + misses else None


def rows(bars: Sequence[Bar], logarithmic_from: float = 0) -> list[dict[str, Any]]:
    """The bars, each with its ``share`` of the longest, from 0 to 1.

    ``logarithmic_from`` makes the scale logarithmic and is the value at its left end.
    """
    most = max((bar.value for bar in bars), default=0) or 1

    def share(value: float) -> float:
        if not logarithmic_from:
            return value / most
        if value <= logarithmic_from or most <= logarithmic_from:
            return 0.0
        return math.log(value / logarithmic_from) / math.log(most / logarithmic_from)

    return [
        {"label": b.label, "shown": b.shown, "kind": b.kind, "share": share(b.value)}
        for b in bars
    ]


def count(number: float) -> str:
    """A count, short: 1234567 as 1.2M."""
    for size, sign in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if number >= size:
            unit = 1e3 if sign == "k" else size
            return f"{number / unit:.1f}{sign}"
    return f"{number:.0f}" if number == int(number) else f"{number:.1f}"


def took(milliseconds: float | None) -> str:
    """A time, in the most readable unit."""
    if milliseconds is None:
        return "–"
    if milliseconds < 1:
        return f"{milliseconds * 1000:.0f} µs"
    if milliseconds < 1000:  # noqa: PLR2004
        return f"{milliseconds:.3g} ms"
    return span_of(milliseconds / 1000)


def span_of(seconds: float) -> str:
    """A long time: 5000 seconds as 1.4 h."""
    for size, sign in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {sign}"
    return f"{seconds:.1f} s"
