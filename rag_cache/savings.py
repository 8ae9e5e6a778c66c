"""What the cache saved, as a table for people and as JSON for machines."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final

from cachecore.errors import StoreError
from cachecore.metrics import INTERNAL
from cachecore.policy import Reason
from cachecore.statistics import Counts, percentile
from rag_cache import inputs, settings
from rag_cache.caller import Caller
from rag_cache.inputs import BadInput

WINDOWS: Final[Mapping[str, int]] = {"24h": 86400, "1h": 3600, "7d": 7 * 86400}
_HITS: Final = (Reason.HIT, Reason.STALE)
_MISSES: Final = (
    *(Reason.ABSENT, Reason.EXPIRED, Reason.INVALIDATED, Reason.CORRUPT),
    Reason.REFRESH,
)

type Json = dict[str, Any]


def of(caller: Caller, parameters: Mapping[str, Any]) -> Json:
    """The savings of a window. Raises BadInput or ConfigError."""
    window = inputs.choice(parameters, "window", *WINDOWS)
    statistics = settings.open_statistics(settings.read(caller.credentials))
    try:
        counts = statistics.since(WINDOWS[window])
    except StoreError as error:
        raise BadInput(f"There are no statistics to be had: {error.remedy}") from error
    parts: defaultdict[tuple[str, str], Counts] = defaultdict(dict)
    for name, amount in counts.items():
        what, kind, label, verdict = name.split("|")
        if kind and label != INTERNAL:
            parts[kind, label][f"{what}|{verdict}"] = amount
    return {
        "window": window,
        **_summary(_added(parts.values())),
        "by": [
            {"kind": kind, "label": label, **_summary(part)}
            for (kind, label), part in sorted(parts.items())
        ],
    }


def _added(parts: Any) -> Counts:
    total: Counts = defaultdict(float)
    for part in parts:
        for name, amount in part.items():
            total[name] += amount
    return total


def _summary(counts: Counts) -> Json:
    reasons = _under(counts, "requests")
    hits = sum(reasons.get(reason, 0) for reason in _HITS)
    misses = sum(reasons.get(reason, 0) for reason in _MISSES)
    money = {
        code: round(amount, 6) for code, amount in _under(counts, "saved_money").items()
    }
    return {
        "requests": int(sum(reasons.values())),
        "hits": int(hits),
        "misses": int(misses),
        # Of those that were looked up: what was bypassed was not to be cached.
        "hit_rate": round(hits / (hits + misses), 4) if hits + misses else None,
        "shared_loads": int(counts.get("followed|", 0)),
        "saved_tokens": int(counts.get("saved_tokens|", 0)),
        "saved_seconds": round(counts.get("saved_seconds|", 0), 3),
        "saved_money": money,
        **_latencies(counts, "hit"),
        **_latencies(counts, "miss"),
        "reasons": {reason: int(count) for reason, count in sorted(reasons.items())},
        "refused": {
            reason: int(count)
            for reason, count in sorted(_under(counts, "refused").items())
        },
    }


def _under(counts: Counts, what: str) -> Counts:
    return {
        name.removeprefix(f"{what}|"): amount
        for name, amount in counts.items()
        if name.startswith(f"{what}|")
    }


def _latencies(counts: Counts, verdict: str) -> Json:
    found: dict[int, float] = {}
    for name, amount in _under(counts, "time").items():
        which, _, number = name.partition(" ")
        if which == verdict and number.isdigit():
            found[int(number)] = amount
    return {
        f"{verdict}_p{share}_ms": _ms(percentile(found, share / 100))
        for share in (50, 99)
    }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)


def table(savings: Json) -> str:
    """The savings as a Markdown table."""
    rows = [("all", savings)] + [
        (f"{part['kind']} {part['label']}", part) for part in savings["by"]
    ]
    head = (
        *("", "requests", "hit rate", "saved tokens", "saved money", "saved time"),
        *("hit p50 / p99", "miss p50 / p99"),
    )
    lines = [_row(head), _row(["---"] * len(head))]
    for name, part in rows:
        rate = part["hit_rate"]
        money = ", ".join(f"{a:.4f} {c}" for c, a in part["saved_money"].items())
        lines.append(
            _row(
                (
                    name.replace("|", "/"),
                    part["requests"],
                    "–" if rate is None else f"{rate:.1%}",
                    part["saved_tokens"],
                    money or "–",
                    f"{part['saved_seconds']:.1f} s",
                    _pair(part, "hit"),
                    _pair(part, "miss"),
                )
            )
        )
    return f"Last {savings['window']}\n\n" + "\n".join(lines) + "\n"


def _pair(part: Json, verdict: str) -> str:
    low, high = part[f"{verdict}_p50_ms"], part[f"{verdict}_p99_ms"]
    return "–" if low is None else f"{low:g} / {high:g} ms"


def _row(cells: Any) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"
