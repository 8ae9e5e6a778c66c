"""python -m bench.report RESULTS.json …: tables, charts and the README's figures.

A later file replaces the groups of an earlier one, so that one group can be measured
again.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from drawing.__main__ import PICTURES, pictures
from drawing.charts import draw

from bench.measure import Result

ROOT = Path(__file__).resolve().parents[2]
_TITLES = {
    "core": "A hit in the core",
    "peers": "Hits of other caches, as multiples of ours",
    "host": "A hit through the plugin's process",
    "miss": "A miss",
    "crowd": "A hundred equal questions at two processes",
    "burst": "Many hits at one instant",
    "replay": "A kept answer of 20 KB as a stream",
    "knowledge": "Retrieval, prompts, embeddings",
    "warming": "Filling a cache, and audits of hits",
    "meaning": "The same question in other words",
    "publishing": "The cost of events and statistics",
    "memory": "Memory",
    "traffic": "A day of an assistant",
    "growth": "Growth",
    "model": "A real model",
}
# The README's rows: a result's name, and the text of its row.
_SHOWN = (
    (
        "core hit / raw GET, 2 KB, 1 caller",
        "A hit in the core, against a raw GET of the answer",
    ),
    ("LiteLLM SDK / core hit, 2 KB, 1 caller", "LiteLLM's hit, against ours"),
    (
        "LangChain RedisCache / core hit, 2 KB, 1 caller",
        "LangChain's hit, against ours",
    ),
    (
        "dogpile.cache / core hit, 2 KB, 1 caller",
        "dogpile.cache's hit, against ours; it has no tags, invalidates in one process, "
        "shares no streams",
    ),
    (
        "host hit / floor, first text, 2 KB, 1 in flight",
        "Through Dify's SDK: first text of a hit, against a constant",
    ),
    (
        "first token, warm / cold, real model",
        "First token, warm against cold, a real model",
    ),
    ("first token of a miss - cache off", "Time that the cache adds to a miss"),
    ("traffic, Zipf 1.1: hit rate", "Hit rate of a day's traffic (Zipf 1.1)"),
    ("traffic, Zipf 1.1: paid / without", "Cost of that day, against no cache"),
)

# The README gives these in percent.
_SHARES = ("hit rate", "/ without", "warm / cold, real model")

type Groups = dict[str, list[Result]]


def main() -> None:
    """Read the results, then write the documents."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.report",
        description="Write tables, charts and figures from results of scripts/bench.",
    )
    parser.add_argument(
        "results", nargs="+", help="JSON files; a later one replaces groups"
    )
    groups: Groups = {}
    results: Mapping[str, Any] = {}
    for name in parser.parse_args().results:
        results = json.loads(Path(name).read_text("utf-8"))
        for group, of in results["groups"].items():
            groups[group] = [Result.read(one) for one in of]
    tables = "\n\n".join(
        f"### {title}\n\n{_table(groups[name])}"
        for name, title in _TITLES.items()
        if name in groups
    )
    machine = ", ".join(f"{name} {value}" for name, value in results["machine"].items())
    _put(ROOT / "dev/bench/README.md", "tables", f"Measured on: {machine}.\n\n{tables}")
    _put(ROOT / "README.md", "figures", _figures(groups))
    if "memory" in groups:
        _put(ROOT / "docs/operations.md", "sizes", _sizes(groups["memory"]))
    for name, svg in (pictures() | draw(groups)).items():
        (PICTURES / name).write_text(svg, "utf-8")


def _table(results: Sequence[Result]) -> str:
    lines = [
        "| measurement | ours | reference | figure | quartiles | limit |",
        "|---|---|---|---|---|---|",
    ]
    for one in results:
        low, high = one.spread
        spread = "" if low == high else f"{_number(low)} to {_number(high)}"
        limit = ""
        if one.limit is not None:
            sign = "≥" if one.least else "≤"
            limit = f"{sign} {one.limit:.3g}"
            if not one.held:
                limit += " **missed**"
        lines.append(
            f"| {one.name} | {_amount(one.ours, one.of)} "
            f"| {_amount(one.reference, one.of)} | {_figure(one)} | {spread} | {limit} |"
        )
    return "\n".join(lines)


def _figure(one: Result) -> str:
    unit = "×" if one.unit == "x" else f" {one.unit}"
    return _number(one.figure) + unit


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _amount(value: float, unit: str) -> str:
    if not value:
        return ""
    if unit == "us" and value >= 10_000:
        return f"{value / 1e3:,.0f} ms"
    shown = f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
    return f"{shown} {'µs' if unit == 'us' else unit}"


def _figures(groups: Groups) -> str:
    found = {one.name: one for of in groups.values() for one in of}
    rows = [
        f"| {said} | {_percent(found[name].figure)} |"
        if name.endswith(_SHARES)
        else f"| {said} | {_figure(found[name])} |"
        for name, said in _SHOWN
        if name in found
    ]
    return "\n".join(["| measured | |", "|---|---|", *rows])


def _percent(share: float) -> str:
    return f"{share:.1%}" if share < 0.1 else f"{share:.0%}"


def _sizes(results: Sequence[Result]) -> str:
    """The memory of an entry, by the answer's size and language."""
    rows: dict[str, list[str]] = {}
    for one in results:
        size = one.name.split(", ")[1]
        rows.setdefault(size, []).append(f"{one.ours / 1024:.1f} KB")
    lines = [f"| {size} | {' | '.join(sizes)} |" for size, sizes in rows.items()]
    return "\n".join(["| answer | English | Chinese |", "|---|---|---|", *lines])


def _put(path: Path, mark: str, text: str) -> None:
    """Write ``text`` between the comments with this name."""
    begins, ends = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    before, _, rest = path.read_text("utf-8").partition(begins)
    after = rest.partition(ends)[2]
    path.write_text(f"{before}{begins}\n{text}\n{ends}{after}", "utf-8")


if __name__ == "__main__":
    main()
