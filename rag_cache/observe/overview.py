"""The dashboard's content: numbers as tiles, charts and rows, in one language."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from jinja2.filters import do_filesizeformat

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
_APP: Final = 8  # characters of an app's id, in the table
_SHOWN: Final = 20  # decisions, in the table


def shown(
    read: Settings, form: Mapping[str, Any], window: str, translate: Words
) -> Json:
    """The page's content; raises StoreError."""
    statistics = settings.open_statistics(read)
    length, spans = statistics.spans(WINDOWS[window])
    saved = savings.summed(total(spans.values()))
    decisions, invalidations = statistics.recent()
    switch = settings.open_cache(read).admin.switch().value
    return {
        "down": "",
        "advice": [
            *([translate(f"switch_{switch}")] if switch != "on" else []),
            *advice(read),
            *openai.refused(form),
        ],
        "tiles": _tiles(saved, translate),
        "spans": [_span(at, length, counts) for at, counts in spans.items()],
        "legend": (
            *(("hit", translate("hits")), ("miss", translate("misses"))),
            ("uncached", translate("uncached")),
        ),
        "count": charts.count,
        # An empty chart is left out: it would take half of the page's width.
        "charts": [
            chart
            for chart in (
                _latencies(saved, translate),
                _stages(saved, translate),
                *_explaining(saved, translate),
                _redis(savings.facts(read), translate),
            )
            if chart["rows"] or chart["lines"]
        ],
        "models": [{**part, "cells": _cells(part)} for part in _asked(saved)],
        "bands": [_band(row, translate) for row in savings.band_rows(read)],
        "invalidations": [
            {"at": _when(row["at"]), "tags": ", ".join(map(str, row["tags"]))}
            for row in invalidations
        ],
        "decisions": [
            {**row, "at": _when(row["at"]), "decision": translate(row["reason"])}
            for row in decisions
        ],
    }


def table(saved: Json) -> str:
    """The result of ``savings.of`` as Markdown, in English, for a node to show."""
    translate = savings.ENGLISH
    parts = [
        # This much of an app's id distinguishes it, and leaves room for the numbers.
        (f"{part['kind']} {part['label']} {part['app'][:_APP]}", part)
        for part in _asked(saved)
    ]
    head = (
        *("", "requests", "hit rate", "saved money", "hit p50 / p99"),
        *("miss p50 / p99", "saved tokens", "saved time"),
    )
    rows: list[Sequence[object]] = [
        (name, *_cells(part), part["saved_tokens"], f"{part['saved_seconds']:.1f} s")
        for name, part in [("all", saved), *parts]
    ]
    paragraphs = [f"Last {saved['window']}", _markdown(head, rows)]
    for chart in _explaining(saved, translate):
        if chart["rows"]:
            bars = (f"{row['label']} {row['shown']}" for row in chart["rows"])
            paragraphs.append(f"{chart['name']}: {', '.join(bars)}.")
        paragraphs += chart["lines"]
    for row in (_band(row, translate) for row in saved["bands"]):
        of = f"{row['kind']} {row['label']} {row['app'][:_APP]}".strip()
        paragraphs.append(
            f"{of}, {translate('scores')} {row['scores']}: {row['state']}"
        )
    if saved["decisions"]:
        rows = [
            (
                datetime.fromtimestamp(row["at"], UTC).strftime("%d %H:%M:%S"),
                f"{row['kind']} {row['label']} {row['app']}",
                *(row["reason"], row["key"]),
            )
            for row in saved["decisions"][:_SHOWN]
        ]
        paragraphs.append(_markdown(("when (UTC)", "what", "decision", "key"), rows))
    return "\n\n".join(paragraphs) + "\n"


def _asked(saved: Json) -> list[Json]:
    """The models and apps with requests: a value that was only stored is none."""
    return [part for part in saved["by"] if part["requests"]]


def _markdown(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    cells = ([str(cell).strip().replace("|", "/") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _explaining(saved: Json, translate: Words) -> list[Json]:
    """The charts that explain the numbers and give advice."""
    return [
        _reasons(saved, translate),
        _apart(saved, translate),
        _audits(saved, translate),
        _audits_by_age(saved, translate),
        _meaning(saved, translate),
        _provider(saved, translate),
    ]


def advice(read: Settings) -> list[str]:
    """Advice on better settings of the Redis, in sentences."""
    try:
        found = settings.open_cache(read).store.advice()
    except StoreError:
        return []
    return [f"Redis URL (redis_url): {sentence}" for sentence in found]


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
    return Span(Moment(at, shape), (hits, misses, others))


def _tiles(saved: Json, translate: Words) -> list[Json]:
    rate, money = saved["hit_rate"], saved["saved_money"]
    shown = ", ".join(f"{_money(amount)} {code}" for code, amount in money.items())
    looked = saved["hits"] + saved["misses"]
    tiles = (
        (
            *("hit_rate", "–" if rate is None else f"{rate:.1%}"),
            translate("of_looked_up", count=charts.count(looked)),
        ),
        ("saved_money", shown or "–", "" if shown else translate("no_price")),
        ("saved_seconds", charts.span_of(saved["saved_seconds"]), ""),
        ("saved_tokens", charts.count(saved["saved_tokens"]), ""),
        (
            *("shared_loads", charts.count(saved["shared_loads"])),
            translate("stale_for_error", count=saved["stale_for_error"]),
        ),
    )
    return [{"name": translate(n), "value": v, "beside": b} for n, v, b in tiles]


def _money(amount: float) -> str:
    """Two decimals; below one, two significant digits: 0.000034, not 3.4e-05."""
    if amount >= 1 or not amount:
        return f"{amount:.2f}"
    return f"{float(f'{amount:.2g}'):f}".rstrip("0")


def _chart(
    name: str, bars: list[Bar], *, logarithmic: bool = False, **more: Any
) -> Json:
    rows = charts.rows(bars, _LEFT if logarithmic else 0)
    return {"name": name, "beside": "", "rows": rows, "full": None, "lines": [], **more}


def _latencies(saved: Json, translate: Words) -> Json:
    bars = []
    for what, name in (("first_", translate("latency")), ("", translate("whole"))):
        for result in ("hit", "miss"):
            for share in (50, 95, 99):
                value = saved[f"{result}_{what}p{share}_ms"]
                if value is not None and (what == "first_" or share == 99):  # noqa: PLR2004
                    label = f"{translate(result)} P{share}"
                    label = label if what else f"{name}, {label}"
                    bars.append(Bar(label, value, charts.took(value), result))
    return _chart(translate("latency"), bars, logarithmic=True)


def _stages(saved: Json, translate: Words) -> Json:
    kinds = {"key": "hit", "look_up": "hit"}
    bars = [
        Bar(translate(stage), value, charts.took(value), kinds.get(stage, "miss"))
        for stage, value in saved["stages_ms"].items()
        if value is not None
    ]
    return _chart(
        translate("stages"), bars, logarithmic=True, beside=translate("average")
    )


def _reasons(saved: Json, translate: Words) -> Json:
    bars = []
    found = [(r, n) for r, n in saved["reasons"].items() if r not in HITS]
    for reason, number in sorted(found, key=lambda pair: -pair[1])[:_TOP]:
        kind = "miss" if reason in MISSES else "uncached"
        bars.append(Bar(translate(reason), number, charts.count(number), kind))
    refused = ", ".join(f"{translate(r)} {n}" for r, n in saved["refused"].items())
    lines = [f"{translate('not_kept')}: {refused}"] if refused else []
    return _chart(translate("why"), bars, lines=lines)


def _apart(saved: Json, translate: Words) -> Json:
    why = saved["why_misses"]
    bars = [
        Bar(translate(f"part_{part}"), number, charts.count(number), "miss")
        for part, number in sorted(why["kept_apart"].items(), key=lambda p: -p[1])
    ]
    lines = [
        translate(f"advice_{part}", share=f"{share:.0%}")
        for part, share in why["shares"].items()
    ]
    return _chart(translate("apart"), bars, lines=lines)


def _audits(saved: Json, translate: Words) -> Json:
    found = saved["audits"]
    total = found["right"] + found["wrong"]
    bars = [
        Bar(translate(f"audit_{name}"), found[name], charts.count(found[name]), kind)
        for name, kind in (("right", "hit"), ("wrong", "miss"), ("failed", "uncached"))
        if found[name]
    ]
    lines = []
    if total:
        low, high = found["interval"]
        numbers = {"rate": f"{found['wrong_rate']:.1%}", "low": f"{low:.1%}"}
        lines.append(translate("audit_rate", **numbers, high=f"{high:.1%}"))
    if found["ttl_hint_seconds"]:
        lines.append(
            translate("audit_hint", time=charts.span_of(found["ttl_hint_seconds"]))
        )
    return _chart(translate("audits"), bars, lines=lines)


def _audits_by_age(saved: Json, translate: Words) -> Json:
    bars = []
    for row in saved["audits"]["by_age"]:
        bound, total = row["up_to_seconds"], row["right"] + row["wrong"]
        age = (
            translate("older")
            if bound is None
            else translate("younger", time=charts.span_of(bound))
        )
        shown = f"{row['wrong']} / {total}"
        bars.append(Bar(age, row["wrong"] / total, shown, "miss"))
    return _chart(translate("audits_by_age"), bars)


def _meaning(saved: Json, translate: Words) -> Json:
    bars = []
    for band in saved["meaning"]:
        label = translate("score", score=f"{band['from_score']:g}")
        for name, kind in (("right", "hit"), ("wrong", "miss")):
            if band[name]:
                shown = charts.count(band[name])
                bars.append(
                    Bar(
                        f"{label}: {translate(f'audit_{name}')}",
                        band[name],
                        shown,
                        kind,
                    )
                )
    seconds = saved["meaning_would_save_seconds"]
    line = translate("meaning_would_save", time=charts.span_of(seconds))
    return _chart(translate("meaning_compared"), bars, lines=[line] if seconds else [])


def _band(row: Json, translate: Words) -> Json:
    state = translate(f"band_{row['state']}", count=charts.count(row["missing"]))
    return {**row, "scores": f"≥ {row['from_score']:g}", "state": state}


def _provider(saved: Json, translate: Words) -> Json:
    found = saved["provider_cache"]
    bars = [
        Bar(translate(f"provider_{how}"), count, charts.count(count), kind)
        for (how, count), kind in zip(
            found["tokens"].items(), ("miss", "hit", "uncached"), strict=True
        )
        if count
    ]
    money = ", ".join(f"{_money(a)} {code}" for code, a in found["saved_money"].items())
    lines = [f"{translate('provider_saved')}: {money}"] if money else []
    lines += [
        translate(f"prefix_{part}", share=f"{share:.0%}")
        for part, share in found["broken_by"].items()
    ]
    return _chart(translate("provider"), bars, lines=lines)


def _redis(servers: list[Facts], translate: Words) -> Json:
    chart = _chart(translate("redis"), [])
    if not servers:
        chart["lines"] = [translate("unknown")]
        return chart
    numbers = total(dict(facts.numbers) for facts in servers)
    if "used_memory" not in numbers:
        chart["lines"] = [translate("unknown")]
        return chart
    used, most = numbers["used_memory"], numbers.get("maxmemory", 0)
    limit = do_filesizeformat(most, binary=True) if most else translate("no_limit")
    memory = f"{translate('memory')}: {do_filesizeformat(used, binary=True)} / {limit}"
    chart["full"] = used / most if most else 0
    rest = [f"{charts.count(numbers.get('keys', 0))} {translate('keys')}"]
    if "evicted_keys" in numbers:
        rest.append(f"{charts.count(numbers['evicted_keys'])} {translate('evicted')}")
    chart["lines"] = [memory, " · ".join(rest)]
    return chart


def _cells(part: Json) -> list[str]:
    money = ", ".join(f"{_money(a)} {code}" for code, a in part["saved_money"].items())
    rate = part["hit_rate"]
    return [
        charts.count(part["requests"]),
        "–" if rate is None else f"{rate:.1%}",
        money or "–",
        *(
            f"{charts.took(part[f'{result}_p50_ms'])} / "
            f"{charts.took(part[f'{result}_p99_ms'])}"
            for result in ("hit", "miss")
        ),
    ]
