"""Charts as inline SVG: sizes in the picture's own units, colours by class.

Each mark carries its numbers in a ``title``, which browsers show under the pointer and
screen readers read.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from markupsafe import Markup, escape

_WIDTH: Final = 480
_ROW: Final = 26
_LABELS: Final = 190  # of that, what a row's label takes
_NUMBERS: Final = 80
_LEAST: Final = 2.0  # a bar that can be seen
_TALL: Final = 150
_GROUND: Final = 170
_MARGIN: Final = 36


@dataclass(frozen=True, slots=True)
class Bar:
    """A row of a chart: ``value`` of ``most`` long, with ``shown`` at its end."""

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
        """What the script finds it by, as attributes."""
        made = Markup('data-at="{:.0f}" data-shape="{}" data-utc="{}"')
        return made.format(self.at, self.shape, str(self))


@dataclass(frozen=True, slots=True)
class Span:
    """What happened in a time: hits, misses, and what was not looked up."""

    when: Moment
    hits: float
    misses: float
    uncached: float

    @property
    def rate(self) -> float | None:
        """Hits of all that were looked up."""
        looked = self.hits + self.misses
        return self.hits / looked if looked else None


def rows(bars: Sequence[Bar], *, logarithmic_from: float = 0) -> Markup:
    """Horizontal bars, one below the other.

    ``logarithmic_from`` makes the scale logarithmic and is the value at its left end.
    """
    most = max((bar.value for bar in bars), default=0) or 1
    height = _ROW * len(bars) + 4
    room = _WIDTH - _LABELS - _NUMBERS
    parts = []
    for number, bar in enumerate(bars):
        share = _share(bar.value, most, logarithmic_from)
        wide, top = max(_LEAST, share * room), number * _ROW + 4
        parts.append(
            Markup(
                '<g><title>{}: {}</title><text class="label" x="{}" y="{}" '
                'text-anchor="end">{}</text><rect class="{}" x="{}" y="{}" width="{:.1f}" '
                'height="16" rx="2"/><text class="number" x="{:.1f}" y="{}">{}</text></g>'
            ).format(
                bar.label,
                bar.shown,
                _LABELS - 8,
                top + 13,
                _short(bar.label),
                bar.kind,
                _LABELS,
                top,
                wide,
                _LABELS + wide + 6,
                top + 13,
                bar.shown,
            )
        )
    return _picture(height, parts)


def _share(value: float, most: float, left: float) -> float:
    if not left:
        return value / most
    if value <= left or most <= left:
        return 0.0
    return math.log(value / left) / math.log(most / left)


def _short(label: str) -> str:
    return label if len(label) <= 28 else f"{label[:27]}…"  # noqa: PLR2004


def over_time(spans: Sequence[Span], words: tuple[str, str, str, str]) -> Markup:
    """Stacked columns for each time, and over them a line of the hit rate.

    ``words`` are those for hits, misses, what was not looked up, and the hit rate.
    """
    most = max((s.hits + s.misses + s.uncached for s in spans), default=0) or 1
    room = _WIDTH - 2 * _MARGIN
    step = room / max(1, len(spans))
    parts = [_axis(most)]
    points = []
    every = max(1, len(spans) // 6)
    for number, span in enumerate(spans):
        left = _MARGIN + number * step
        parts.append(_column(span, left, step, most, words))
        if number % every == 0:
            parts.append(
                Markup('<text class="axis" x="{:.1f}" y="{}" {}>{}</text>').format(
                    left, _GROUND + 16, span.when.marks, span.when
                )
            )
        if span.rate is not None:
            points.append((left + step / 2, _GROUND - span.rate * _TALL))
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    parts.append(Markup('<polyline class="rate" points="{}"/>').format(line))
    parts += [
        Markup('<circle class="rate" cx="{:.1f}" cy="{:.1f}" r="2.5"/>').format(x, y)
        for x, y in points
    ]
    return _picture(_GROUND + 24, parts)


def _axis(most: float) -> Markup:
    made = Markup("")
    for share in (0.0, 0.5, 1.0):
        at = _GROUND - share * _TALL
        made += Markup(
            '<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>'
            '<text class="axis" x="{}" y="{:.1f}" text-anchor="end">{}</text>'
            '<text class="axis" x="{}" y="{:.1f}">{:.0%}</text>'
        ).format(
            _MARGIN,
            _WIDTH - _MARGIN,
            at,
            at,
            _MARGIN - 5,
            at + 4,
            count(round(most * share)),
            _WIDTH - _MARGIN + 5,
            at + 4,
            share,
        )
    return made


def _column(
    span: Span, left: float, step: float, most: float, words: tuple[str, ...]
) -> Markup:
    amounts = (("hit", span.hits), ("miss", span.misses), ("uncached", span.uncached))
    rate = "–" if span.rate is None else f"{span.rate:.1%}"
    told = ", ".join(
        f"{amount:.0f} {word}"
        for (_, amount), word in zip(amounts, words, strict=False)
    )
    made = Markup("<g><title {}>{}: {}; {} {}</title>").format(
        span.when.marks, span.when, told, words[3], rate
    )
    bottom = float(_GROUND)
    for kind, amount in amounts:
        tall = amount / most * _TALL
        if tall:
            bottom -= tall
            made += Markup(
                '<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>'
            ).format(kind, left + 1, bottom, max(1.0, step - 2), tall)
    return made + Markup("</g>")


def meter(share: float, shown: str) -> Markup:
    """How full something is, from 0 to 1."""
    kind = "full" if share > 0.9 else "hit"  # noqa: PLR2004
    bar = Markup(
        '<title>{}</title><rect class="ground" width="{}" height="14" rx="3"/>'
        '<rect class="{}" width="{:.1f}" height="14" rx="3"/>'
    ).format(shown, _WIDTH, kind, max(_LEAST, min(1.0, share) * _WIDTH))
    return _picture(14, [bar])


def _picture(height: float, parts: Sequence[Markup]) -> Markup:
    return (
        Markup('<svg role="img" viewBox="0 0 {} {:.0f}">').format(_WIDTH, height)
        + Markup("").join(map(escape, parts))
        + Markup("</svg>")
    )


def count(number: float) -> str:
    """A count, short: 1234567 as 1.2M."""
    for size, sign in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if number >= size:
            unit = 1e3 if sign == "k" else size
            return f"{number / unit:.1f}{sign}"
    return f"{number:.0f}" if number == int(number) else f"{number:.1f}"


def took(milliseconds: float | None) -> str:
    """A time, in the unit that it is read best in."""
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


def size_of(number: float) -> str:
    """A number of bytes: 1536 as 1.5 KiB."""
    for size, sign in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if number >= size:
            return f"{number / size:.1f} {sign}"
    return f"{number:.0f} B"
