import logging
import threading
from contextlib import suppress

import pytest

from cachecore.errors import NotAsked, StoreError, StoreTimeout
from cachecore.stores.breaker import PROBE_EVERY, TIMEOUTS, Breaker
from tests.core.helpers import FakeClock, await_threads


def fail(breaker: Breaker, error: StoreError | None = None) -> None:
    with pytest.raises(StoreError, match="down"), breaker.call():
        raise error or StoreError("Redis is down")


def time_out(breaker: Breaker) -> None:
    fail(breaker, StoreTimeout("Redis is down or slow"))


def succeed(breaker: Breaker) -> None:
    with breaker.call():
        pass


def refused(breaker: Breaker) -> bool:
    try:
        succeed(breaker)
    except NotAsked:
        return True
    return False


def test_a_refused_connection_opens_it_at_once() -> None:
    breaker = Breaker("redis", timer=FakeClock())
    fail(breaker)
    assert breaker.is_open
    assert refused(breaker)


def test_one_slow_call_is_no_evidence_and_several_in_a_row_are() -> None:
    breaker = Breaker("redis", timer=FakeClock())
    for _ in range(10):
        for _ in range(TIMEOUTS - 1):
            time_out(breaker)
        succeed(breaker)
    assert not breaker.is_open
    for _ in range(TIMEOUTS):
        time_out(breaker)
    assert breaker.is_open


def test_rows_that_were_not_asked_are_no_failures() -> None:
    breaker = Breaker("redis")
    for _ in range(10):
        with pytest.raises(NotAsked), breaker.call():
            raise NotAsked("busy")
    assert not breaker.is_open


def test_while_it_is_open_a_thread_asks_often_and_the_first_answer_closes_it() -> None:
    clock = FakeClock()
    pauses: list[float] = []

    def probe() -> None:
        if len(pauses) < 4:
            raise StoreError("still down")

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        clock.pass_by(seconds)

    breaker = Breaker("redis", probe, timer=clock, sleep=sleep)
    fail(breaker)
    await_threads("cache-probe")
    assert pauses == [PROBE_EVERY] * 4
    assert not refused(breaker)


def test_a_long_outage_is_probed_less_often() -> None:
    clock = FakeClock()
    pauses: list[float] = []
    closed = threading.Event()

    def probe() -> None:
        if clock.now < 1_000_060.0:
            raise StoreError("still down")
        closed.set()

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        clock.pass_by(seconds)

    fail(Breaker("redis", probe, timer=clock, sleep=sleep))
    assert closed.wait()
    assert pauses[0] == PROBE_EVERY
    assert pauses[-1] > 5 * PROBE_EVERY


def test_without_a_probe_thread_a_caller_tries_now_and_then() -> None:
    clock = FakeClock()
    breaker = Breaker("redis", timer=clock)
    fail(breaker)
    clock.pass_by(1.9)
    assert refused(breaker)
    clock.pass_by(0.2)
    with breaker.call():
        assert refused(breaker), "one caller tries, and the others wait for its result"
    assert not refused(breaker)


def test_a_forced_call_passes_an_open_breaker_and_closes_it() -> None:
    breaker = Breaker("redis")
    fail(breaker)
    with breaker.call(forced=True):
        pass
    assert not breaker.is_open


def test_a_late_success_does_not_close_what_has_just_opened() -> None:
    breaker = Breaker("redis", timer=FakeClock())
    with breaker.call():
        fail(breaker)
    assert refused(breaker)


def test_an_outage_is_logged_once_when_it_begins_and_once_when_it_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = FakeClock()
    breaker = Breaker("redis.example:6379", timer=clock)
    with caplog.at_level(logging.INFO):
        fail(breaker)
        for _ in range(5):
            clock.pass_by(10)
            fail(breaker)
        clock.pass_by(10)
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


def test_it_knows_how_often_it_opened_and_how_long_that_took() -> None:
    clock = FakeClock()
    breaker = Breaker("redis", timer=clock)
    for _ in range(2):
        with suppress(StoreError), breaker.call():
            raise StoreError("gone")
    assert breaker.outages == (1, 0)
    clock.pass_by(60)
    succeed(breaker)
    succeed(breaker)
    assert breaker.outages == (1, 60)
