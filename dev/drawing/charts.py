"""Bars of measured ratios, from the results of scripts/bench."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from drawing.shapes import OURS, THEIRS, Canvas

_WIDTH, _LEFT, _RIGHT, _BAR = 720, 250, 90, 22

type Row = tuple[str, float, str]


class Measured(Protocol):
    """A line of the benchmarks: ``bench.measure.Result``."""

    @property
    def name(self) -> str: ...

    @property
    def ours(self) -> float: ...

    @property
    def reference(self) -> float: ...

    @property
    def figure(self) -> float: ...


def draw(groups: Mapping[str, Sequence[Measured]]) -> dict[str, str]:
    """The charts by their names; a chart without results is left out."""
    found = {one.name: one for of in groups.values() for one in of}
    charts = {}
    rows = _hits(found)
    if rows:
        charts["chart-hits.svg"] = bars("A cache hit of 2 KB, in microseconds", rows)
    rows = _traffic(found)
    if rows:
        title = (
            "A day of an assistant: hit rate in percent, cache and the best possible"
        )
        charts["chart-traffic.svg"] = bars(title, rows)
    return charts


def _hits(found: Mapping[str, Measured]) -> list[Row]:
    """Others' hits as multiples of ours, because each was measured by turns with ours."""
    core = found.get("core hit / raw GET, 2 KB, 1 caller")
    if core is None:
        return []
    ours = core.ours
    rows: list[Row] = [("a raw GET of the answer", core.reference, THEIRS)]
    rows.append(("Answer Cache", ours, OURS))
    for name, one in found.items():
        other, _, rest = name.partition(" / core hit, ")
        if rest == "2 KB, 1 caller":
            rows.append((other, ours * one.figure, THEIRS))
    return sorted(rows, key=lambda row: row[1])


def _traffic(found: Mapping[str, Measured]) -> list[Row]:
    rows: list[Row] = []
    for name, one in found.items():
        if name.endswith("hit rate / the best"):
            law = name.split(": ")[0].removeprefix("traffic, ")
            rows.append((f"{law}, with the cache", one.ours, OURS))
            rows.append((f"{law}, best possible", one.reference, THEIRS))
    return rows


def bars(title: str, rows: Sequence[Row]) -> str:
    """A chart of horizontal bars."""
    canvas = Canvas(_WIDTH, title)
    canvas.text(20, 32, title, size=15, bold=True)
    most = max(value for _, value, _ in rows)
    scale = (_WIDTH - _LEFT - _RIGHT) / most
    for place, (name, value, colour) in enumerate(rows):
        y = 52 + place * (_BAR + 10)
        canvas.text(_LEFT - 12, y + 16, name, anchor="end", bold=colour == OURS)
        canvas.box(
            _LEFT, y, max(1, value * scale), _BAR, fill=colour, line=colour, round_=3
        )
        shown = f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
        canvas.text(_LEFT + value * scale + 8, y + 16, shown)
    return canvas.svg()
