"""What the dashboard shows: numbers as tiles, charts and rows, in one language."""

from collections.abc import Mapping
from typing import Any, Final

from cachecore.counters import Counts, total
from cachecore.errors import StoreError
from cachecore.events import INTERNAL
from cachecore.policy import HITS, MISSES
from cachecore.stores.base import Facts
from rag_cache import openai, settings
from rag_cache.observe import charts, savings
from rag_cache.observe.charts import Bar, Moment, Span
from rag_cache.observe.savings import WINDOWS, Json
from rag_cache.observe.words import Words
from rag_cache.settings import Settings

_TOP: Final = 8  # reasons in a chart
_LEFT: Final = 0.1  # ms, at the left of a chart of times
_ONE_DAY: Final = 86400


def shown(read: Settings, form: Mapping[str, Any], window: str, told: Words) -> Json:
    """What the page shows; raises StoreError."""
    statistics = settings.open_statistics(read)
    length, spans = statistics.spans(WINDOWS[window])
    saved = savings.summed(total(spans.values()))
    decisions, invalidations = statistics.recent()
    names = told("hits"), told("misses"), told("uncached")
    return {
        "down": "",
        "advice": [*advice(read), *openai.refused(form)],
        "tiles": _tiles(saved, told),
        "over_time": charts.over_time(
            [_span(at, length, counts) for at, counts in spans.items()],
            (*names, told("hit_rate")),
        ),
        "legend": list(zip(("hit", "miss", "uncached"), names, strict=True)),
        # One with nothing to show would be an empty half of the page.
        "charts": [
            chart
            for chart in (
                _latencies(saved, told),
                _stages(saved, told),
                _reasons(saved, told),
                _apart(saved, told),
                _audits(saved, told),
                _audits_by_age(saved, told),
                _meaning(saved, told),
                _provider(saved, told),
                _redis(_facts(read), told),
            )
            if chart["picture"] or chart["lines"]
        ],
        "models": [_model(part) for part in saved["by"]],
        "bands": [_band(row, told) for row in savings.band_rows(read)],
        "invalidations": [
            {"at": _when(row["at"]), "tags": ", ".join(map(str, row["tags"]))}
            for row in invalidations
        ],
        "decisions": [_decision(row, told) for row in decisions],
    }


def _decision(row: Json, told: Words) -> Json:
    return {
        "at": _when(row["at"]),
        "kind": row["kind"],
        "label": row["label"],
        "app": row["app"],
        "decision": told(row["reason"]),
        "key": row["key"],
    }


def advice(read: Settings) -> list[str]:
    """Sentences about what an operator should set up better in Redis."""
    try:
        found = settings.open_cache(read).admin.advice()
    except StoreError:
        return []
    return [f"Redis URL (redis_url): {sentence}" for sentence in found]


def _facts(read: Settings) -> list[Facts]:
    try:
        return settings.open_cache(read).admin.facts()
    except StoreError:
        return []


def _when(at: float) -> Moment:
    return Moment(at, "%m-%d %H:%M:%S")


def _span(at: int, length: int, counts: Counts) -> Span:
    reasons: dict[str, float] = {}
    for name, amount in counts.items():
        what, _, label, _, reason = name.split("|")
        if what == "requests" and label != INTERNAL:
            reasons[reason] = reasons.get(reason, 0) + amount
    hits = sum(reasons.get(reason, 0) for reason in HITS)
    misses = sum(reasons.get(reason, 0) for reason in MISSES)
    shape = "%H:%M" if length < _ONE_DAY // 24 else "%d %Hh"
    others = sum(reasons.values()) - hits - misses
    return Span(Moment(at, shape), hits, misses, others)


def _tiles(saved: Json, told: Words) -> list[Json]:
    rate, money = saved["hit_rate"], saved["saved_money"]
    shown = ", ".join(f"{_money(amount)} {code}" for code, amount in money.items())
    looked = saved["hits"] + saved["misses"]
    tiles = (
        (
            *("hit_rate", "–" if rate is None else f"{rate:.1%}"),
            told("of_looked_up", count=charts.count(looked)),
        ),
        ("saved_money", shown or "–", "" if shown else told("no_price")),
        ("saved_seconds", charts.span_of(saved["saved_seconds"]), ""),
        ("saved_tokens", charts.count(saved["saved_tokens"]), ""),
        (
            *("shared_loads", charts.count(saved["shared_loads"])),
            told("stale_for_error", count=saved["stale_for_error"]),
        ),
    )
    return [{"name": told(n), "value": v, "beside": b} for n, v, b in tiles]


def _money(amount: float) -> str:
    """Two places; of less than one, two digits that count: 0.000034, not 3.4e-05."""
    if amount >= 1 or not amount:
        return f"{amount:.2f}"
    return f"{float(f'{amount:.2g}'):f}".rstrip("0")


def _chart(
    name: str, bars: list[Bar], *, logarithmic: bool = False, **more: Any
) -> Json:
    left = _LEFT if logarithmic else 0
    picture = charts.rows(bars, logarithmic_from=left) if bars else ""
    return {"name": name, "beside": "", "picture": picture, "lines": [], **more}


def _latencies(saved: Json, told: Words) -> Json:
    bars = []
    for what, name in (("first_", told("latency")), ("", told("whole"))):
        for result in ("hit", "miss"):
            for share in (50, 95, 99):
                value = saved[f"{result}_{what}p{share}_ms"]
                if value is not None and (what == "first_" or share == 99):  # noqa: PLR2004
                    label = f"{told(result)} P{share}"
                    label = label if what else f"{name}, {label}"
                    bars.append(Bar(label, value, charts.took(value), result))
    return _chart(told("latency"), bars, logarithmic=True)


def _stages(saved: Json, told: Words) -> Json:
    kinds = {"key": "hit", "look_up": "hit"}
    bars = [
        Bar(told(stage), value, charts.took(value), kinds.get(stage, "miss"))
        for stage, value in saved["stages_ms"].items()
        if value is not None
    ]
    return _chart(told("stages"), bars, logarithmic=True, beside=told("average"))


def _reasons(saved: Json, told: Words) -> Json:
    bars = []
    found = [(r, n) for r, n in saved["reasons"].items() if r not in HITS]
    for reason, number in sorted(found, key=lambda pair: -pair[1])[:_TOP]:
        kind = "miss" if reason in MISSES else "uncached"
        bars.append(Bar(told(reason), number, charts.count(number), kind))
    refused = ", ".join(f"{told(r)} {n}" for r, n in saved["refused"].items())
    lines = [f"{told('not_kept')}: {refused}"] if refused else []
    return _chart(told("why"), bars, lines=lines)


def _apart(saved: Json, told: Words) -> Json:
    why = saved["why_misses"]
    bars = [
        Bar(told(f"part_{part}"), number, charts.count(number), "miss")
        for part, number in sorted(why["kept_apart"].items(), key=lambda p: -p[1])
    ]
    lines = [
        told(f"advice_{part}", share=f"{share:.0%}")
        for part, share in why["shares"].items()
    ]
    return _chart(told("apart"), bars, lines=lines)


def _audits(saved: Json, told: Words) -> Json:
    found = saved["audits"]
    total = found["right"] + found["wrong"]
    bars = [
        Bar(told(f"audit_{name}"), found[name], charts.count(found[name]), kind)
        for name, kind in (("right", "hit"), ("wrong", "miss"), ("failed", "uncached"))
        if found[name]
    ]
    lines = []
    if total:
        low, high = found["interval"]
        numbers = {"rate": f"{found['wrong_rate']:.1%}", "low": f"{low:.1%}"}
        lines.append(told("audit_rate", **numbers, high=f"{high:.1%}"))
    if found["ttl_hint_seconds"]:
        lines.append(told("audit_hint", time=charts.span_of(found["ttl_hint_seconds"])))
    return _chart(told("audits"), bars, lines=lines)


def _audits_by_age(saved: Json, told: Words) -> Json:
    bars = []
    for row in saved["audits"]["by_age"]:
        bound, total = row["up_to_seconds"], row["right"] + row["wrong"]
        age = (
            told("older")
            if bound is None
            else told("younger", time=charts.span_of(bound))
        )
        shown = f"{row['wrong']} / {total}"
        bars.append(Bar(age, row["wrong"] / total, shown, "miss"))
    return _chart(told("audits_by_age"), bars)


def _meaning(saved: Json, told: Words) -> Json:
    bars = []
    for band in saved["meaning"]:
        label = told("score", score=f"{band['from_score']:g}")
        for name, kind in (("right", "hit"), ("wrong", "miss")):
            if band[name]:
                shown = charts.count(band[name])
                bars.append(
                    Bar(f"{label}: {told(f'audit_{name}')}", band[name], shown, kind)
                )
    seconds = saved["meaning_would_save_seconds"]
    line = told("meaning_would_save", time=charts.span_of(seconds))
    return _chart(told("meaning_compared"), bars, lines=[line] if seconds else [])


def _band(row: Json, told: Words) -> Json:
    return {
        "kind": row["kind"],
        "label": row["label"],
        "app": row["app"],
        "scores": f"≥ {row['from_score']:g}",
        "right": charts.count(row["right"]),
        "wrong": charts.count(row["wrong"]),
        "state": told(f"band_{row['state']}", count=charts.count(row["missing"])),
    }


def _provider(saved: Json, told: Words) -> Json:
    found = saved["provider_cache"]
    bars = [
        Bar(told(f"provider_{how}"), count, charts.count(count), kind)
        for (how, count), kind in zip(
            found["tokens"].items(), ("miss", "hit", "uncached"), strict=True
        )
        if count
    ]
    money = ", ".join(f"{_money(a)} {code}" for code, a in found["saved_money"].items())
    lines = [f"{told('provider_saved')}: {money}"] if money else []
    lines += [
        told(f"prefix_{part}", share=f"{share:.0%}")
        for part, share in found["broken_by"].items()
    ]
    return _chart(told("provider"), bars, lines=lines)


def _redis(servers: list[Facts], told: Words) -> Json:
    chart = _chart(told("redis"), [])
    if not servers:
        chart["lines"] = [told("unknown")]
        return chart
    numbers: dict[str, float] = {}
    for facts in servers:
        for name, value in facts.numbers.items():
            numbers[name] = numbers.get(name, 0) + value
    if "used_memory" not in numbers:
        chart["lines"] = [told("unknown")]
        return chart
    used, most = numbers["used_memory"], numbers.get("maxmemory", 0)
    limit = charts.size_of(most) if most else told("no_limit")
    said = f"{told('memory')}: {charts.size_of(used)} / {limit}"
    chart["picture"] = charts.meter(used / most if most else 0, said)
    rest = [f"{charts.count(numbers.get('keys', 0))} {told('keys')}"]
    if "evicted_keys" in numbers:
        rest.append(f"{charts.count(numbers['evicted_keys'])} {told('evicted')}")
    chart["lines"] = [said, " · ".join(rest)]
    return chart


def _model(part: Json) -> Json:
    money = ", ".join(f"{_money(a)} {code}" for code, a in part["saved_money"].items())
    rate = part["hit_rate"]
    cells = [
        charts.count(part["requests"]),
        "–" if rate is None else f"{rate:.1%}",
        money or "–",
        *(
            f"{charts.took(part[f'{result}_p50_ms'])} / "
            f"{charts.took(part[f'{result}_p99_ms'])}"
            for result in ("hit", "miss")
        ),
    ]
    return {
        "kind": part["kind"],
        "label": part["label"],
        "app": part["app"],
        "cells": cells,
    }
