import logging
from contextlib import suppress

import pytest

from cachecore.errors import StoreError
from cachecore.stores.breaker import FIRST_PAUSE, LONGEST_PAUSE, Breaker
from tests.core.helpers import FakeClock


def fail(breaker: Breaker) -> None:
    with pytest.raises(StoreError, match="down"), breaker.call():
        raise StoreError("Redis is down")


def succeed(breaker: Breaker) -> None:
    with breaker.call():
        pass


def refused(breaker: Breaker) -> bool:
    try:
        succeed(breaker)
    except StoreError:
        return True
    return False


def test_after_a_failure_nobody_is_let_through_for_a_while() -> None:
    clock = FakeClock()
    breaker = Breaker("redis", clock)
    fail(breaker)
    assert refused(breaker)
    clock.pass_by(FIRST_PAUSE)
    assert not refused(breaker)
    assert not breaker.is_open


def test_one_caller_tries_and_the_others_wait_for_its_verdict() -> None:
    clock = FakeClock()
    breaker = Breaker("redis", clock)
    fail(breaker)
    clock.pass_by(FIRST_PAUSE)
    with breaker.call():
        assert refused(breaker)
    assert not refused(breaker)


def test_the_pause_doubles_up_to_a_limit() -> None:
    clock = FakeClock()
    breaker = Breaker("redis", clock)
    fail(breaker)
    for pause in (1, 2, 4, 8, 15, 15):
        clock.pass_by(pause - 0.01)
        assert refused(breaker)
        clock.pass_by(0.01)
        fail(breaker)
    assert breaker._pause == LONGEST_PAUSE


def test_calls_under_way_when_it_opens_do_not_lengthen_the_pause() -> None:
    clock = FakeClock()
    breaker = Breaker("redis", clock)
    calls = [breaker.call() for _ in range(30)]
    for call in calls:
        call.__enter__()
    for call in calls:
        assert not call.__exit__(StoreError, StoreError("Redis is down"), None)
    clock.pass_by(FIRST_PAUSE)
    assert not refused(breaker)


def test_a_late_success_does_not_close_what_has_just_opened() -> None:
    breaker = Breaker("redis", FakeClock())
    with breaker.call():
        fail(breaker)
    assert refused(breaker)


def test_an_outage_is_logged_once_when_it_begins_and_once_when_it_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = FakeClock()
    breaker = Breaker("redis.example:6379", clock)
    with caplog.at_level(logging.INFO):
        fail(breaker)
        for _ in range(5):
            clock.pass_by(LONGEST_PAUSE)
            fail(breaker)
        clock.pass_by(LONGEST_PAUSE)
        succeed(breaker)
        succeed(breaker)
    assert [record.message for record in caplog.records] == [
        "the cache at redis.example:6379 is unavailable, answers come from upstream: "
        "Redis is down",
        "the cache at redis.example:6379 is available again",
    ]


def test_an_error_that_is_not_the_stores_opens_nothing() -> None:
    breaker = Breaker("redis")
    with pytest.raises(KeyError), breaker.call():
        raise KeyError
    assert not breaker.is_open


def test_whoever_watches_hears_when_it_opens_and_when_it_closes() -> None:
    clock, told = FakeClock(), []
    breaker = Breaker("redis", clock, told.append)
    for _ in range(2):
        with suppress(StoreError), breaker.call():
            raise StoreError("gone")
    clock.pass_by(60)
    with breaker.call():
        pass
    with breaker.call():
        pass
    assert told == [True, False]
