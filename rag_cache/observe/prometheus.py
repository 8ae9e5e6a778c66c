"""The statistics in Prometheus's format, each process with its own label.

A counter starts again from zero if it was evicted or if a new process began. This is a
reset, which Prometheus's ``rate`` and ``increase`` handle. An unknown value is absent,
never zero.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from cachecore.counters import AGES, BOUNDS, Counts, place_of
from cachecore.errors import StoreError
from cachecore.events import INTERNAL
from cachecore.policy import Switch
from cachecore.stores.base import Facts
from rag_cache import settings
from rag_cache.observe import savings
from rag_cache.settings import Settings

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
_PREFIX: Final = "answer_cache_"
_OF: Final = ("instance_id", "kind", "model", "app")
# A counter's name here, its name in Prometheus, its meaning, and the verdict's label.
_COUNTERS: Final = (
    ("requests", "requests", "Requests, by the verdict on each.", "reason"),
    ("unanswered", "unanswered", "Requests that failed or were abandoned.", "result"),
    ("refused", "refused", "Answers served and not kept.", "reason"),
    ("loads", "loads", "Answers loaded to their end.", ""),
    ("load_sum", "load_seconds", "Time that loads took.", ""),
    (
        *("load_first_sum", "load_first_token_seconds"),
        *("Time that loads took to their first token.", ""),
    ),
    ("key_sum", "key_seconds", "Time that making keys took.", ""),
    ("followed", "coalesced", "Requests answered by another caller's load.", "where"),
    ("stood_in", "stale_for_error", "Stale answers in place of an error.", ""),
    ("kept", "kept", "Answers kept.", ""),
    ("kept_bytes", "kept_bytes", "Bytes of the answers kept.", ""),
    ("saved_tokens", "saved_tokens", "Tokens that hits saved.", ""),
    ("saved_seconds", "saved_seconds", "Waiting time that hits saved.", ""),
    ("saved_money", "saved_money", "Money that hits saved.", "currency"),
    ("audits", "audits", "Hits asked upstream again, by the verdict.", "verdict"),
    (
        *("compared_meaning", "meaning_compared"),
        *("Answers of questions in other words, compared, by band.", "verdict"),
    ),
    ("audit_money", "audit_money", "The approximate cost of audits.", "currency"),
    ("prompt_tokens", "prompt_tokens", "Prompt tokens that providers counted.", "how"),
    (
        *("provider_saved", "provider_saved_money"),
        *("Money that the providers' own prompt caches saved.", "currency"),
    ),
    (
        *("prefix_broken", "prompt_prefix_broken"),
        *("Misses whose prompt differs early from the one before.", "part"),
    ),
    ("compared", "misses_compared", "Misses compared with an earlier one.", ""),
    ("asked_before", "misses_asked_before", "Of these, with a repeated question.", ""),
    ("changed", "misses_changed", "Compared misses, by the changed part.", "part"),
    (
        *("kept_apart", "misses_kept_apart"),
        *("Misses with a repeated question, by the changed part.", "part"),
    ),
)
# The counters of a process as a whole.
_OF_PROCESS: Final = (
    ("invalidations", "invalidations", "Invalidations.", ""),
    ("breaker_opened", "breaker_opened", "Outages of the Redis, as seen.", ""),
    ("breaker_open_sum", "breaker_open_seconds", "Time of these outages.", ""),
    ("lost", "events_lost", "Events lost because there was no room.", "what"),
)
# These start at zero: Prometheus sees no increase in a counter that begins at one.
_FROM_ZERO: Final = (
    "invalidations||||",
    "breaker_opened||||",
    "breaker_open_sum||||",
    "lost||||event_log",
)
_HISTOGRAMS: Final = (
    ("first", "first_token_seconds", "Time to the first piece of an answer."),
    ("time", "answer_seconds", "Time to the whole answer."),
)
# A field of INFO, its name in Prometheus, whether it is a counter, its meaning.
_FACTS: Final = (
    ("used_memory", "redis_memory_used_bytes", False, "Memory that the Redis uses."),
    ("maxmemory", "redis_memory_max_bytes", False, "Its memory limit; 0 is no limit."),
    ("keys", "redis_keys", False, "Keys in all databases of the Redis."),
    ("evicted_keys", "redis_evicted_keys", True, "Keys evicted for lack of memory."),
    ("expired_keys", "redis_expired_keys", True, "Keys that expired."),
    (
        "connected_clients",
        "redis_connected_clients",
        False,
        "Connections to the Redis.",
    ),
)


def text(form: Mapping[str, Any]) -> bytes:
    """All known values, in Prometheus's format. Raises ConfigError."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(settings.read(form)))
    return generate_latest(registry)


class _Collector:
    def __init__(self, read: Settings) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        statistics = settings.open_statistics(self._read)
        up = GaugeMetricFamily(f"{_PREFIX}up", "Whether the cache's Redis answers.")
        try:
            found = {
                instance: dict.fromkeys(_FROM_ZERO, 0.0) | counts
                for instance, counts in statistics.by_instance().items()
            }
        except StoreError:
            up.add_metric([], 0)
            yield up
        else:
            up.add_metric([], 1)
            yield up
            yield _switch(self._read)
            yield from _counted(found)
            yield from _facts(savings.facts(self._read))


def _switch(read: Settings) -> Metric:
    """The namespace's switch: 1 for the current state, 0 for the others."""
    meaning = "The namespace's switch: 1 for its state, 0 for the others."
    family = GaugeMetricFamily(_PREFIX + "switch", meaning, labels=("state",))
    with suppress(StoreError):
        now = settings.open_cache(read).admin.switch()
        for state in Switch:
            family.add_metric([state.value], state is now)
    return family


def _counted(found: Mapping[str, Counts]) -> Iterator[Metric]:
    for name, shown, meaning, verdict in _COUNTERS:
        yield _counter(found, name, shown, meaning, verdict, len(_OF))
    for name, shown, meaning, verdict in _OF_PROCESS:
        yield _counter(found, name, shown, meaning, verdict, 1)
    for name, shown, meaning in _HISTOGRAMS:
        yield _histogram(found, name, shown, meaning, "result")
    yield _audits_by_age(found)
    meaning = "Time of look-ups in the store."
    yield _histogram(found, "look_up", "look_up_seconds", meaning, "")


def _audits_by_age(found: Mapping[str, Counts]) -> Metric:
    """How old the audited entries were: ``younger_than`` is in seconds."""
    labels = (*_OF, "verdict", "younger_than")
    meaning = "Hits asked upstream again, by the age of their entry."
    family = CounterMetricFamily(_PREFIX + "audits_by_age", meaning, labels=labels)
    for of, value, amount in _rows(found, "audit_age"):
        verdict, _, number = value.partition(" ")
        place = place_of(number)
        if place is not None and place <= len(AGES):
            bound = "+Inf" if place == len(AGES) else f"{AGES[place]:g}"
            family.add_metric([*of, verdict, bound], amount)
    return family


def _facts(servers: list[Facts]) -> Iterator[Metric]:
    for field, shown, counts, meaning in _FACTS:
        kind = CounterMetricFamily if counts else GaugeMetricFamily
        family = kind(_PREFIX + shown, meaning, labels=("server",))
        for facts in servers:
            if field in facts.numbers:
                family.add_metric([facts.server], facts.numbers[field])
        yield family


def _rows(
    found: Mapping[str, Counts], wanted: str
) -> Iterator[tuple[tuple[str, ...], str, float]]:
    for instance, counts in found.items():
        for name, amount in counts.items():
            what, kind, label, app, verdict = name.split("|")
            if what == wanted and label != INTERNAL:
                yield (instance, kind, label, app), verdict, amount


def _counter(
    found: Mapping[str, Counts],
    name: str,
    shown: str,
    meaning: str,
    verdict: str,
    depth: int,
) -> Metric:
    labels = (*_OF[:depth], verdict) if verdict else _OF[:depth]
    sums: dict[tuple[str, ...], float] = defaultdict(float)
    for of, value, amount in _rows(found, name):
        sums[(*of[:depth], value) if verdict else of[:depth]] += amount
    family = CounterMetricFamily(_PREFIX + shown, meaning, labels=labels)
    for values, amount in sums.items():
        family.add_metric(list(values), amount)
    return family


def _histogram(
    found: Mapping[str, Counts], name: str, shown: str, meaning: str, verdict: str
) -> Metric:
    labels = (*_OF, verdict) if verdict else _OF
    family = HistogramMetricFamily(_PREFIX + shown, meaning, labels=labels)
    tables: dict[tuple[str, ...], list[float]] = {}
    sums: dict[tuple[str, ...], float] = {
        (*of, value) if verdict else of: amount
        for of, value, amount in _rows(found, f"{name}_sum")
    }
    for of, value, amount in _rows(found, name):
        result, _, number = value.rpartition(" ")
        table = tables.setdefault(
            (*of, result) if verdict else of, [0.0] * (len(BOUNDS) + 1)
        )
        place = place_of(number)
        if place is not None:
            table[place] += amount
    for which, table in tables.items():
        passed, buckets = 0.0, []
        for bound, amount in zip([*map(str, BOUNDS), "+Inf"], table, strict=True):
            passed += amount
            buckets.append((bound, passed))
        family.add_metric(list(which), buckets, sum_value=sums.get(which, 0.0))
    return family
