import threading

import pytest

from cachecore.answer import Piece
from cachecore.errors import FlightBroken, LeaderGone
from cachecore.flight import (
    CALL_IDLE_LIMIT,
    IDLE_LIMIT,
    MAX_BUFFER,
    Flight,
    FlightTable,
)
from tests.virtual_time import VirtualTime

STAMPS = {"t": "1"}


class RateLimited(Exception):
    """An error of an upstream."""


def join(table: FlightTable, key: str = "k", *, alone: bool = False, **stamps: str):
    return table.join(key, stamps or STAMPS, "payer", since=table.moment(), alone=alone)


def test_the_first_leads_and_the_others_follow() -> None:
    table = FlightTable()
    flight, leads = join(table)
    other, follows = join(table)
    assert (leads, follows) == (True, False)
    assert flight is other


def test_followers_get_every_piece_from_the_first_however_late_they_come() -> None:
    flight = Flight(STAMPS, "payer")
    got: list[str] = []
    first = threading.Event()

    def follow() -> None:
        for pieces in flight.follow("payer"):
            got.extend(piece.text for piece in pieces)
            first.set()

    flight.publish(Piece("a"))
    thread = threading.Thread(target=follow)
    thread.start()
    assert first.wait()
    flight.publish(Piece("b"))
    flight.complete()
    thread.join()
    late = [piece.text for pieces in flight.follow("payer") for piece in pieces]
    assert got == late == ["a", "b"]


def test_a_flight_under_other_stamps_is_not_joined() -> None:
    table = FlightTable()
    join(table, t="old")
    _, leads = join(table, t="new")
    assert leads


def test_a_refresh_joins_nothing_older_but_is_joined_by_the_next() -> None:
    table = FlightTable()
    old, _ = join(table)
    new, leads = join(table, alone=True)
    assert leads
    assert new is not old
    assert join(table) == (new, False)


def test_a_flight_that_left_does_not_take_its_successor_along() -> None:
    table = FlightTable()
    old, _ = join(table)
    new, _ = join(table, alone=True)
    table.leave("k", old)  # type: ignore[arg-type]
    assert join(table) == (new, False)


def test_a_caller_that_looked_before_a_completion_looks_again() -> None:
    table = FlightTable()
    since = table.moment()
    flight, _ = join(table)
    table.leave("k", flight)  # type: ignore[arg-type]
    assert table.join("k", STAMPS, "payer", since=since, alone=False) == (None, False)
    _, leads = join(table)
    assert leads


def test_followers_with_the_same_credential_share_the_leaders_error() -> None:
    flight = Flight(STAMPS, "payer")
    flight.publish(Piece("a"))
    flight.fail(RateLimited("429"))
    followed = flight.follow("payer")
    next(followed)
    with pytest.raises(RateLimited, match="429"):
        next(followed)


def test_a_follower_with_another_credential_takes_over_if_it_has_shown_nothing() -> (
    None
):
    flight = Flight(STAMPS, "payer")
    flight.fail(RateLimited("429"))
    with pytest.raises(LeaderGone):
        next(flight.follow("someone else"))


def test_a_follower_that_has_shown_a_part_never_takes_over() -> None:
    flight = Flight(STAMPS, "payer")
    flight.publish(Piece("a"))
    flight.fail(RateLimited("429"))
    followed = flight.follow("someone else")
    next(followed)
    with pytest.raises(FlightBroken):
        next(followed)


def test_a_leader_that_was_closed_leaves_its_followers_free_to_lead() -> None:
    flight = Flight(STAMPS, "payer")
    flight.fail(GeneratorExit())
    with pytest.raises(LeaderGone):
        next(flight.follow("payer"))


def test_a_complete_flight_can_no_longer_fail() -> None:
    flight = Flight(STAMPS, "payer")
    flight.publish(Piece("a"))
    flight.complete()
    flight.fail(RateLimited("too late"))
    assert list(flight.follow("x")) == [[Piece("a")]]


def test_only_so_many_landings_are_remembered() -> None:
    table = FlightTable()
    for number in range(1500):
        flight, _ = join(table, f"k{number}")
        table.leave(f"k{number}", flight)  # type: ignore[arg-type]
    assert table._flights == {}
    assert len(table._completions) == 1024


class Stubborn(Exception):
    """An exception that can't be copied: ``args`` differs from its constructor's."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(one + other)


def test_an_error_that_cannot_be_copied_is_shared_as_it_is() -> None:
    flight = Flight(STAMPS, "payer")
    flight.fail(Stubborn("a", "b"))
    with pytest.raises(Stubborn, match="ab"):
        next(flight.follow("payer"))


def test_a_leader_closed_by_the_garbage_collector_inside_the_table_does_not_deadlock() -> (
    None
):
    table = FlightTable()
    leading, _ = join(table, "abandoned")

    class ClosesItself:
        """As if the collector closed a generator while its thread holds the lock."""

        def __eq__(self, _: object) -> bool:
            table.leave("abandoned", leading)  # type: ignore[arg-type]
            return True

        __hash__ = None  # type: ignore[assignment]

    join(table, "k")
    done = threading.Thread(
        target=lambda: table.join("k", ClosesItself(), "p", since=0, alone=False)  # type: ignore[arg-type]
    )
    done.start()
    done.join()
    assert not done.is_alive()


def test_a_crowd_of_followers_gets_every_piece_and_each_wakes_the_next() -> None:
    flight = Flight(STAMPS, "payer")
    texts: list[str] = []

    def follow() -> None:
        got = [piece.text for pieces in flight.follow("payer") for piece in pieces]
        texts.append("".join(got))

    crowd = [threading.Thread(target=follow) for _ in range(30)]
    for thread in crowd:
        thread.start()
    for number in range(50):
        flight.publish(Piece(f"{number} "))
    flight.complete()
    for thread in crowd:
        thread.join()
    assert texts == ["".join(f"{number} " for number in range(50))] * 30


def test_a_flight_remembers_only_so_much_and_takes_nobody_in_after_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cachecore.flight.MAX_BUFFER", 10)
    monkeypatch.setattr("cachecore.flight._PIECE", 0)
    table = FlightTable()
    flight, _ = join(table)
    assert flight is not None
    slow = flight.follow("payer")
    for text in ("12345", "67890"):
        flight.publish(Piece(text))
    assert [piece.text for piece in next(slow)] == ["12345", "67890"]
    flight.publish(Piece("abcde"))
    assert flight.since(2) == [Piece("abcde")]
    _, leads = join(table)
    assert leads, "a new follower would have missed the beginning"
    for _ in range(3):
        flight.publish(Piece("x" * 10))
    with pytest.raises(FlightBroken, match="slower"):
        next(slow)


def test_followers_that_have_shown_nothing_leave_a_stalled_flight(
    now: VirtualTime,
) -> None:
    flight = Flight(STAMPS, "payer", timer=now)
    began = now()
    with pytest.raises(LeaderGone, match="no progress"):
        next(flight.follow("payer"))
    assert now() - began == IDLE_LIMIT


def test_a_process_that_was_stopped_gives_up_no_load(now: VirtualTime) -> None:
    flight = Flight(STAMPS, "payer", timer=now)
    got: list[Piece] = []
    follower = threading.Thread(
        target=lambda: got.extend(*flight.follow("payer")), daemon=True
    )
    follower.start()
    for _ in range(3):
        now.stop_process(1000.0)
    flight.publish(Piece("late"))
    flight.complete()
    follower.join()
    assert got == [Piece("late")]


def suspect(now: VirtualTime) -> Flight:
    """A flight whose caller may have left: a piece, and then no progress for 2 s."""
    flight = Flight(STAMPS, "payer", timer=now, idle=CALL_IDLE_LIMIT)
    flight.publish(Piece("old"))
    now.sleep(2)
    return flight


def test_a_new_follower_of_a_suspect_load_is_shown_nothing_yet(
    now: VirtualTime,
) -> None:
    with pytest.raises(LeaderGone):
        next(suspect(now).follow("payer"))


def test_a_suspect_load_that_makes_progress_is_followed_from_its_first_piece(
    now: VirtualTime,
) -> None:
    flight = suspect(now)
    got: list[str] = []

    def follow() -> None:
        for pieces in flight.follow("payer"):
            got.extend(piece.text for piece in pieces)

    thread = threading.Thread(target=follow)
    thread.start()
    now.sleep(1)
    assert got == []
    flight.publish(Piece("new"))
    flight.complete()
    thread.join()
    assert got == ["old", "new"]


def test_a_follower_that_was_shown_a_part_does_not_wait_for_ever(
    now: VirtualTime,
) -> None:
    flight = Flight(STAMPS, "payer", timer=now, idle=CALL_IDLE_LIMIT)
    flight.publish(Piece("old"))
    follower, began = flight.follow("payer"), now()
    assert next(follower) == [Piece("old")]
    with pytest.raises(FlightBroken, match="no progress"):
        next(follower)
    assert now() - began == 3 * CALL_IDLE_LIMIT


def test_a_load_that_may_have_lost_its_caller_is_left_sooner(now: VirtualTime) -> None:
    flight, began = Flight(STAMPS, "payer", timer=now, idle=CALL_IDLE_LIMIT), now()
    with pytest.raises(LeaderGone, match="no progress"):
        next(flight.follow("payer"))
    assert now() - began == CALL_IDLE_LIMIT


def test_pieces_without_anything_in_them_are_progress_and_nothing_shown() -> None:
    flight = Flight(STAMPS, "payer")
    flight.publish(Piece())
    flight.fail(RuntimeError("its caller left"))
    with pytest.raises(LeaderGone):
        next(flight.follow("another"))
    flight = Flight(STAMPS, "payer")
    for piece in (Piece(), Piece("a"), Piece(), Piece("b")):
        flight.publish(piece)
    flight.complete()
    assert list(flight.follow("payer")) == [[Piece("a"), Piece("b")]]


def test_a_caller_without_stamps_joins_a_recent_load() -> None:
    now = [0.0]
    table = FlightTable(timer=lambda: now[0])
    flight, leads = table.join("k", None, "payer", idle=60, most=2.0)
    assert leads
    now[0] = 2.0
    assert table.join("k", None, "payer", idle=60, most=2.0) == (flight, False)
    now[0] = 2.1
    other, leads = table.join("k", None, "payer", idle=60, most=2.0)
    assert leads
    assert other is not flight


def test_a_caller_with_stamps_joins_no_load_without_them() -> None:
    table = FlightTable()
    table.join("k", None, "payer", idle=60, most=2.0)
    _, leads = join(table)
    assert leads


def test_data_weighs_what_it_takes() -> None:
    flight = Flight(STAMPS, "payer")
    for number in range(5):
        flight.publish(Piece(data=["x" * (MAX_BUFFER // 4), number]))
    assert not flight.is_joinable
