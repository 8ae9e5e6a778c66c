"""Stale answers: served during a refresh in the background, or instead of an error."""

import threading
from collections.abc import Iterator

import pytest

from cachecore.answer import Piece
from cachecore.errors import NothingCached
from cachecore.policy import Control, Rules, Switch, Traits
from tests.core.helpers import END, Bench, await_threads, request
from tests.shared_store import FakeSharedStore

LAGGING = Rules(ttl=100, stale_while_revalidate=50)
RESCUED = Rules(ttl=100, stale_if_error=50)
EXPIRED, GONE = 111, 161


class UpstreamFailed(Exception):
    """An error of an upstream."""


def failing() -> Iterator[Piece]:
    raise UpstreamFailed("it said: sk-secret")
    yield END


def await_refreshes() -> None:
    await_threads("cache-refresh")


def test_a_stale_answer_is_served_at_once_and_refreshed_in_the_background() -> None:
    bench = Bench()
    asked = request(rules=LAGGING)
    bench.ask(asked, "old")
    bench.clock.pass_by(EXPIRED)
    assert bench.text(asked, "new") == "old"
    await_refreshes()
    assert bench.text(asked, "x") == "new"
    assert bench.loads == 2
    assert bench.reasons == ["absent", "stale", "hit"]


def test_one_refresh_runs_for_any_number_of_stale_answers() -> None:
    bench = Bench()
    asked = request(rules=LAGGING)
    bench.ask(asked, "old")
    bench.clock.pass_by(EXPIRED)
    go = threading.Event()

    def load() -> Iterator[Piece]:
        bench.loads += 1
        assert go.wait()
        yield Piece("new")
        yield END

    served = [next(iter(bench.cache.stream(asked, load))).text for _ in range(5)]
    go.set()
    await_refreshes()
    assert served == ["old"] * 5
    assert bench.loads == 2


def test_one_refresh_runs_in_the_background_of_all_processes() -> None:
    store = FakeSharedStore()
    one, other = Bench(store), Bench(store)
    store._clock = other.clock = one.clock  # type: ignore[assignment]
    one.cache._clock = other.cache._clock = one.clock  # type: ignore[assignment]
    asked = request(rules=LAGGING)
    one.ask(asked, "old")
    one.clock.pass_by(EXPIRED)
    began, go = threading.Event(), threading.Event()

    def load() -> Iterator[Piece]:
        one.loads += 1
        began.set()
        assert go.wait()
        yield Piece("new")
        yield END

    first = [piece.text for piece in one.cache.stream(asked, load)]
    assert began.wait()
    second = [piece.text for piece in other.cache.stream(asked, load)]
    go.set()
    await_refreshes()
    assert (first, second) == (["old"], ["old"])
    assert one.loads == 2
    assert other.text(asked, "x") == "new"


def test_without_the_option_and_past_its_window_nothing_stale_is_served() -> None:
    for rules, passed in ((Rules(ttl=100), EXPIRED), (LAGGING, GONE)):
        bench = Bench()
        bench.ask(request(rules=rules), "old")
        bench.clock.pass_by(passed)
        assert bench.text(request(rules=rules), "new") == "new"


def test_a_load_that_cannot_outlive_its_call_does_not_run_in_the_background() -> None:
    bench = Bench()
    asked = request(rules=LAGGING)
    bench.ask(asked, "old")
    bench.clock.pass_by(EXPIRED)
    pieces = bench.cache.stream(asked, bench.loader("new"), outlives_call=False)
    assert "".join(piece.text for piece in pieces) == "new"


def test_an_invalidated_entry_is_never_served_stale() -> None:
    for rules in (LAGGING, RESCUED):
        bench = Bench()
        bench.ask(request(rules=rules), "dead")
        bench.clock.pass_by(EXPIRED)
        bench.cache.admin.invalidate(["*"])
        with pytest.raises(UpstreamFailed):
            list(bench.cache.stream(request(rules=rules), failing))


def test_an_entry_invalidated_while_the_upstream_fails_is_not_served() -> None:
    bench = Bench()
    bench.ask(request(rules=RESCUED), "dead")
    bench.clock.pass_by(EXPIRED)

    def load() -> Iterator[Piece]:
        bench.cache.admin.invalidate(["*"])
        yield from failing()

    with pytest.raises(UpstreamFailed):
        list(bench.cache.stream(request(rules=RESCUED), load))


def test_a_failing_upstream_is_stood_in_for_by_a_stale_answer() -> None:
    bench = Bench()
    asked = request(rules=RESCUED)
    bench.ask(asked, "old")
    bench.clock.pass_by(EXPIRED)
    (piece,) = bench.cache.stream(asked, failing)
    assert piece.text == "old"
    assert piece.usage is not None
    assert not piece.usage.billed
    bench.clock.pass_by(GONE - EXPIRED)
    with pytest.raises(UpstreamFailed):
        list(bench.cache.stream(asked, failing))


def test_an_error_that_is_no_outage_is_not_covered_up() -> None:
    bench = Bench()
    bench.ask(request(rules=RESCUED), "old")
    bench.clock.pass_by(EXPIRED)
    refused = request(rules=RESCUED, stale_may_replace=lambda _: False)
    with pytest.raises(UpstreamFailed):
        list(bench.cache.stream(refused, failing))


def test_after_a_part_was_shown_the_error_is_shown_too() -> None:
    bench = Bench()
    asked = request(rules=RESCUED)
    bench.ask(asked, "old")
    bench.clock.pass_by(EXPIRED)

    def load() -> Iterator[Piece]:
        yield Piece("a part")
        yield from failing()

    pieces = bench.cache.stream(asked, load)
    assert next(pieces).text == "a part"
    with pytest.raises(UpstreamFailed):
        next(pieces)


@pytest.mark.parametrize("control", [Control.REFRESH, Control.ONLY, Control.BYPASS])
def test_a_request_with_another_control_gets_nothing_stale(control: Control) -> None:
    rules = Rules(ttl=100, stale_while_revalidate=50, stale_if_error=50)
    bench = Bench()
    bench.ask(request(rules=rules), "old")
    bench.clock.pass_by(EXPIRED)
    with pytest.raises((UpstreamFailed, NothingCached)):
        list(bench.cache.stream(request(rules=rules, control=control), failing))


def test_a_signed_url_ends_stale_answers_too() -> None:
    bench = Bench()
    traits = Traits(ends_at=bench.clock.now + 120)
    asked = request(rules=LAGGING, traits=traits)
    bench.ask(asked, "old")
    bench.clock.pass_by(121)
    assert bench.text(request(rules=LAGGING), "new") == "new"


def test_a_namespace_switched_off_serves_nothing_stale() -> None:
    bench = Bench()
    bench.ask(request(rules=LAGGING), "old")
    bench.clock.pass_by(EXPIRED)
    bench.cache.admin.turn(Switch.OFF)
    assert bench.text(request(rules=LAGGING), "new") == "new"


def test_a_refresh_that_fails_leaves_the_stale_answer_and_no_secret_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench()
    asked = request(rules=LAGGING)
    bench.ask(asked, "old")
    bench.clock.pass_by(EXPIRED)
    assert [p.text for p in bench.cache.stream(asked, failing)] == ["old"]
    await_refreshes()
    assert "could not be refreshed: UpstreamFailed" in caplog.text
    assert "sk-secret" not in caplog.text
    assert bench.text(asked, "new") == "old"
