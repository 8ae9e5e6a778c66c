import base64
from bisect import bisect_left

import orjson
import pytest

from cachecore import counters, entry
from cachecore.background import Background
from cachecore.counters import percentile
from cachecore.entry import Cost
from cachecore.errors import StoreError
from cachecore.events import (
    INTERNAL,
    Ended,
    Invalidated,
    Lookup,
    Missed,
    Refused,
    Result,
    Subject,
)
from cachecore.keys import Keyspace
from cachecore.policy import Reason, Refusal
from cachecore.statistics import Statistics
from cachecore.stores.base import Page
from cachecore.stores.memory import MemoryStore
from tests.core.helpers import FailingFrom, FakeClock, await_threads


def bucket(seconds: float) -> int:
    return bisect_left(counters.BOUNDS, seconds)


OF = Subject("llm", "m", "a")
HIT = Lookup(
    OF,
    Reason.HIT,
    10,
    0.0004,
    0.0001,
    Cost(70, 30, price=0.5, seconds=1.5),
    short_key="f",
)
HOUR, DAY = 3600, 86400


class Ledger:
    """One store and a clock; each ``process`` has its own counts."""

    def __init__(self) -> None:
        self.clock = FakeClock(1_000_000 * 3600 + 10)
        self.store = MemoryStore(clock=self.clock)
        self.namespace = "n"

    def process(self, store: object = None) -> Statistics:
        # Nothing runs by itself: the test says when to publish.
        background = Background(at_once=True)
        made = Statistics(
            store or self.store,
            Keyspace(self.namespace),
            self.clock,
            background=background,
        )
        background.also(made.job)
        return made


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


def test_counts_of_two_processes_are_added_up(ledger: Ledger) -> None:
    one, other = ledger.process(), ledger.process()
    one(HIT)
    one(HIT)
    other(HIT)
    other(Refused(OF, Refusal.EMPTY))
    other.flush()
    counts = one.since(HOUR)
    assert counts["requests|llm|m|a|hit"] == 3
    assert counts["saved_tokens|llm|m|a|"] == 300
    assert counts["saved_money|llm|m|a|USD"] == 1.5
    assert counts["saved_seconds|llm|m|a|"] == 4.5
    assert counts["refused|llm|m|a|empty"] == 1


def test_a_window_holds_what_happened_within_it(ledger: Ledger) -> None:
    process = ledger.process()
    process(HIT)
    process.flush()
    ledger.clock.pass_by(2 * HOUR)
    process(HIT)
    assert process.since(HOUR)["requests|llm|m|a|hit"] == 1
    assert process.since(DAY)["requests|llm|m|a|hit"] == 2
    ledger.clock.pass_by(3 * DAY)
    assert process.since(DAY) == {}
    assert process.since(7 * DAY)["requests|llm|m|a|hit"] == 2


def test_counts_that_could_not_be_published_are_published_next_time(
    ledger: Ledger,
) -> None:
    failing = FailingFrom(ledger.store, "publish")
    process = ledger.process(failing)
    process(HIT)
    with pytest.raises(StoreError):
        process.flush()
    process(HIT)
    failing.mend()
    process.flush()
    assert ledger.process().since(HOUR)["requests|llm|m|a|hit"] == 2


def test_publishing_twice_counts_once(ledger: Ledger) -> None:
    process = ledger.process()
    process(HIT)
    process.flush()
    for hash_key in process._hashes.values():
        hash_key.unpublished |= (
            hash_key.counts.keys()
        )  # as if the first reply had been lost
    process.flush()
    assert process.since(HOUR)["requests|llm|m|a|hit"] == 1


def test_namespaces_count_apart(ledger: Ledger) -> None:
    process = ledger.process()
    process(HIT)
    process.flush()
    ledger.namespace = "other"
    assert ledger.process().since(HOUR) == {}


def test_each_process_can_be_read_by_itself(ledger: Ledger) -> None:
    one, other = ledger.process(), ledger.process()
    one(HIT)
    other(Invalidated(("t",), 5))
    one.flush()
    other.flush()
    found = sorted(one.by_instance().values(), key=len)
    assert found[0] == {"invalidations||||": 1}
    assert found[1]["requests|llm|m|a|hit"] == 1


def test_labels_are_bounded_and_can_forge_no_counter(ledger: Ledger) -> None:
    process = ledger.process()
    process(Lookup(Subject("llm", "a|b|hit", "x|y"), Reason.ABSENT, 1))
    for number in range(1000):
        process(Lookup(Subject("llm", f"model-{number}"), Reason.ABSENT, 1))
    counts = process.since(HOUR)
    assert counts["requests|llm|a/b/hit|x/y|absent"] == 1
    assert counts["requests|llm|other||absent"] > 900
    assert len(counts) < 70


def test_hashes_that_an_eviction_took_are_a_reset_and_no_error(ledger: Ledger) -> None:
    process = ledger.process()
    process(HIT)
    process.flush()
    ledger.store._hashes.clear()
    assert process.since(HOUR) == {}
    process(HIT)
    assert process.since(HOUR)["requests|llm|m|a|hit"] == 2


def test_a_span_that_is_over_is_not_remembered(ledger: Ledger) -> None:
    process = ledger.process()
    for _ in range(50):
        process(HIT)
        process.flush()
        ledger.clock.pass_by(HOUR)
    assert len(process._hashes) <= 6


def test_percentiles_come_from_the_buckets(ledger: Ledger) -> None:
    assert percentile({}, 0.5) is None
    times = [0.003] * 98 + [1.5, 100.0]
    buckets: dict[int, float] = {}
    for seconds in times:
        number = bucket(seconds)
        buckets[number] = buckets.get(number, 0) + 1
    assert 0.002 < percentile(buckets, 0.5) <= 0.005
    assert 1 < percentile(buckets, 0.99) <= 2
    assert percentile(buckets, 1) == 60


def test_hits_and_misses_are_timed_apart(ledger: Ledger) -> None:
    process = ledger.process()
    process(Ended(OF, Result.HIT, 0.0004, 0.003))
    process(Ended(OF, Result.MISS, 0.15, 3.0))
    process(Ended(OF, Result.LEFT, None, 9.0))
    counts = process.since(HOUR)
    assert counts[f"first|llm|m|a|hit {bucket(0.0004)}"] == 1
    assert counts[f"time|llm|m|a|hit {bucket(0.003)}"] == 1
    assert counts[f"first|llm|m|a|miss {bucket(0.15)}"] == 1
    assert counts[f"time|llm|m|a|miss {bucket(3.0)}"] == 1
    assert counts["unanswered|llm|m|a|left"] == 1
    assert not [name for name in counts if "left " in name]
    assert "saved_money|llm|m|a|USD" not in counts


def test_the_first_event_starts_the_thread_that_publishes(ledger: Ledger) -> None:
    background = Background()
    process = Statistics(
        ledger.store, Keyspace("n"), ledger.clock, background=background
    )
    background.also(process.job)
    process(HIT)
    await_threads("cache-background")
    assert ledger.process().since(HOUR)["requests|llm|m|a|hit"] == 1


def test_without_background_work_the_end_of_a_call_publishes(ledger: Ledger) -> None:
    process = ledger.process()
    process(HIT)
    assert ledger.process().since(HOUR) == {}
    process(Ended(OF, Result.HIT, 0.001, 0.001))
    assert ledger.process().since(HOUR)["requests|llm|m|a|hit"] == 1


def test_numbers_that_were_evicted_come_back_whole(ledger: Ledger) -> None:
    process = ledger.process()
    for _ in range(10):
        process(HIT)
    process(Refused(OF, Refusal.EMPTY))
    process.flush()
    ledger.store._hashes.clear()
    process(HIT)
    (counts,) = process.by_instance().values()
    assert counts["requests|llm|m|a|hit"] == 11
    ledger.clock.pass_by(60)
    process(HIT)
    (counts,) = process.by_instance().values()
    assert counts["requests|llm|m|a|hit"] == 12
    assert counts["refused|llm|m|a|empty"] == 1


def test_unpublished_counts_are_bounded(ledger: Ledger) -> None:
    failing = FailingFrom(ledger.store, "publish")
    process = ledger.process(failing)
    for _ in range(60):
        process(HIT)
        with pytest.raises(StoreError):
            process.flush()
        ledger.clock.pass_by(HOUR)
    assert len(process._hashes) < 40
    failing.mend()
    (counts,) = process.by_instance().values()
    assert counts["requests|llm|m|a|hit"] == 60


def test_a_name_that_is_no_counter_breaks_no_reader(ledger: Ledger) -> None:
    process = ledger.process()
    saved = Cost(1, 1, price=1, currency="US|D")
    process(Lookup(OF, Reason.HIT, 1, saved=saved))
    process.flush()
    hash_key = process._keyspace.statistics(process._instance)
    ledger.store.replace(hash_key, {"rubbish": "1", "a|b|c|d|e": "x"})
    (counts,) = process.by_instance().values()
    assert counts["saved_money|llm|m|a|other"] == 1
    assert "rubbish" not in counts
    assert counts["a|b|c|d|e"] == 0


def test_a_label_that_can_not_be_written_fails_no_publication(ledger: Ledger) -> None:
    process = ledger.process()
    process(Lookup(Subject("app", "half a pair \ud83d"), Reason.ABSENT, 1))
    (counts,) = process.by_instance().values()
    (name,) = counts
    assert name.encode()
    assert name.startswith("requests|app|half a pair ")


def test_misses_say_what_has_changed_and_which_part_kept_them_apart(
    ledger: Ledger,
) -> None:
    process = ledger.process()
    for minute in range(10):
        parts = {"system": f"at {minute}", "question": "q"}
        process(Missed(OF, "f", parts))
    counts = process.since(HOUR)
    assert counts["compared|llm|m|a|"] == counts["asked_before|llm|m|a|"] == 9
    assert counts["changed|llm|m|a|system"] == 9
    assert counts["kept_apart|llm|m|a|system"] == 9


def test_the_last_decisions_of_all_processes_are_listed_the_latest_first(
    ledger: Ledger,
) -> None:
    one, other = ledger.process(), ledger.process()
    one(Lookup(OF, Reason.ABSENT, 1, 0.002, 0.001, short_key="abc"))
    one(Missed(OF, "abc", {"question": "d"}))
    other(Lookup(OF, Reason.HIT, 2, short_key="abc"))
    one(Invalidated(("tag:faq",), 3))
    other.flush()
    decisions, invalidations = one.recent()
    assert [row["reason"] for row in decisions] == ["hit", "absent"]
    assert decisions[1] == {
        "at": 1,
        "kind": "llm",
        "label": "m",
        "app": "a",
        "reason": "absent",
        "ms": 3.0,
        "key": "abc",
        "parts": {"question": "d"},
    }
    assert invalidations == [{"at": 3, "tags": ["tag:faq"]}]


def test_of_many_decisions_the_last_are_listed(ledger: Ledger) -> None:
    process = ledger.process()
    for number in range(500):
        process(Lookup(OF, Reason.HIT, number))
    decisions, _ = process.recent()
    assert [row["at"] for row in decisions] == list(range(499, 299, -1))


def test_the_list_is_sealed_with_the_secret_and_nothing_else_opens_it(
    ledger: Ledger,
) -> None:
    key = b"k" * 32
    keyed = Statistics(
        *(ledger.store, Keyspace("n"), ledger.clock),
        cipher_key=key,
        background=Background(at_once=True),
    )
    keyed(Invalidated(("tag:private",), 1))
    assert keyed.recent()[1]
    assert ledger.process().recent() == ([], [])
    assert not any(b"private" in kept[0] for kept in ledger.store._entries.values())


def test_an_outage_is_counted_when_it_is_over(ledger: Ledger) -> None:
    process = ledger.process()
    ledger.store.outages = lambda: (1, 0.0)
    assert process.since(HOUR)["breaker_opened||||"] == 1
    ledger.store.outages = lambda: (1, 7.0)
    for _ in range(2):
        counts = process.since(HOUR)
        assert counts["breaker_opened||||"] == 1
        assert counts["breaker_open_sum||||"] == 7


def test_spans_in_which_nothing_happened_are_there_and_empty(ledger: Ledger) -> None:
    process = ledger.process()
    process(HIT)
    process.flush()
    ledger.clock.pass_by(900)
    process(HIT)
    length, spans = process.spans(HOUR)
    assert length == 300
    found = [int(counts.get("requests|llm|m|a|hit", 0)) for counts in spans.values()]
    assert found[-4:] == [1, 0, 0, 1]
    assert len(found) == 13


def test_an_event_is_heard_while_this_very_thread_counts(ledger: Ledger) -> None:
    # This happens when Python's garbage collector closes an answer during the counting.
    process = ledger.process()
    with process._lock:
        process(HIT)
        process(Ended(OF, Result.LEFT, None, 1.0))
        process.lost(1, "event_log")
    counts = process.since(HOUR)
    assert counts["requests|llm|m|a|hit"] == 1
    assert counts["lost||||event_log"] == 1


def test_events_beyond_the_bound_are_counted_as_lost(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cachecore.statistics._MAX_WAITING", 3)
    process = ledger.process()
    for _ in range(5):
        process(HIT)
    counts = process.since(HOUR)
    assert counts["requests|llm|m|a|hit"] == 3
    assert counts["lost||||statistics"] == 2


def test_counts_survive_an_error_while_they_are_published(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = ledger.process()
    process(HIT)
    monkeypatch.setattr(process, "_recent_pages", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        process.flush()
    monkeypatch.undo()
    assert process.since(HOUR)["requests|llm|m|a|hit"] == 1


@pytest.mark.parametrize(
    "rows",
    [
        [{"reason": "hit"}],
        ["no row"],
        [{"at": 1e20, "kind": "llm", "label": "m", "app": "", "reason": "", "key": ""}],
        [{"at": 1, "kind": "llm", "label": "m", "app": "", "reason": [], "key": ""}],
        "no rows",
        None,
    ],
)
def test_rows_of_another_version_are_left_out(ledger: Ledger, rows: object) -> None:
    process = ledger.process()
    process(Lookup(OF, Reason.HIT, 5))
    process.flush()
    name = process._keyspace.recent("another")
    strange = {"decisions": rows, "invalidations": [{"at": 1, "tags": None}]}
    data = base64.b85encode(entry.seal(orjson.dumps(strange), name)).decode()
    ledger.store.publish(
        [
            Page(process._keyspace.statistics(), {"another": "0 9999999999"}, 60),
            Page(name, {"sealed": data}, 60),
        ]
    )
    decisions, invalidations = process.recent()
    assert [row["at"] for row in decisions] == [5]
    assert invalidations == []


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "x", "1e999"])
def test_a_counter_that_is_no_number_counts_nothing(ledger: Ledger, text: str) -> None:
    process = ledger.process()
    process(HIT)
    process.flush()
    hash_key = process._keyspace.statistics(process._instance)
    ledger.store.replace(hash_key, {"requests|llm|m|a|hit": text})
    (counts,) = process.by_instance().values()
    assert counts["requests|llm|m|a|hit"] == 0


@pytest.mark.parametrize("text", ["99", "²", "-1", "", "1.5", "9" * 5000])
def test_a_bucket_that_is_none_of_ours_is_none(text: str) -> None:
    assert counters.place_of(text) is None


def test_a_store_that_refuses_writes_can_be_read(ledger: Ledger) -> None:
    ledger.process()(HIT)
    writer = ledger.process()
    writer(HIT)
    writer.flush()
    refusing = ledger.process(FailingFrom(ledger.store, "publish"))
    refusing(HIT)
    assert refusing.since(HOUR)["requests|llm|m|a|hit"] == 1


def test_look_ups_of_the_cache_itself_are_on_no_list(ledger: Ledger) -> None:
    process = ledger.process()
    for number in range(300):
        process(Lookup(Subject("value", INTERNAL), Reason.HIT, number))
    process(Lookup(OF, Reason.HIT, 0))
    assert [row["label"] for row in process.recent()[0]] == ["m"]


def test_memory_keeps_no_span_that_is_over(ledger: Ledger) -> None:
    process = ledger.process()
    for _ in range(30):
        process(HIT)
        process.flush()
        ledger.clock.pass_by(12 * HOUR)
    # The hashes of eight days, the process's own hash, and the index.
    assert len(ledger.store._hashes) < 16 + 6
