"""The cache: the order of its steps, and the answers that a caller receives."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from cachecore.answer import Piece, Usage
from cachecore.errors import FlightBroken, NothingCached, StoreError
from cachecore.events import Ended, Lookup, Missed
from cachecore.keys import Keyspace
from cachecore.policy import Control, Refusal, Rules, Scope, Switch, Traits
from cachecore.request import app_tags
from cachecore.stores.memory import MemoryStore
from tests.core.helpers import END, Bench, BrokenStore, FailingFrom, request


class UpstreamFailed(Exception):
    """An error of an upstream."""


# --- hits and misses ----------------------------------------------------------


def test_a_repeated_question_is_answered_without_the_upstream() -> None:
    bench = Bench()
    cold = bench.ask(request(), "hello ", "world")
    (warm,) = bench.ask(request(), "something else")
    assert [piece.text for piece in cold] == ["hello ", "world", ""]
    assert warm == Piece("hello world", (), "stop", Usage(7, 2, billed=False))
    assert bench.loads == 1
    assert bench.reasons == ["absent", "hit"]


def test_another_question_is_not_answered_by_the_first() -> None:
    bench = Bench()
    bench.ask(request("a"), "A")
    assert bench.text(request("b"), "B") == "B"


def test_a_miss_passes_each_piece_on_before_the_next_is_made() -> None:
    bench = Bench()
    made: list[str] = []

    def load() -> Iterator[Piece]:
        for text in ("a", "b"):
            made.append(text)
            yield Piece(text)
        yield END

    pieces = bench.cache.stream(request(), load)
    assert made == []
    assert next(pieces).text == "a"
    assert made == ["a"]


def test_an_entry_expires_at_the_end_of_its_life() -> None:
    bench = Bench()
    bench.ask(request(rules=Rules(ttl=100)))
    bench.clock.pass_by(89)
    bench.ask(request(rules=Rules(ttl=100)))
    bench.clock.pass_by(22)
    bench.ask(request(rules=Rules(ttl=100)))
    assert bench.loads == 2


def test_a_hit_does_not_extend_a_life() -> None:
    bench = Bench()
    for _ in range(12):
        bench.ask(request(rules=Rules(ttl=100)))
        bench.clock.pass_by(10)
    assert bench.loads == 2


def test_no_caller_gets_an_answer_older_than_it_asks_for() -> None:
    bench = Bench()
    bench.ask(request(ttl=10_000), "kept for long")
    bench.clock.pass_by(200)
    assert bench.text(request(ttl=100), "young") == "young"
    assert bench.reasons[-1] == "expired"
    assert bench.text(request(ttl=100), "x") == "young", "kept for this caller"
    assert bench.text(request(ttl=10_000), "x") == "young"


def test_a_requests_own_lifetime_wins_over_the_rules() -> None:
    bench = Bench()
    bench.ask(request(ttl=10))
    bench.clock.pass_by(12)
    bench.ask(request(ttl=10))
    assert bench.loads == 2


def test_the_cost_of_the_load_is_what_the_hit_saved() -> None:
    from cachecore.events import Lookup
    from cachecore.policy import Price

    bench = Bench()
    rules = Rules(price=Price(1, 2, per=1, currency="EUR"))
    bench.ask(request(rules=rules))
    bench.ask(request(rules=rules))
    hit = [event for event in bench.events if isinstance(event, Lookup)][-1]
    assert hit.saved is not None
    assert (hit.saved.price, hit.saved.currency) == (7 * 1 + 2 * 2, "EUR")


# --- kept and refused answers -------------------------------------------------


@pytest.mark.parametrize("finish", ["length", "content_filter", None, "error"])
def test_an_answer_without_a_proper_end_is_served_and_not_kept(
    finish: str | None,
) -> None:
    bench = Bench()
    end = Piece(finish_reason=finish)
    assert bench.ask(request(), "half", end=end)[0].text == "half"
    bench.ask(request(), "half", end=end)
    assert bench.loads == 2
    assert bench.refusals == ["finish_reason"] * 2


def test_an_empty_answer_is_not_kept() -> None:
    bench = Bench()
    bench.ask(request(), "  \n")
    assert bench.refusals == ["empty"]


def test_a_stream_closed_early_is_not_kept() -> None:
    bench = Bench()
    pieces = bench.cache.stream(request(), bench.loader("a", "b"))
    next(pieces)
    pieces.close()  # type: ignore[attr-defined]
    bench.ask(request())
    assert bench.loads == 2


def test_a_stream_that_fails_is_not_kept_and_its_error_passes_unchanged() -> None:
    bench = Bench()
    error = UpstreamFailed("429")

    def load() -> Iterator[Piece]:
        yield Piece("half")
        raise error

    pieces = bench.cache.stream(request(), load)
    assert next(pieces).text == "half"
    with pytest.raises(UpstreamFailed) as raised:
        next(pieces)
    assert raised.value is error
    assert bench.text(request(), "whole") == "whole"


def test_an_answer_over_the_limit_is_served_whole_and_not_kept() -> None:
    bench = Bench()
    rules = Rules(max_entry_bytes=1024)
    assert bench.text(request(rules=rules), "x" * 2000, "y") == "x" * 2000 + "y"
    assert bench.refusals == ["too_large"]


def test_an_answer_that_its_caller_does_not_accept_is_not_kept() -> None:
    bench = Bench()
    bench.ask(request(accept=lambda answer: answer.text == "valid"), "invalid")
    bench.ask(request(accept=lambda answer: answer.text == "valid"), "valid")
    bench.ask(request(accept=lambda answer: answer.text == "valid"))
    assert bench.loads == 2
    assert bench.refusals == ["invalid_output"]


def test_an_answer_whose_judge_fails_is_served_and_not_kept(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def judge(_: object) -> bool:
        raise OverflowError("the answer's own words")

    bench = Bench()
    assert bench.text(request(accept=judge), "answer") == "answer"
    assert bench.refusals == ["invalid_output"]
    assert "own words" not in caplog.text


def test_a_value_that_json_would_change_is_not_kept() -> None:
    bench = Bench()
    look = bench.cache.find(request())
    refusal = bench.cache.keep(request(), look.key, {"t": "1"}, {"a": float("nan")})
    assert refusal is Refusal.INVALID_OUTPUT


def test_the_limit_is_on_what_comes_out_not_on_what_it_deflates_to() -> None:
    bench = Bench()
    look = bench.cache.find(request())
    rules = Rules(max_entry_bytes=10_000)
    big = request(rules=rules)
    refusal = bench.cache.keep(big, look.key, {"t": "1"}, "x" * 20_000)
    assert refusal is Refusal.TOO_LARGE


def test_a_value_whose_end_has_passed_is_not_kept_and_that_is_the_reason() -> None:
    bench = Bench()
    late = request(traits=Traits(ends_at=bench.clock()))
    look = bench.cache.find(late)
    refusal = bench.cache.keep(late, look.key, {"t": "1"}, "signed by a URL")
    assert refusal is Refusal.ENDED
    assert bench.refusals == ["ended"]


def test_text_that_json_cannot_carry_is_served_and_not_kept() -> None:
    bench = Bench()
    assert bench.text(request(), "\ud83d") == "\ud83d"
    assert bench.refusals == ["invalid_output"]


def test_an_answer_asked_for_earlier_does_not_replace_one_asked_for_later() -> None:
    bench = Bench()
    one = bench.cache.stream(request(), bench.loader("one", "one"))
    next(one)
    # A refresh joins no older load, so a second load of the key runs beside the first.
    two = bench.cache.stream(
        request(control=Control.REFRESH), bench.loader("two", "two")
    )
    next(two)
    assert "".join(piece.text for piece in two) == "two"
    assert "".join(piece.text for piece in one) == "one"
    assert bench.text(request()) == "twotwo"


# --- controls -----------------------------------------------------------------


def test_bypass_neither_reads_nor_keeps() -> None:
    bench = Bench()
    bench.ask(request(), "kept")
    assert bench.text(request(control=Control.BYPASS), "fresh") == "fresh"
    assert bench.text(request()) == "kept"
    assert bench.reasons == ["absent", "bypass_asked", "hit"]


def test_refresh_asks_the_upstream_and_replaces_what_is_kept() -> None:
    bench = Bench()
    bench.ask(request(), "old")
    assert bench.text(request(control=Control.REFRESH), "new") == "new"
    assert bench.text(request()) == "new"


def test_only_answers_from_the_cache_or_not_at_all() -> None:
    bench = Bench()
    with pytest.raises(NothingCached, match="absent"):
        bench.ask(request(control=Control.ONLY))
    bench.ask(request(), "kept")
    assert bench.text(request(control=Control.ONLY)) == "kept"
    assert bench.loads == 1


def test_always_caches_tool_calls() -> None:
    bench = Bench()
    call = {"id": "1", "type": "function", "name": "f", "arguments": "{}"}
    end = Piece(tool_calls=(call,), finish_reason="tool_calls", usage=Usage(1, 1))
    ask = request(control=Control.ALWAYS, traits=Traits(tools=True))
    bench.ask(ask, "", end=end)
    (hit,) = bench.ask(ask)
    assert hit.tool_calls == (call,)
    assert hit.finish_reason == "tool_calls"


# --- invalidation and the switch ----------------------------------------------


@pytest.mark.parametrize("tag", ["*", "kind:llm", "scope:shared", "model:m", "tag:faq"])
def test_an_invalidation_kills_what_was_kept_under_the_tag(tag: str) -> None:
    bench = Bench()
    ask = request(tags=("faq",), belongs=("model:m",))
    bench.ask(ask)
    bench.cache.admin.invalidate([tag])
    bench.ask(ask)
    assert bench.loads == 2
    assert bench.reasons == ["absent", "invalidated"]


def test_an_invalidation_leaves_other_tags_alone() -> None:
    bench = Bench()
    bench.ask(request(tags=("faq",)))
    bench.cache.admin.invalidate(["tag:other", "model:other"])
    bench.ask(request(tags=("faq",)))
    assert bench.loads == 1


def test_invalidating_an_app_takes_the_shared_answers_with_it() -> None:
    bench = Bench()
    bench.ask(request())
    bench.cache.admin.invalidate(app_tags("the app"))
    bench.ask(request())
    assert bench.loads == 2


def test_an_invalidation_while_the_answer_is_made_wins() -> None:
    bench = Bench()
    pieces = bench.cache.stream(request(), bench.loader("old", "old"))
    next(pieces)
    bench.cache.admin.invalidate(["*"])
    list(pieces)
    assert bench.text(request(), "new") == "new"


def test_a_caller_after_an_invalidation_does_not_join_the_older_load() -> None:
    bench = Bench()
    old = bench.cache.stream(request(), bench.loader("old"))
    next(old)
    bench.cache.admin.invalidate(["*"])
    assert bench.text(request(), "new") == "new"
    list(old)


def test_evicted_stamps_cost_hits_and_never_bring_an_entry_back() -> None:
    bench = Bench()
    bench.ask(request(), "old")
    bench.store._hashes.clear()
    assert bench.text(request(), "new") == "new"
    assert bench.reasons == ["absent", "invalidated"]


def test_the_switch_stops_the_cache_for_everyone_at_the_next_request() -> None:
    bench = Bench()
    bench.ask(request(), "kept")
    bench.cache.admin.turn(Switch.OFF)
    assert bench.text(request(), "fresh") == "fresh"
    bench.cache.admin.turn(Switch.ON)
    assert bench.text(request()) == "kept"
    assert bench.reasons == ["absent", "switched_off", "hit"]


def test_read_only_serves_what_is_there_and_keeps_nothing_new() -> None:
    bench = Bench()
    bench.ask(request("a"), "kept")
    bench.cache.admin.turn(Switch.READ_ONLY)
    assert bench.text(request("a")) == "kept"
    bench.ask(request("b"))
    bench.ask(request("b"))
    assert bench.loads == 3


# --- isolation ----------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [
        {"keyspace": Keyspace("other")},
        {"keyspace": Keyspace("test", b"k" * 32), "cipher_key": b"c" * 32},
    ],
    ids=["another namespace", "another secret"],
)
def test_a_tenant_never_sees_another_tenants_answer(other: dict[str, object]) -> None:
    store = MemoryStore()
    one, two = Bench(store), Bench(store, **other)
    one.ask(request(), "one's own")
    assert two.text(request(), "two's own") == "two's own"


@pytest.mark.parametrize("scope", [Scope.APP, Scope.USER])
def test_a_scope_shares_within_one_id_only(scope: Scope) -> None:
    bench = Bench()

    def ask(who: str, text: str) -> str:
        return bench.text(
            request(rules=Rules(scope=scope), traits=Traits(scope_id=who)), text
        )

    assert [ask("a", "1"), ask("b", "2"), ask("a", "3")] == ["1", "2", "1"]


def test_a_scope_without_an_id_is_not_cached() -> None:
    bench = Bench()
    for _ in range(2):
        bench.ask(request(rules=Rules(scope=Scope.USER)))
    assert bench.loads == 2
    assert bench.reasons == ["no_scope_id"] * 2


def test_a_shared_answer_is_not_an_apps_answer() -> None:
    bench = Bench()
    bench.ask(request(traits=Traits(scope_id="a")), "shared")
    ask = request(rules=Rules(scope=Scope.APP), traits=Traits(scope_id="a"))
    assert bench.text(ask, "the app's") == "the app's"


# --- a store that fails -------------------------------------------------------


def test_a_broken_store_costs_one_try_and_no_answer() -> None:
    store = BrokenStore()
    bench = Bench(store)
    assert bench.text(request(), "answer") == "answer"
    assert store.asked == 1
    assert bench.reasons == ["cache_unavailable"]


@pytest.mark.parametrize("method", ["look_up", "settle", "claim", "commit"])
def test_after_its_first_failure_a_request_leaves_the_store_alone(method: str) -> None:
    store = FailingFrom(MemoryStore(), method)
    bench = Bench(store)
    assert bench.text(request(), "answer") == "answer"
    assert store.calls.count(method) == 1
    assert store.calls[-1] == method


def test_after_garbage_that_cannot_be_deleted_the_store_is_not_asked_again() -> None:
    memory = MemoryStore()
    key = Bench(memory).cache.find(request()).key
    memory.keep(key, b"garbage", 60)
    store = FailingFrom(memory, "delete")
    assert Bench(store).text(request(), "answer") == "answer"
    assert store.calls[-1] == "delete"


def test_garbage_under_a_key_is_a_miss_and_is_deleted() -> None:
    bench = Bench()
    key = bench.cache.find(request()).key
    bench.store.keep(key, b"garbage", 60)
    assert bench.text(request(), "answer") == "answer"
    assert bench.text(request()) == "answer"
    assert bench.reasons[0] == "corrupt"


def test_a_value_that_is_no_answer_is_a_miss() -> None:
    bench = Bench()
    look = bench.cache.find(request())
    stamps = bench.cache.settle(look)
    assert stamps is not None
    bench.cache.keep(request(), look.key, stamps, {"not": "an answer"})
    assert bench.text(request(), "answer") == "answer"


def test_an_operator_is_shown_that_an_invalidation_failed() -> None:
    bench = Bench(BrokenStore())
    with pytest.raises(StoreError):
        bench.cache.admin.invalidate(["*"])


# --- concurrent callers -------------------------------------------------------


class SlowUpstream:
    """An upstream that yields a piece each time that a test releases it."""

    def __init__(self, *texts: str, error: Exception | None = None) -> None:
        self._texts, self._error = texts, error
        self.go = threading.Semaphore(0)
        self.started = threading.Event()
        self.calls = 0

    def __call__(self) -> Iterator[Piece]:
        self.calls += 1
        self.started.set()
        for text in self._texts:
            assert self.go.acquire(timeout=5)
            yield Piece(text)
        assert self.go.acquire(timeout=5)
        if self._error:
            raise self._error
        yield END


def crowd(
    bench: Bench, upstream: SlowUpstream, size: int
) -> tuple[list[str], list[Exception]]:
    answers: list[str] = []
    errors: list[Exception] = []

    def ask() -> None:
        try:
            pieces = bench.cache.stream(request(credential="payer"), upstream)
            answers.append("".join(piece.text for piece in pieces))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=ask) for _ in range(size)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        upstream.go.release()
    for thread in threads:
        thread.join()
    return answers, errors


def test_equal_requests_in_flight_make_one_upstream_call() -> None:
    bench, upstream = Bench(), SlowUpstream("a", "b")
    answers, errors = crowd(bench, upstream, 20)
    assert answers == ["ab"] * 20
    assert errors == []
    assert upstream.calls == 1


def test_followers_share_the_leaders_error_and_nobody_retries() -> None:
    bench = Bench()
    upstream = SlowUpstream("a", "b", error=UpstreamFailed("503"))
    leading = bench.cache.stream(request(credential="payer"), upstream)
    upstream.go.release()
    assert next(leading).text == "a"
    followed = bench.cache.stream(
        request(credential="payer"), bench.loader("never asked")
    )
    assert next(followed).text == "a"
    upstream.go.release(2)
    for pieces in (leading, followed):
        with pytest.raises(UpstreamFailed, match="503"):
            list(pieces)
    assert bench.loads == 0
    assert bench.cache._flights._flights == {}


def test_a_follower_takes_over_from_a_leader_that_left_before_the_first_piece() -> None:
    bench = Bench()
    look = bench.cache.find(request())
    stamps = bench.cache.settle(look)
    assert stamps is not None
    table = bench.cache._flights
    flight, _ = table.join(look.key, stamps, "", since=table.moment(), alone=False)
    assert flight is not None
    answers: list[str] = []
    follower = threading.Thread(
        target=lambda: answers.append(bench.text(request(), "own"))
    )
    follower.start()
    time.sleep(0)  # until the follower waits
    table.leave(look.key, flight)
    flight.fail(GeneratorExit())
    follower.join()
    assert answers == ["own"]


def test_two_answers_are_never_spliced() -> None:
    bench = Bench()
    leading = bench.cache.stream(request(), bench.loader("one ", "two"))
    assert next(leading).text == "one "
    followed = bench.cache.stream(request(), bench.loader("another answer"))
    assert next(followed).text == "one "
    leading.close()  # type: ignore[attr-defined]
    with pytest.raises(FlightBroken):
        next(followed)


def test_a_follower_pays_nothing() -> None:
    bench = Bench()
    leading = bench.cache.stream(request(), bench.loader("a"))
    next(leading)
    followed = bench.cache.stream(request(), bench.loader("b"))
    next(followed)
    assert [piece.usage for piece in leading] == [Usage(7, 2)]
    assert [piece.usage for piece in followed] == [Usage(7, 2, billed=False)]


def test_a_caller_that_just_missed_a_flight_finds_its_entry() -> None:
    bench = Bench()
    store, table = bench.store, bench.cache._flights
    honest = store.look_up

    def look_up_just_before_another_lands(*args: object):
        found = honest(*args)
        store.look_up = honest
        bench.ask(request(), "landed")
        return found

    store.look_up = look_up_just_before_another_lands
    assert bench.text(request(), "a second load") == "landed"
    assert bench.loads == 1
    assert table._flights == {}


@pytest.mark.parametrize(("age", "loads"), [(1.9, 1), (2.1, 2)])
def test_without_a_store_a_load_that_has_just_begun_is_joined(
    age: float, loads: int
) -> None:
    now = [0.0]
    bench = Bench(BrokenStore(), monotonic=lambda: now[0])
    leading = bench.cache.stream(request(), bench.loader("one ", "load"))
    assert next(leading).text == "one "
    now[0] = age
    following = bench.cache.stream(request(), bench.loader("one ", "load"))
    assert next(following).text == "one "
    texts = ["".join(piece.text for piece in rest) for rest in (leading, following)]
    assert texts == ["load", "load"]
    assert bench.loads == loads
    assert set(bench.refusals) == {"cache_unavailable"}


def test_without_a_store_callers_are_parted_by_what_parts_their_keys() -> None:
    bench = Bench(BrokenStore())
    rules = Rules(scope=Scope.USER)
    one = request(rules=rules, traits=Traits(scope_id="one"))
    other = request(rules=rules, traits=Traits(scope_id="other"))
    leading = bench.cache.stream(one, bench.loader("mine"))
    next(leading)
    assert bench.text(other, "theirs") == "theirs"


def test_without_a_store_joining_can_be_switched_off() -> None:
    bench = Bench(BrokenStore())
    alone = request(rules=Rules(join_without_store=0))
    leading = bench.cache.stream(alone, bench.loader("mine"))
    next(leading)
    assert bench.text(alone, "my own") == "my own"


# --- values -------------------------------------------------------------------


@pytest.mark.parametrize("value", ["text", {"a": [1, 2.5, None]}, [1, 2], 0, False])
def test_a_value_comes_back_typed_as_it_was(value: object) -> None:
    bench = Bench()
    look = bench.cache.find(request())
    stamps = bench.cache.settle(look)
    assert stamps is not None
    assert bench.cache.keep(request(), look.key, stamps, value) is None
    found = bench.cache.find(request()).entry
    assert found is not None
    assert found.payload == value
    assert type(found.payload) is type(value)


def test_a_request_without_a_canonical_form_bypasses_the_cache() -> None:
    bench = Bench()
    assert bench.text(request(form={"x": float("nan")}), "answer") == "answer"
    assert bench.reasons == ["unkeyable"]


def test_an_answer_that_others_would_not_wait_for_is_kept_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A slow model with steady callers must not keep the cache empty for ever."""
    monkeypatch.setattr("cachecore.cache.CALL_IDLE_LIMIT", 0.0)
    monkeypatch.setattr("cachecore.flight._LOOK", 0.001)
    bench = Bench()
    begun, go, last = threading.Event(), threading.Event(), threading.Event()

    def slow() -> Iterator[Piece]:
        begun.set()
        go.wait()
        yield from bench.loader("first")()

    def slower() -> Iterator[Piece]:
        go.set()
        last.wait()
        yield from bench.loader("second")()

    def ask(load: Any) -> None:
        for _ in bench.cache.stream(request(), load, outlives_call=False):
            pass

    leader = threading.Thread(target=ask, args=(slow,))
    leader.start()
    assert begun.wait()
    other = threading.Thread(target=ask, args=(slower,))
    other.start()
    leader.join()
    assert bench.text(request()) == "first"
    last.set()
    other.join()
    assert bench.text(request()) == "second"


def ended(bench: Bench) -> list[Ended]:
    return [event for event in bench.events if isinstance(event, Ended)]


def test_every_request_tells_how_it_ended() -> None:
    bench = Bench()
    bench.ask(request())
    bench.ask(request())
    bench.ask(request(control=Control.BYPASS))
    assert [e.result.value for e in ended(bench)] == ["miss", "hit", "uncached"]


def test_a_request_that_was_left_and_one_that_failed_report_it() -> None:
    bench = Bench()
    pieces = bench.cache.stream(request(), bench.loader("a", "b"))
    next(pieces)
    pieces.close()

    def load():
        yield Piece(text="a")
        raise ConnectionError

    with pytest.raises(ConnectionError):
        list(bench.cache.stream(request("other"), load))
    assert [e.result.value for e in ended(bench)] == ["left", "failed"]


def test_a_miss_tells_digests_of_its_parts_and_a_hit_does_not() -> None:
    bench = Bench()
    asked = request(asked=lambda: "q", parts=lambda: {"system": "secret words"})
    bench.ask(asked)
    bench.ask(asked)
    (miss,) = [event for event in bench.events if isinstance(event, Missed)]
    assert set(miss.parts) == {"system", "question", "context"}
    assert "secret" not in str(miss)
    looks = [event for event in bench.events if isinstance(event, Lookup)]
    assert [look.short_key for look in looks] == [miss.short_key] * 2


def test_processes_without_a_secret_have_digests_of_their_own() -> None:
    asked = request(asked=lambda: "q")
    one, other = Bench(), Bench()
    one.ask(asked)
    other.ask(asked)
    emitted = [
        event.parts["question"]
        for bench in (one, other)
        for event in bench.events
        if isinstance(event, Missed)
    ]
    assert emitted[0] != emitted[1]


def test_a_miss_under_only_is_no_failure() -> None:
    bench = Bench()
    with pytest.raises(NothingCached):
        bench.ask(request(control=Control.ONLY))
    assert [e.result.value for e in ended(bench)] == ["nothing"]


def test_an_invalidation_tells_tags_that_can_be_written() -> None:
    bench = Bench()
    bench.cache.admin.invalidate(["half \ud83d", "x" * 5000, *map(str, range(100))])
    (emitted,) = bench.events
    assert len(emitted.tags) == 20
    assert all(len(tag) <= 120 and tag.encode() for tag in emitted.tags)


def test_a_tool_call_is_no_answer_to_keep_unless_somebody_says_so() -> None:
    call = {"id": "a", "type": "function", "name": "f", "arguments": "{}"}
    end = Piece(tool_calls=(call,), finish_reason="tool_calls")
    for traits, loads in ((Traits(), 2), (Traits(calls_are_data=True), 1)):
        bench = Bench()
        for _ in range(2):
            bench.ask(request(traits=traits), end=end)
        assert bench.loads == loads


def test_a_clock_that_jumps_costs_hits_and_no_answer() -> None:
    bench = Bench()
    bench.ask(request(), "first")
    bench.clock.pass_by(-3 * 3600)
    assert bench.text(request(), "never asked") == "first", "the clock runs behind"
    bench.clock.pass_by(40 * 86400)
    assert bench.text(request(), "second") == "second", "the time of the first is over"
    bench.clock.pass_by(-20 * 86400)
    assert bench.text(request(), "never asked") == "second", "kept at a later time"
    bench.clock.pass_by(-20 * 86400)
    assert bench.text(request(), "third") in ("second", "third"), (
        "too far to be believed"
    )


def test_a_clock_that_jumps_while_an_answer_is_made_costs_no_answer() -> None:
    for seconds in (-86400.0, 86400.0):
        bench = Bench()

        def load() -> Iterator[Piece]:
            yield Piece("a")
            bench.clock.pass_by(seconds)  # noqa: B023 - run before the next turn
            yield Piece("b")
            yield END

        pieces = list(bench.cache.stream(request(), load))
        assert "".join(piece.text for piece in pieces) == "ab"
        assert bench.text(request(), "never asked") == "ab"
