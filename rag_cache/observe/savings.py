"""The savings of the cache, as JSON for programs; ``overview`` shows them to people."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final

from cachecore.audit import RIGHT, Verdict, interval
from cachecore.counters import AGES, PROMPT_TOKENS, Counts, percentile, place_of, total
from cachecore.errors import StoreError
from cachecore.events import INTERNAL
from cachecore.policy import BAND_STARTS, HITS, MISSES
from cachecore.stores.base import Facts
from rag_cache import inputs, settings
from rag_cache.caller import Caller
from rag_cache.errors import CacheUnavailable
from rag_cache.observe.words import Words
from rag_cache.settings import Settings

WINDOWS: Final[Mapping[str, int]] = {"24h": 86400, "1h": 3600, "7d": 7 * 86400}
# Advice needs at least this many misses, or this many audited hits.
_ENOUGH: Final = 20
_WRONG: Final = 0.01  # the share of wrong hits below which a lifetime is suggested
# The parts of a request that may make a repeated question miss.
_PARTS: Final = ("system", "parameters", "tools", "history", "context")
ENGLISH: Final = Words("en-US")

type Json = dict[str, Any]


def of(caller: Caller, parameters: Mapping[str, Any]) -> Json:
    """The savings of a window, and the last decisions. Raises BadInput or ConfigError."""
    window = inputs.choice(parameters, "window", *WINDOWS)
    read = settings.read(caller.credentials)
    statistics = settings.open_statistics(read)
    try:
        counts = statistics.since(WINDOWS[window])
        decisions, invalidations = statistics.recent()
        bands = band_rows(read)
    except StoreError as error:
        raise CacheUnavailable(
            f"The statistics could not be read. {error.remedy}"
        ) from error
    return {
        "window": window,
        **summed(counts),
        "bands": bands,
        "decisions": decisions,
        "invalidations": invalidations,
    }


def summed(counts: Counts) -> Json:
    """The summary of these counts: in all, and by kind, model and app."""
    parts: defaultdict[tuple[str, str, str], Counts] = defaultdict(dict)
    for name, amount in counts.items():
        what, kind, label, app, verdict = name.split("|")
        if kind and label != INTERNAL:
            parts[kind, label, app][f"{what}|{verdict}"] = amount
    return {
        **_summary(total(parts.values())),
        "by": [
            {"kind": kind, "label": label, "app": app, **_summary(part)}
            for (kind, label, app), part in sorted(parts.items())
        ],
    }


def _summary(counts: Counts) -> Json:
    reasons = _under(counts, "requests")
    hits = sum(reasons.get(reason, 0) for reason in HITS)
    misses = sum(reasons.get(reason, 0) for reason in MISSES)
    money = {
        code: round(amount, 6) for code, amount in _under(counts, "saved_money").items()
    }
    return {
        "requests": int(sum(reasons.values())),
        "hits": int(hits),
        "misses": int(misses),
        # Of the requests with a look-up: a bypassed one was not meant for the cache.
        "hit_rate": round(hits / (hits + misses), 4) if hits + misses else None,
        "shared_loads": int(sum(_under(counts, "followed").values())),
        "stale_for_error": int(counts.get("stood_in|", 0)),
        "saved_tokens": int(counts.get("saved_tokens|", 0)),
        "saved_seconds": round(counts.get("saved_seconds|", 0), 3),
        "saved_money": money,
        **_latencies(counts, "hit"),
        **_latencies(counts, "miss"),
        "stages_ms": _stages(counts),
        "reasons": {reason: int(count) for reason, count in sorted(reasons.items())},
        "refused": {
            reason: int(count)
            for reason, count in sorted(_under(counts, "refused").items())
        },
        "why_misses": _why(counts),
        "provider_cache": _provider(counts),
        "audits": _audits(counts),
        "meaning": _meaning(counts),
        # The time that right answers would have saved if they had been served, not only
        # compared.
        "meaning_would_save_seconds": round(counts.get("meaning_would_save|", 0), 1),
    }


def band_rows(read: Settings) -> list[Json]:
    """The state of the bands of each model and app; none if it can't be read."""
    rows: list[Json] = []
    try:
        states = settings.open_cache(read).bands()
    except StoreError:
        return rows
    for one in states:
        state = "compares" if one.missing else "serves"
        rows.append(
            {
                **one.subject._asdict(),
                "from_score": BAND_STARTS[one.band],
                "state": "locked" if one.locked else state,
                "missing": one.missing,
                "right": one.rights,
                "wrong": one.wrongs,
            }
        )
    return rows


def facts(read: Settings) -> list[Facts]:
    """The facts that each server of the Redis reports; none if they can't be read."""
    try:
        return settings.open_cache(read).store.facts()
    except StoreError:
        return []


def _meaning(counts: Counts) -> list[Json]:
    """The compared answers to questions in other words, by bands of scores."""
    found = _under(counts, "compared_meaning")
    bands = []
    for number, bound in enumerate(BAND_STARTS):
        right, wrong = (int(found.get(f"{number} {v}", 0)) for v in ("right", "wrong"))
        if right + wrong:
            bands.append({"from_score": bound, "right": right, "wrong": wrong})
    return bands


def _audits(counts: Counts) -> Json:
    """How many of the audited hits were still right, and at which age."""
    verdicts = _under(counts, "audits")
    right = int(sum(verdicts.get(verdict, 0) for verdict in RIGHT))
    wrong = int(verdicts.get(Verdict.DIFFERENT, 0))
    ages: list[Json] = []
    passed_right = passed_wrong = 0
    hint: float | None = None
    by_age = _under(counts, "audit_age")
    for place, bound in enumerate((*AGES, None)):
        here = {
            v: int(by_age.get(f"{v} {place}", 0)) for v in (*RIGHT, Verdict.DIFFERENT)
        }
        ok, bad = sum(here[v] for v in RIGHT), here[Verdict.DIFFERENT]
        if not ok + bad:
            continue
        ages.append({"up_to_seconds": bound, "right": ok, "wrong": bad})
        passed_right, passed_wrong = passed_right + ok, passed_wrong + bad
        total = passed_right + passed_wrong
        if bound and total >= _ENOUGH and passed_wrong < _WRONG * total:
            hint = bound
    low, high = interval(wrong, right + wrong)
    return {
        "right": right,
        "wrong": wrong,
        "failed": int(verdicts.get(Verdict.FAILED, 0)),
        "wrong_rate": round(wrong / (right + wrong), 4) if right + wrong else None,
        "interval": [round(low, 4), round(high, 4)],
        "by_age": ages,
        # The longest time to live under which less than 1 % of the hits were wrong.
        "ttl_hint_seconds": hint if wrong else None,
        "money": {c: round(a, 6) for c, a in _under(counts, "audit_money").items()},
    }


def _provider(counts: Counts) -> Json:
    """The use of the providers' own prompt caches, for requests that went upstream."""
    tokens = {how: int(counts.get(f"prompt_tokens|{how}", 0)) for how in PROMPT_TOKENS}
    compared, broken = counts.get("compared|", 0), _under(counts, "prefix_broken")
    sent = sum(tokens.values())
    return {
        "tokens": tokens,
        "share": round(tokens["cached"] / sent, 4) if sent else None,
        "saved_money": {
            code: round(amount, 6)
            for code, amount in _under(counts, "provider_saved").items()
        },
        # The parts in which at least half of the prompts differ from the one before.
        "broken_by": {
            part: round(count / compared, 4)
            for part, count in broken.items()
            if compared >= _ENOUGH and count >= compared / 2
        },
    }


def _stages(counts: Counts) -> Json:
    """The average time of each stage of an answer."""
    looked = sum(_under(counts, "look_up").values())
    loads = counts.get("loads|", 0)
    return {
        "key": _mean(counts.get("key_sum|", 0), looked),
        "look_up": _mean(counts.get("look_up_sum|", 0), looked),
        "upstream_first_token": _mean(counts.get("load_first_sum|", 0), loads),
        "upstream_whole": _mean(counts.get("load_sum|", 0), loads),
    }


def _mean(total: float, count: float) -> float | None:
    return round(total / count * 1000, 3) if count else None


def _why(counts: Counts) -> Json:
    """The parts in which misses differ from earlier requests, and advice."""
    again = counts.get("asked_before|", 0)
    apart = _under(counts, "kept_apart")
    # The parts that differ in at least half of the repeated questions.
    shares = {
        part: round(apart[part] / again, 4)
        for part in _PARTS
        if again >= _ENOUGH and apart.get(part, 0) >= again / 2
    }
    return {
        "compared": int(counts.get("compared|", 0)),
        "asked_before": int(again),
        "changed": {
            part: int(n) for part, n in sorted(_under(counts, "changed").items())
        },
        "kept_apart": {part: int(n) for part, n in sorted(apart.items()) if n},
        "advice": [
            ENGLISH(f"advice_{part}", share=f"{n:.0%}") for part, n in shares.items()
        ],
        "shares": shares,
    }


def _under(counts: Counts, what: str) -> Counts:
    return {
        name.removeprefix(f"{what}|"): amount
        for name, amount in counts.items()
        if name.startswith(f"{what}|")
    }


def _latencies(counts: Counts, result: str) -> Json:
    return {
        f"{result}_{name}p{share}_ms": _ms(
            percentile(_buckets(counts, what, result), share / 100)
        )
        for what, name in (("time", ""), ("first", "first_"))
        for share in (50, 95, 99)
    }


def _buckets(counts: Counts, what: str, result: str) -> dict[int, float]:
    found: dict[int, float] = {}
    for name, amount in _under(counts, what).items():
        which, _, number = name.partition(" ")
        place = place_of(number)
        if which == result and place is not None:
            found[place] = amount
    return found


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)
