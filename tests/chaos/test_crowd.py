"""Equal questions at two plugin processes at once: one upstream call, everyone streams.

Both processes are the built package, as the daemon runs it, over one real Redis.
Each process or key is killed, frozen or evicted in the middle of a load.
"""

import os
import signal
import statistics
import threading
import time
from typing import Any

import pytest
import redis
from servers import redis as servers

from devhost.failures import PluginError
from devhost.host import Host
from tests.chaos.callers import (
    ANSWER,
    PLUGIN,
    STAGES,
    WORDS,
    Caller,
    lead_and_follow,
)
from tests.fake_upstream import FakeUpstream, Script


def test_a_hundred_equal_questions_at_two_processes_are_one_upstream_call(
    hosts: tuple[Host, Host], upstream: FakeUpstream, form: dict[str, str]
) -> None:
    lags: list[float] = []
    for turn in range(3):
        fresh = {**form, "cache_namespace": f"{form['cache_namespace']}-{turn}"}
        for host in hosts:  # so that no process is still reading the form or connecting
            Caller(host, {**fresh, "cache_ttl": "off"}).text()
            Caller(host, fresh, stop=["warm"]).text()
        before = upstream.calls
        callers = [Caller(hosts[number % 2], fresh) for number in range(100)]
        assert {caller.text() for caller in callers} == {ANSWER}
        assert upstream.calls - before == 1
        first = min(caller.times[0] for caller in callers)
        lags += [(caller.times[0] - first) * 1e3 for caller in callers]
    lags.sort()
    print(
        f"100 equal questions at 2 processes, 3 times: 1 upstream call each; first "
        f"token after the leader's: median {statistics.median(lags):.1f} ms, "
        f"p99 {lags[int(len(lags) * 0.99)]:.1f} ms"
    )


@pytest.mark.parametrize("stage", STAGES)
def test_a_leader_that_is_killed_takes_nobody_along(
    hosts: tuple[Host, Host],
    upstream: FakeUpstream,
    form: dict[str, str],
    stage: str,
) -> None:
    leader, followers = lead_and_follow(hosts, upstream, form)
    STAGES[stage](leader, followers)
    os.kill(hosts[0].plugin(PLUGIN).process.pid, signal.SIGKILL)
    assert [follower.text() for follower in followers] == [ANSWER] * 5
    assert upstream.calls <= 2, "the followers' process made more than one call"
    # The kept answer is complete.
    assert Caller(hosts[1], form).text() == ANSWER


def test_a_leader_that_is_frozen_is_waited_for_no_longer_than_its_lease(
    hosts: tuple[Host, Host], upstream: FakeUpstream, form: dict[str, str]
) -> None:
    pid = hosts[0].plugin(PLUGIN).process.pid
    leader, followers = lead_and_follow(hosts, upstream, form)
    os.kill(pid, signal.SIGSTOP)
    try:
        started = time.monotonic()
        assert [follower.text() for follower in followers] == [ANSWER] * 5
        print(
            f"a frozen leader delayed its followers {time.monotonic() - started:.1f} s"
        )
    finally:
        os.kill(pid, signal.SIGCONT)
    assert leader.text() == ANSWER, "a leader serves its own caller, whatever happened"
    assert upstream.calls == 2


@pytest.mark.parametrize("suffix", [":flight:*", ":lease", "*"])
def test_an_eviction_during_a_load_mixes_and_fails_no_answer(
    hosts: tuple[Host, Host],
    upstream: FakeUpstream,
    form: dict[str, str],
    redis_at: str,
    suffix: str,
) -> None:
    leader, followers = lead_and_follow(hosts, upstream, form)
    followers[0].first.wait(20)
    client = redis.Redis.from_url(redis_at)
    for key in client.scan_iter(f"*{form['cache_namespace']}*{suffix}"):
        client.delete(key)
    client.close()
    assert [caller.text() for caller in (leader, *followers)] == [ANSWER] * 6
    assert upstream.calls <= 2


def test_a_redis_that_dies_during_a_load_fails_no_answer(
    hosts: tuple[Host, Host], upstream: FakeUpstream, form: dict[str, str]
) -> None:
    with servers.server() as (url, process):
        fragile = {**form, "redis_url": url, "cache_options": "redis_timeout_ms: 50"}
        for host in hosts:
            Caller(host, fragile, stop=["warm"]).text()
        leader, followers = lead_and_follow(hosts, upstream, fragile)
        followers[0].first.wait(20)
        process.kill()
        assert [caller.text() for caller in (leader, *followers)] == [ANSWER] * 6


def test_a_slow_follower_gets_the_whole_answer(
    hosts: tuple[Host, Host], upstream: FakeUpstream, form: dict[str, str]
) -> None:
    """The follower's process stops for longer than the rest of the load takes."""
    pid = hosts[1].plugin(PLUGIN).process.pid
    leader, followers = lead_and_follow(hosts, upstream, form)
    followers[0].first.wait(20)
    os.kill(pid, signal.SIGSTOP)
    try:
        assert leader.text() == ANSWER
    finally:
        os.kill(pid, signal.SIGCONT)
    assert [follower.text() for follower in followers] == [ANSWER] * 5
    assert upstream.calls == 1


def test_an_upstreams_error_reaches_every_follower_by_its_type(
    hosts: tuple[Host, Host], upstream: FakeUpstream, form: dict[str, str]
) -> None:
    begun, fail = threading.Event(), threading.Event()

    def refuse(_: dict[str, Any]) -> Script:
        begun.set()
        assert fail.wait(20)
        return Script(status=429, headers={"Retry-After": "7"})

    upstream.script = refuse
    callers = [Caller(hosts[0], form)]
    assert begun.wait(20)
    callers += [Caller(hosts[number % 2], form) for number in range(6)]
    time.sleep(0.5)
    fail.set()
    for caller in callers:
        assert caller.text() == ""
        assert isinstance(caller.error, PluginError)
        assert caller.error.error_type == "InvokeRateLimitError"
    assert upstream.calls == 1


def test_another_credential_meets_its_own_fate(
    hosts: tuple[Host, Host], upstream: FakeUpstream, form: dict[str, str]
) -> None:
    begun, fail = threading.Event(), threading.Event()
    good = upstream.script

    def refuse_the_first(_: dict[str, Any]) -> Any:
        if upstream.calls > 1:
            return good
        begun.set()
        assert fail.wait(20)
        return Script(status=429)

    upstream.script = refuse_the_first
    first = Caller(hosts[0], {**form, "api_key": "the exhausted key"})
    assert begun.wait(20)
    second = Caller(hosts[1], {**form, "api_key": "the other key"})
    time.sleep(0.5)
    fail.set()
    assert second.text() == ANSWER
    assert first.text() == ""


def test_five_hundred_followers_delay_nobody_else(
    hosts: tuple[Host, Host], upstream: FakeUpstream, form: dict[str, str]
) -> None:
    """The times are printed; none is asserted."""

    def alone() -> float:
        started = time.perf_counter()
        caller = Caller(hosts[0], form, stop=["kept"])
        assert caller.text() == ANSWER
        return (time.perf_counter() - started) * 1e3

    alone()
    quiet = [alone() for _ in range(20)]
    upstream.script.delay = 0.3  # type: ignore[union-attr]
    crowd = [Caller(hosts[0], form) for _ in range(500)]
    for caller in crowd:  # the start of five hundred requests is not measured
        caller.first.wait(30)
    busy = []
    while len(crowd[0].words) < len(WORDS):
        busy.append(alone())
    assert {caller.text() for caller in crowd} == {ANSWER}
    busy.sort()
    print(
        f"a hit alone {statistics.median(quiet):.1f} ms, beside 500 followers of a "
        f"stream: median {statistics.median(busy):.1f} ms, "
        f"p99 {busy[len(busy) * 99 // 100]:.1f} ms, worst {busy[-1]:.1f} ms"
    )
