"""The statistics as Prometheus reads them, each process with a label of its own."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from cachecore.errors import StoreError
from cachecore.metrics import INTERNAL
from cachecore.statistics import BOUNDS, Counts
from rag_cache import settings

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
_OF: Final = ("instance_id", "kind", "label")
# A counter's name here, what it is called there, its meaning, and the verdict's label.
_COUNTERS: Final = (
    ("requests", "requests", "Requests, by what came of them.", "reason"),
    ("refused", "refused", "Answers served and not kept.", "reason"),
    ("loads", "loads", "Answers loaded to their end.", ""),
    ("load_seconds", "load_seconds", "Time that loads took.", ""),
    ("followed", "shared_loads", "Requests answered by another caller's load.", ""),
    ("stood_in", "stale_for_error", "Stale answers in place of an error.", ""),
    ("kept", "kept", "Answers kept.", ""),
    ("kept_bytes", "kept_bytes", "Bytes of the answers kept.", ""),
    ("saved_tokens", "saved_tokens", "Tokens that hits saved.", ""),
    ("saved_seconds", "saved_seconds", "Waiting that hits saved.", ""),
    ("saved_money", "saved_money", "Money that hits saved.", "currency"),
    ("invalidations", "invalidations", "Invalidations.", ""),
)


def text(form: Mapping[str, Any]) -> bytes:
    """All that is known, in Prometheus's format. Raises ConfigError."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(form))
    return generate_latest(registry)


class _Collector:
    def __init__(self, form: Mapping[str, Any]) -> None:
        read = settings.read(form)
        self._statistics = settings.open_statistics(read)

    def collect(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("answer_cache_up", "Whether the cache's Redis answers.")
        try:
            found = self._statistics.by_instance()
        except StoreError:
            up.add_metric([], 0)
            yield up
            return
        up.add_metric([], 1)
        yield up
        for name, shown, meaning, verdict in _COUNTERS:
            yield _counter(found, name, f"answer_cache_{shown}", meaning, verdict)
        yield _histogram(
            found, "time", "answer_cache_seconds", "Time to the whole answer."
        )
        yield _histogram(
            found, "first", "answer_cache_first_seconds", "Time to the first token."
        )


def _rows(
    found: Mapping[str, Counts], wanted: str
) -> Iterator[tuple[tuple[str, str, str], str, float]]:
    for instance, counts in found.items():
        for name, amount in counts.items():
            what, kind, label, verdict = name.split("|")
            if what == wanted and label != INTERNAL:
                yield (instance, kind, label), verdict, amount


def _counter(
    found: Mapping[str, Counts], name: str, shown: str, meaning: str, verdict: str
) -> Metric:
    labels = (*_OF, verdict) if verdict else _OF
    family = CounterMetricFamily(shown, meaning, labels=labels)
    for of, said, amount in _rows(found, name):
        family.add_metric([*of, said] if verdict else list(of), amount)
    return family


def _histogram(
    found: Mapping[str, Counts], name: str, shown: str, meaning: str
) -> Metric:
    family = HistogramMetricFamily(shown, meaning, labels=(*_OF, "result"))
    tables: dict[tuple[str, ...], list[float]] = {}
    sums: dict[tuple[str, ...], float] = {
        (*of, result): amount for of, result, amount in _rows(found, f"{name}_sum")
    }
    for of, said, amount in _rows(found, name):
        result, _, number = said.partition(" ")
        table = tables.setdefault((*of, result), [0.0] * (len(BOUNDS) + 1))
        if number.isdigit() and int(number) < len(table):
            table[int(number)] += amount
    for labels, table in tables.items():
        passed, buckets = 0.0, []
        for bound, amount in zip([*map(str, BOUNDS), "+Inf"], table, strict=True):
            passed += amount
            buckets.append((bound, passed))
        family.add_metric(list(labels), buckets, sum_value=sums.get(labels, 0.0))
    return family
