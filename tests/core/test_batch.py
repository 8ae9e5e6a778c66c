"""Many small answers at once: each an entry of its own, each loaded once."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import pytest

from cachecore.answer import Piece, Usage
from cachecore.errors import NothingCached
from cachecore.events import Ended, Followed, Kept, Loaded, Lookup, Stale
from cachecore.lookup import PER_ROUND_TRIP
from cachecore.policy import Control, Rules, Switch
from cachecore.request import Request
from cachecore.stores.memory import MemoryStore
from tests.core.helpers import END, Bench, BrokenStore, FailingFrom

BATCH = Request(kind="embedding", label="m", form={}, credential="payer")


class UpstreamFailed(Exception):
    """An error of a loader."""


class Shelf(Bench):
    """A bench whose upstream turns texts into bytes, and records its inputs."""

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **options)  # type: ignore[arg-type]
        self.sent: list[list[str]] = []
        self.before: Callable[[list[str]], None] = lambda _: None

    def loader(  # type: ignore[override]
        self, texts: Sequence[str], per_call: int = 100, *, keep: bool = True
    ) -> Callable[[Sequence[int]], Iterator[Mapping[int, Piece]]]:
        def load(places: Sequence[int]) -> Iterator[Mapping[int, Piece]]:
            for start in range(0, len(places), per_call):
                some = places[start : start + per_call]
                asked = [texts[place] for place in some]
                self.before(asked)
                self.sent.append(asked)
                yield {
                    place: Piece(
                        data=texts[place].encode(),
                        usage=Usage(len(texts[place])),
                        finish_reason="stop" if keep else None,
                    )
                    for place in some
                }

        return load

    def batch(
        self, *texts: str, request: Request = BATCH, **options: int
    ) -> list[Piece]:
        forms = [{"text": text} for text in texts]
        return self.cache.batches.batch(request, forms, self.loader(texts, **options))

    def payloads(self, *texts: str, request: Request = BATCH) -> list[str]:
        return [item.data.decode() for item in self.batch(*texts, request=request)]


def changed(**changes: object) -> Request:
    return replace(BATCH, **changes)  # type: ignore[arg-type]


def test_a_batch_with_one_new_text_sends_one_and_keeps_the_order() -> None:
    bench = Shelf()
    bench.batch("a", "b", "c")
    assert bench.payloads("c", "new", "a") == ["c", "new", "a"]
    assert bench.sent == [["a", "b", "c"], ["new"]]


def test_loaded_texts_are_billed_and_known_texts_are_not() -> None:
    bench = Shelf()
    bench.batch("a")
    known, new = bench.batch("a", "bb")
    assert (known.billed, known.usage) == (False, Usage(1, billed=False))
    assert (new.billed, new.usage) == (True, Usage(2))


def test_one_text_twice_in_a_batch_is_sent_once() -> None:
    bench = Shelf()
    assert bench.payloads("a", "b", "a") == ["a", "b", "a"]
    assert bench.sent == [["a", "b"]]


def test_with_the_cache_off_a_batch_goes_up_as_it_is() -> None:
    bench = Shelf()
    off = changed(rules=Rules(enabled=False))
    assert bench.payloads("a", "a", request=off) == ["a", "a"]
    assert bench.sent == [["a", "a"]]


def test_a_batch_beyond_a_round_trip_is_asked_for_in_several() -> None:
    bench = Shelf()
    texts = [str(number) for number in range(PER_ROUND_TRIP * 2 + 5)]
    bench.batch(*texts)
    assert bench.payloads(*texts) == texts
    assert len(bench.sent) == 1


def test_a_batch_of_nothing_asks_nobody() -> None:
    bench = Shelf()
    assert bench.batch() == []
    assert bench.sent == []


def test_a_text_without_a_key_is_loaded_and_the_others_are_cached() -> None:
    bench = Shelf()
    forms = [{"text": "a"}, {"text": float("nan")}]
    for _ in range(2):
        bench.cache.batches.batch(BATCH, forms, bench.loader(["a", "odd"]))
    assert bench.sent == [["a", "odd"], ["odd"]]


def test_an_answer_that_may_not_be_kept_is_served_and_loaded_again() -> None:
    bench = Shelf()
    for _ in range(2):
        assert bench.batch("a", keep=False)[0].data == b"a"
    assert bench.sent == [["a"], ["a"]]
    assert bench.refusals == ["invalid_output"] * 2


def test_an_invalidated_text_is_loaded_again() -> None:
    bench = Shelf()
    bench.batch("a", "b")
    bench.cache.admin.invalidate(["kind:embedding"])
    bench.batch("a")
    assert bench.sent == [["a", "b"], ["a"]]


def test_an_invalidation_while_a_batch_is_loaded_wins() -> None:
    bench = Shelf()
    bench.before = lambda _: bench.cache.admin.invalidate(["*"])
    bench.batch("a")
    bench.before = lambda _: None
    bench.batch("a")
    assert bench.sent == [["a"], ["a"]]


def test_a_batch_lives_as_long_as_its_rules_say() -> None:
    bench = Shelf()
    bench.batch("a", request=changed(rules=Rules(ttl=100)))
    bench.clock.pass_by(111)
    bench.batch("a", request=changed(rules=Rules(ttl=100)))
    assert bench.sent == [["a"], ["a"]]


def test_a_switched_off_namespace_neither_reads_nor_keeps() -> None:
    bench = Shelf()
    bench.batch("a")
    bench.cache.admin.turn(Switch.OFF)
    bench.batch("a", "b")
    bench.cache.admin.turn(Switch.ON)
    bench.batch("a", "b")
    assert bench.sent == [["a"], ["a", "b"], ["b"]]


def test_a_read_only_namespace_reads_and_does_not_keep() -> None:
    bench = Shelf()
    bench.batch("a")
    bench.cache.admin.turn(Switch.READ_ONLY)
    bench.batch("a", "b")
    bench.cache.admin.turn(Switch.ON)
    bench.batch("a", "b")
    assert bench.sent == [["a"], ["b"], ["b"]]


def test_a_refresh_loads_all_again_and_replaces_them() -> None:
    bench = Shelf()
    bench.batch("a", "b")
    bench.batch("a", "b", request=changed(control=Control.REFRESH))
    assert bench.sent == [["a", "b"]] * 2


def test_only_asks_nobody_and_says_so() -> None:
    bench = Shelf()
    bench.batch("a")
    only = changed(control=Control.ONLY)
    assert bench.payloads("a", request=only) == ["a"]
    with pytest.raises(NothingCached):
        bench.batch("a", "b", request=only)
    assert bench.sent == [["a"]]


def test_the_loaders_error_reaches_the_caller_and_what_came_before_it_is_kept() -> None:
    bench = Shelf()

    def fail_at_b(asked: list[str]) -> None:
        if "b" in asked:
            raise UpstreamFailed("429")

    bench.before = fail_at_b
    with pytest.raises(UpstreamFailed, match="429"):
        bench.batch("a", "b", per_call=1)
    bench.before = lambda _: None
    bench.batch("a", "b")
    assert bench.sent == [["a"], ["b"]]


# --- a store that fails -------------------------------------------------------


def test_a_broken_store_is_asked_once_and_the_batch_is_loaded() -> None:
    store = BrokenStore()
    bench = Shelf(store)
    texts = [str(number) for number in range(PER_ROUND_TRIP * 3)]
    assert bench.payloads(*texts) == texts
    assert store.asked == 1


@pytest.mark.parametrize("method", ["settle", "keep_many"])
def test_a_store_that_fails_in_the_middle_is_then_left_alone(method: str) -> None:
    store = FailingFrom(MemoryStore(), method)
    bench = Shelf(store)
    texts = [str(number) for number in range(PER_ROUND_TRIP * 2)]
    assert bench.payloads(*texts) == texts
    assert store.calls.count(method) == 1
    assert store.calls[-1] == method


def test_an_entry_that_does_not_decode_is_deleted_and_loaded_again() -> None:
    bench = Shelf()
    bench.batch("a")
    key = bench.cache.key(replace(BATCH, form={"text": "a"}))
    bench.store.keep(key, b"rubbish", 60)
    bench.batch("a")
    bench.batch("a")
    assert bench.sent == [["a"], ["a"]]
    assert bench.reasons == ["absent", "corrupt", "hit"]


def test_a_payload_that_is_no_bytes_does_not_count_as_one() -> None:
    bench = Shelf()
    one = replace(BATCH, form={"text": "a"})
    look = bench.cache.find(one)
    bench.cache.keep(one, look.key, bench.cache.settle(look) or {}, {"not": "bytes"})
    assert bench.payloads("a") == ["a"]


# --- stale answers ------------------------------------------------------------


def test_stale_answers_are_served_if_the_upstream_fails() -> None:
    bench = Shelf()
    lenient = changed(rules=Rules(ttl=100, stale_if_error=1000))
    bench.batch("a", "b", request=lenient)
    bench.clock.pass_by(200)

    def fail(_: list[str]) -> None:
        raise UpstreamFailed

    bench.before = fail
    assert bench.payloads("a", "b", request=lenient) == ["a", "b"]
    assert sum(isinstance(event, Stale) for event in bench.events) == 2
    with pytest.raises(UpstreamFailed):  # One is missing, so the batch fails.
        bench.batch("a", "new", request=lenient)


# --- batches at once ----------------------------------------------------------


def at_once(*work: Callable[[], object]) -> list[object]:
    results: list[object] = [None] * len(work)

    def run(place: int) -> None:
        try:
            results[place] = work[place]()
        except Exception as error:
            results[place] = error

    threads = [
        threading.Thread(target=run, args=(place,)) for place in range(len(work))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def after_join(bench: Shelf, do: Callable[[], object]) -> None:
    """Do something each time that a caller has joined or begun a flight."""
    join = bench.cache.batches._flights.join

    def joined(*args: object, **options: object) -> object:
        result = join(*args, **options)  # type: ignore[arg-type]
        do()
        return result

    bench.cache.batches._flights.join = joined  # type: ignore[method-assign, assignment]


def test_equal_texts_of_two_batches_at_once_are_sent_once() -> None:
    bench = Shelf()
    both = threading.Barrier(2)
    bench.before = lambda _: both.wait()
    got = at_once(
        lambda: bench.payloads("a", "x"),
        lambda: bench.payloads("b", "x"),
    )
    assert got == [["a", "x"], ["b", "x"]]
    assert sorted(text for call in bench.sent for text in call) == ["a", "b", "x"]
    assert sum(isinstance(event, Followed) for event in bench.events) == 1


def test_two_batches_that_wait_for_each_other_both_end() -> None:
    bench = Shelf()
    both = threading.Barrier(2)
    met = threading.local()

    def meet() -> None:
        # Each caller leads its first text before either asks for its second.
        if not hasattr(met, "yes"):
            met.yes = True
            both.wait()

    after_join(bench, meet)
    got = at_once(lambda: bench.payloads("a", "b"), lambda: bench.payloads("b", "a"))
    assert got == [["a", "b"], ["b", "a"]]
    assert sorted(bench.sent) == [["a"], ["b"]]


@pytest.mark.parametrize(
    ("credential", "shares"), [("payer", True), ("another", False)]
)
def test_a_followers_error_is_the_leaders_only_with_the_same_credential(
    credential: str,
    shares: bool,
) -> None:
    bench = Shelf()
    leads, follows = threading.Event(), threading.Event()

    def fail_first(_: list[str]) -> None:
        if not leads.is_set():
            leads.set()
            follows.wait()
            raise UpstreamFailed

    bench.before = fail_first

    def follow() -> list[str]:
        leads.wait()
        after_join(bench, follows.set)
        return bench.payloads("a", request=changed(credential=credential))

    first, second = at_once(lambda: bench.payloads("a"), follow)
    assert isinstance(first, UpstreamFailed)
    assert isinstance(second, UpstreamFailed) if shares else second == ["a"]


def test_every_call_and_every_entry_is_reported_once() -> None:
    bench = Shelf()
    bench.batch("a", "b", "c", per_call=2)
    assert sum(isinstance(event, Loaded) for event in bench.events) == 2
    assert sum(isinstance(event, Kept) for event in bench.events) == 3
    assert bench.reasons == ["absent"] * 3


def test_anothers_bad_text_is_not_ones_own_error() -> None:
    bench = Shelf()
    leads, follows = threading.Event(), threading.Event()

    def fail_for_bad(asked: list[str]) -> None:
        if "bad" in asked:
            leads.set()
            follows.wait()
            raise UpstreamFailed("'bad' is too long")

    bench.before = fail_for_bad

    def follow() -> list[str]:
        leads.wait()
        after_join(bench, follows.set)
        return bench.payloads("a")

    first, second = at_once(lambda: bench.payloads("a", "bad"), follow)
    assert isinstance(first, UpstreamFailed)
    assert second == ["a"]


def test_a_large_batch_takes_nothing_from_other_answers() -> None:
    bench = Shelf()
    bench.cache._flights._remembered = 10
    question = Request(kind="llm", label="m", form={"q": "?"})
    pieces = bench.cache.stream(question, lambda: iter([Piece("yes"), END]))
    next(pieces)
    texts = [str(number) for number in range(100)]
    bench.batch(*texts)
    list(pieces)
    assert bench.cache.find(question).entry is not None
    bench.sent.clear()
    bench.batch(*texts)
    assert bench.sent == []


def test_a_refresh_sends_a_repeated_text_once() -> None:
    bench = Shelf()
    bench.batch("a", "a", "a", request=changed(control=Control.REFRESH))
    assert bench.sent == [["a"]]


def test_an_entry_that_another_process_kept_meanwhile_stays() -> None:
    store = MemoryStore()
    one, other = Shelf(store), Shelf(store)

    def newer(_: list[str]) -> None:
        fresh = changed(control=Control.REFRESH)
        made = Piece(data=b"newer", finish_reason="stop")
        other.cache.batches.batch(fresh, [{"text": "a"}], lambda _: iter([{0: made}]))

    one.before = newer
    one.batch("a")
    one.before = lambda _: None
    assert one.payloads("a") == ["newer"]


def test_a_load_that_gives_too_few_is_named() -> None:
    bench = Shelf()
    with pytest.raises(LookupError, match="fewer answers"):
        bench.cache.batches.batch(BATCH, [{"text": "a"}], lambda _: iter([{}]))


def test_a_store_that_can_not_delete_is_not_asked_again() -> None:
    store = FailingFrom(MemoryStore(), "delete")
    bench = Shelf(store)
    for text in ("a", "b", "c"):
        bench.store.keep(bench.cache.key(replace(BATCH, form={"text": text})), b"x", 60)
    store.calls.clear()
    assert bench.payloads("a", "b", "c") == ["a", "b", "c"]
    assert store.calls.count("delete") == 1
    assert store.calls[-1] == "delete"


def results(bench: Shelf) -> list[str]:
    return [event.result.value for event in bench.events if isinstance(event, Ended)]


def test_a_batch_tells_once_how_it_ended() -> None:
    bench = Shelf()
    bench.batch("a", "b")
    bench.batch("a", "b")
    bench.batch("a", "c")
    bench.batch("a", request=changed(control=Control.BYPASS))
    bench.batch()
    with pytest.raises(NothingCached):
        bench.batch("d", request=changed(control=Control.ONLY))
    assert results(bench) == ["miss", "hit", "miss", "uncached", "nothing"]


def test_an_outage_is_no_miss() -> None:
    bench = Shelf(BrokenStore())
    bench.batch("a")
    assert results(bench) == ["uncached"]


def test_each_text_has_its_share_of_the_round_trips_time() -> None:
    now = [0.0]

    def timer() -> float:
        now[0] += 1
        return now[0]

    bench = Shelf(timer=timer)
    bench.batch(*map(str, range(PER_ROUND_TRIP)))
    looks = [event for event in bench.events if isinstance(event, Lookup)]
    assert sum(look.key_seconds for look in looks) == pytest.approx(1)


def test_a_batch_that_waits_for_nobody_loads_what_another_one_loads() -> None:
    bench = Shelf()
    loading, may_end = threading.Event(), threading.Event()

    def before(_: list[str]) -> None:
        if not loading.is_set():
            loading.set()
            assert may_end.wait()

    bench.before = before
    other = threading.Thread(target=bench.batch, args=("a",))
    other.start()
    assert loading.wait()
    load = bench.loader(["a"])
    (item,) = bench.cache.batches.batch(BATCH, [{"text": "a"}], load, alone=True)
    assert item.data == b"a"
    may_end.set()
    other.join()
    assert bench.sent == [["a"], ["a"]]
    (again,) = bench.cache.batches.batch(BATCH, [{"text": "a"}], load, alone=True)
    assert not again.billed, "a kept answer is kept for all"
