import pytest

from cachecore import statistics
from cachecore.entry import Cost
from cachecore.errors import StoreError
from cachecore.keys import Keyspace
from cachecore.metrics import Invalidated, Loaded, Lookup, Refused
from cachecore.policy import Reason, Refusal
from cachecore.statistics import Statistics, percentile
from cachecore.stores.memory import MemoryStore
from tests.core.helpers import FailingFrom, FakeClock

HIT = Lookup("llm", "m", Reason.HIT, 0.0004, saved=Cost(70, 30, price=0.5, seconds=1.5))
HOUR, DAY = 3600, 86400


class Ledger:
    """One store and a clock; each ``process`` counts for itself."""

    def __init__(self) -> None:
        self.clock = FakeClock(1_000_000 * 3600 + 10)
        self.store = MemoryStore(clock=self.clock)
        self.namespace = "n"

    def process(self, store: object = None) -> Statistics:
        made = Statistics(store or self.store, Keyspace(self.namespace), self.clock)
        made._thread = object()  # no thread: the test says when to publish
        return made


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


def test_what_two_processes_counted_is_added_up(ledger: Ledger) -> None:
    one, other = ledger.process(), ledger.process()
    one(HIT)
    one(HIT)
    other(HIT)
    other(Refused("llm", "m", Refusal.EMPTY))
    other.flush()
    counts = one.since(HOUR)
    assert counts["requests|llm|m|hit"] == 3
    assert counts["saved_tokens|llm|m|"] == 300
    assert counts["saved_money|llm|m|USD"] == 1.5
    assert counts["saved_seconds|llm|m|"] == 4.5
    assert counts["refused|llm|m|empty"] == 1


def test_a_window_holds_what_happened_within_it(ledger: Ledger) -> None:
    process = ledger.process()
    process(HIT)
    process.flush()
    ledger.clock.pass_by(2 * HOUR)
    process(HIT)
    assert process.since(HOUR)["requests|llm|m|hit"] == 1
    assert process.since(DAY)["requests|llm|m|hit"] == 2
    ledger.clock.pass_by(3 * DAY)
    assert process.since(DAY) == {}
    assert process.since(7 * DAY)["requests|llm|m|hit"] == 2


def test_what_could_not_be_published_is_published_next_time(ledger: Ledger) -> None:
    failing = FailingFrom(ledger.store, "publish")
    process = ledger.process(failing)
    process(HIT)
    with pytest.raises(StoreError):
        process.flush()
    process(HIT)
    failing.mend()
    process.flush()
    assert ledger.process().since(HOUR)["requests|llm|m|hit"] == 2


def test_publishing_twice_counts_once(ledger: Ledger) -> None:
    process = ledger.process()
    process(HIT)
    process.flush()
    for sheet in process._sheets.values():
        sheet.unsaid |= sheet.counts.keys()  # as if the first reply had been lost
    process.flush()
    assert process.since(HOUR)["requests|llm|m|hit"] == 1


def test_namespaces_count_apart(ledger: Ledger) -> None:
    process = ledger.process()
    process(HIT)
    process.flush()
    ledger.namespace = "other"
    assert ledger.process().since(HOUR) == {}


def test_each_process_can_be_read_by_itself(ledger: Ledger) -> None:
    one, other = ledger.process(), ledger.process()
    one(HIT)
    other(Invalidated(2))
    one.flush()
    other.flush()
    found = sorted(one.by_instance().values(), key=len)
    assert found[0] == {"invalidations|||": 1}
    assert found[1]["requests|llm|m|hit"] == 1


def test_labels_are_bounded_and_can_forge_no_counter(ledger: Ledger) -> None:
    process = ledger.process()
    process(Lookup("llm", "a|b|hit", Reason.ABSENT))
    for number in range(1000):
        process(Lookup("llm", f"model-{number}", Reason.ABSENT))
    counts = process.since(HOUR)
    assert counts["requests|llm|a/b/hit|absent"] == 1
    assert counts["requests|llm|other|absent"] > 900
    assert len(counts) < 70


def test_hashes_that_an_eviction_took_are_a_reset_and_no_error(ledger: Ledger) -> None:
    process = ledger.process()
    process(HIT)
    process.flush()
    ledger.store._hashes.clear()
    assert process.since(HOUR) == {}
    process(HIT)
    assert process.since(HOUR)["requests|llm|m|hit"] == 2


def test_a_span_that_is_over_is_not_remembered(ledger: Ledger) -> None:
    process = ledger.process()
    for _ in range(50):
        process(HIT)
        process.flush()
        ledger.clock.pass_by(HOUR)
    assert len(process._sheets) <= 6


def test_percentiles_come_from_the_buckets(ledger: Ledger) -> None:
    assert percentile({}, 0.5) is None
    times = [0.003] * 98 + [1.5, 100.0]
    buckets: dict[int, float] = {}
    for seconds in times:
        number = statistics.bucket(seconds)
        buckets[number] = buckets.get(number, 0) + 1
    assert 0.002 < percentile(buckets, 0.5) <= 0.005
    assert 1 < percentile(buckets, 0.99) <= 2
    assert percentile(buckets, 1) == 60


def test_hits_and_misses_are_timed_apart(ledger: Ledger) -> None:
    process = ledger.process()
    process(HIT)
    process(Loaded("llm", "m", 0.15, 3.0))
    counts = process.since(HOUR)
    assert counts[f"time|llm|m|hit {statistics.bucket(0.0004)}"] == 1
    assert counts[f"time|llm|m|miss {statistics.bucket(3.0)}"] == 1
    assert counts[f"first|llm|m|miss {statistics.bucket(0.15)}"] == 1


def test_the_first_event_starts_the_thread_that_publishes(ledger: Ledger) -> None:
    process = Statistics(ledger.store, Keyspace("n"), ledger.clock, publish_every=0.001)
    process(HIT)
    reader = ledger.process()
    for _ in range(1000):
        if reader.since(HOUR):
            break
        process._thread.join(0.002)
    assert reader.since(HOUR)["requests|llm|m|hit"] == 1


def test_numbers_that_were_evicted_come_back_whole(ledger: Ledger) -> None:
    process = ledger.process()
    for _ in range(10):
        process(HIT)
    process(Refused("llm", "m", Refusal.EMPTY))
    process.flush()
    ledger.store._hashes.clear()
    process(HIT)
    (counts,) = process.by_instance().values()
    assert counts["requests|llm|m|hit"] == 11
    assert counts["refused|llm|m|empty"] == 1


def test_what_can_not_be_published_for_long_is_bounded(ledger: Ledger) -> None:
    failing = FailingFrom(ledger.store, "publish")
    process = ledger.process(failing)
    for _ in range(60):
        process(HIT)
        with pytest.raises(StoreError):
            process.flush()
        ledger.clock.pass_by(HOUR)
    assert len(process._sheets) < 40
    failing.mend()
    (counts,) = process.by_instance().values()
    assert counts["requests|llm|m|hit"] == 60


def test_a_name_that_is_no_counter_breaks_no_reader(ledger: Ledger) -> None:
    process = ledger.process()
    saved = Cost(1, 1, price=1, currency="US|D")
    process(Lookup("llm", "m", Reason.HIT, 0.1, saved=saved))
    process.flush()
    sheet = process._keyspace.statistics(process._instance)
    ledger.store.replace(sheet, {"rubbish": "1", "a|b|c|d": "x"})
    (counts,) = process.by_instance().values()
    assert counts["saved_money|llm|m|other"] == 1
    assert "rubbish" not in counts
    assert counts["a|b|c|d"] == 0


def test_a_label_that_can_not_be_written_fails_no_publication(ledger: Ledger) -> None:
    process = ledger.process()
    process(Lookup("app", "half a pair \ud83d", Reason.ABSENT))
    (counts,) = process.by_instance().values()
    (name,) = counts
    assert name.encode()
    assert name.startswith("requests|app|half a pair ")
