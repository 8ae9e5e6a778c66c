"""A late first token: a stale answer is served; the load goes on in the background."""

import threading
from collections.abc import Iterator

import pytest

from cachecore.answer import Piece
from cachecore.cache import MAX_REFRESHES
from cachecore.events import Ended, Lookup
from cachecore.policy import Control, Rules
from tests.core.helpers import END, Bench, request
from tests.core.test_cache_stale import (
    EXPIRED,
    GONE,
    UpstreamFailed,
    await_refreshes,
    failing,
)

# One budget is over before any upstream can answer, the other is never over.
SOON, LONG = 1e-9, 30.0


def rules(budget: float) -> Rules:
    return Rules(ttl=100, stale_if_error=50, first_token_budget=budget)


class Slow:
    """An upstream that sends nothing before ``go``."""

    def __init__(self, *pieces: str) -> None:
        self.pieces, self.calls = pieces, 0
        self.go, self.rest = threading.Event(), threading.Event()

    def __call__(self) -> Iterator[Piece]:
        self.calls += 1
        assert self.go.wait()
        first, *others = self.pieces
        yield Piece(first)
        assert self.rest.wait()
        for text in others:
            yield Piece(text)
        yield END


def bench_with_an_old_answer(asked: object) -> Bench:
    bench = Bench()
    bench.ask(asked, "old")  # type: ignore[arg-type]
    bench.clock.pass_by(EXPIRED)
    return bench


def text(pieces: Iterator[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


def test_a_stale_answer_replaces_a_late_one_which_is_kept() -> None:
    asked, slow = request(rules=rules(SOON)), Slow("new")
    bench = bench_with_an_old_answer(asked)
    assert text(bench.cache.stream(asked, slow)) == "old"
    assert bench.reasons == ["absent", "late"]
    slow.go.set()
    slow.rest.set()
    await_refreshes()
    assert bench.text(asked, "x") == "new"
    assert slow.calls == 1


def test_no_caller_gets_a_late_answer_twice_for_one_load() -> None:
    asked, slow = request(rules=rules(SOON)), Slow("new")
    bench = bench_with_an_old_answer(asked)
    served = [text(bench.cache.stream(asked, slow)) for _ in range(3)]
    slow.go.set()
    slow.rest.set()
    await_refreshes()
    assert served == ["old"] * 3
    assert slow.calls == 1


def test_a_caller_that_joins_a_load_in_time_pays_nothing() -> None:
    asked, slow = request(rules=rules(LONG)), Slow("new ", "words")
    bench = bench_with_an_old_answer(asked)
    slow.go.set()
    first = bench.cache.stream(asked, slow)
    other = bench.cache.stream(asked, slow)
    assert next(first).text == next(other).text == "new "
    slow.rest.set()
    (paid,) = (piece.usage.billed for piece in first if piece.usage)
    (shared,) = (piece.usage.billed for piece in other if piece.usage)
    assert (paid, shared, slow.calls) == (True, False, 1)
    ended = [event.result for event in bench.events if isinstance(event, Ended)]
    assert ended[1:] == ["miss", "shared"]


def test_an_answer_in_time_is_streamed_and_its_caller_pays() -> None:
    asked, slow = request(rules=rules(LONG)), Slow("new ", "words")
    bench = bench_with_an_old_answer(asked)
    slow.go.set()
    pieces = bench.cache.stream(asked, slow)
    assert next(pieces).text == "new "  # before the rest has arrived
    slow.rest.set()
    rest = list(pieces)
    assert text(iter(rest)) == "words"
    (usage,) = (piece.usage for piece in rest if piece.usage)
    assert usage.billed
    assert bench.reasons == ["absent", "expired"]
    assert bench.text(asked, "x") == "new words"


def test_nothing_is_spliced_where_the_rest_is_late() -> None:
    asked, slow = request(rules=rules(SOON)), Slow("new ", "words")
    bench = bench_with_an_old_answer(asked)
    slow.go.set()
    gathered = threading.Timer(0, slow.rest.set)
    gathered.start()
    assert text(bench.cache.stream(asked, slow)) in ("new words", "old")
    gathered.join()
    await_refreshes()


@pytest.mark.parametrize("budget", [SOON, LONG])
def test_an_upstream_that_fails_meanwhile_is_stood_in_for(budget: float) -> None:
    asked = request(rules=rules(budget))
    bench = bench_with_an_old_answer(asked)
    assert text(bench.cache.stream(asked, failing)) == "old"


@pytest.mark.parametrize(
    ("control", "outlives_call"), [(Control.REFRESH, True), (Control.DEFAULT, False)]
)
def test_a_refresh_and_a_call_without_background_wait(
    control: Control, outlives_call: bool
) -> None:
    asked = request(rules=rules(SOON))
    bench = bench_with_an_old_answer(asked)
    asked, slow = request(rules=rules(SOON), control=control), Slow("new")
    slow.rest.set()
    slow.go.set()
    assert text(bench.cache.stream(asked, slow, outlives_call=outlives_call)) == "new"


def test_an_answer_past_its_window_is_not_served() -> None:
    asked = request(rules=rules(SOON))
    bench = bench_with_an_old_answer(asked)
    bench.clock.pass_by(GONE)
    slow = Slow("new")
    slow.rest.set()
    slow.go.set()
    assert text(bench.cache.stream(asked, slow)) == "new"


def test_a_stale_answer_instead_of_a_late_one_saves_no_money() -> None:
    asked, slow = request(rules=rules(SOON)), Slow("new")
    bench = bench_with_an_old_answer(asked)
    text(bench.cache.stream(asked, slow))
    looked = [event for event in bench.events if isinstance(event, Lookup)]
    assert [(look.reason, look.saved) for look in looked[1:]] == [("late", None)]
    slow.go.set()
    slow.rest.set()
    await_refreshes()


def test_an_upstream_that_fails_after_the_budget_fails_nobody() -> None:
    asked, go = request(rules=rules(SOON)), threading.Event()

    def load() -> Iterator[Piece]:
        assert go.wait()
        raise UpstreamFailed("late, too")
        yield END

    bench = bench_with_an_old_answer(asked)
    assert text(bench.cache.stream(asked, load)) == "old"
    go.set()
    await_refreshes()


def test_of_many_that_hang_a_few_are_loaded_and_all_are_answered() -> None:
    bench, slow = Bench(), Slow("new")
    many = [
        request(form={"question": str(number)}, rules=rules(SOON))
        for number in range(MAX_REFRESHES + 10)
    ]
    for asked in many:
        bench.ask(asked, "old")
    bench.clock.pass_by(EXPIRED)
    assert [text(bench.cache.stream(asked, slow)) for asked in many] == ["old"] * len(
        many
    )
    slow.go.set()
    slow.rest.set()
    await_refreshes()
    assert slow.calls == MAX_REFRESHES
