"""The cache on a busy machine: it still works as a cache.

Limits are counts of upstream calls and of errors, never times. On a busy machine an
answer is only late.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any

import pytest
from servers import redis as servers
from servers.proxy import proxy, slow

from devhost.host import Host
from tests.chaos.callers import (
    ANSWER,
    PLUGIN,
    STAGES,
    Caller,
    lead_and_follow,
    until,
)
from tests.fake_upstream import FakeUpstream, Script, delta, finish

# The product's defaults. The tests of crowds set higher values, for three processes.
DEFAULTS = {"cache_options": ""}


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def taken_processors() -> Iterator[None]:
    """Twice as many busy loops as there are processors."""
    loops = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"])
        for _ in range(2 * (os.cpu_count() or 1))
    ]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def pid_of(host: Host) -> int:
    return host.plugin(PLUGIN).process.pid


def quick() -> Script:
    return Script(events=[delta(content=ANSWER), finish(), "[DONE]"])


def keep_some(
    host: Host, upstream: FakeUpstream, form: dict[str, str], count: int
) -> list[str]:
    """Keep answers to ``count`` questions, and return the questions."""
    questions = [f"question {number}" for number in range(count)]
    slow, upstream.script = upstream.script, quick()
    for question in questions:
        caller = Caller(host, form, question)
        assert (caller.text(), caller.error) == (ANSWER, None)
    upstream.script = slow
    return questions


@pytest.mark.parametrize("processes", [1, 2])
def test_a_thousand_hits_at_once_ask_nothing_upstream(
    hosts: tuple[Host, Host],
    upstream: FakeUpstream,
    form: dict[str, str],
    processes: int,
) -> None:
    form |= DEFAULTS
    questions = keep_some(hosts[0], upstream, form, 20)
    Caller(hosts[1], form, questions[0]).text()
    before = upstream.calls
    callers = [
        Caller(hosts[number % processes], form, questions[number % len(questions)])
        for number in range(1000)
    ]
    assert {caller.text() for caller in callers} == {ANSWER}
    assert [caller.error for caller in callers if caller.error] == []
    assert upstream.calls == before


def test_with_the_processors_taken_a_crowd_is_one_call_and_nobody_gets_an_error(
    hosts: tuple[Host, Host], upstream: FakeUpstream, form: dict[str, str]
) -> None:
    form |= DEFAULTS
    for host in hosts:
        Caller(host, form, "warm").text()
    for turn in range(3):
        before = upstream.calls
        with taken_processors():
            crowd = [Caller(hosts[n % 2], form, f"new {turn}") for n in range(60)]
            assert {caller.text() for caller in crowd} == {ANSWER}
        assert [caller.error for caller in crowd if caller.error] == []
        assert upstream.calls - before == 1


@pytest.mark.parametrize(
    ("seconds", "calls"), [(0.6, 1), (1.5, 1), (3.0, 2), (10.0, 2)]
)
def test_a_stopped_leader_costs_time_and_no_error(
    hosts: tuple[Host, Host],
    upstream: FakeUpstream,
    form: dict[str, str],
    seconds: float,
    calls: int,
) -> None:
    form |= DEFAULTS
    for host in hosts:
        Caller(host, form, "warm").text()
    before = upstream.calls
    leader, followers = lead_and_follow(hosts, upstream, form)
    assert followers[0].first.wait(20)
    with stopped(pid_of(hosts[0])):
        time.sleep(seconds)
    assert [caller.text() for caller in (leader, *followers)] == [ANSWER] * 6
    assert [caller.error for caller in followers if caller.error] == []
    assert upstream.calls - before <= calls


def test_a_stopped_process_of_followers_takes_no_leader_for_dead(
    hosts: tuple[Host, Host], upstream: FakeUpstream, form: dict[str, str]
) -> None:
    form |= DEFAULTS
    for host in hosts:
        Caller(host, form, "warm").text()
    before = upstream.calls
    leader, followers = lead_and_follow(hosts, upstream, form)
    assert followers[0].first.wait(20)
    with stopped(pid_of(hosts[1])):
        time.sleep(5)
    assert [caller.text() for caller in (leader, *followers)] == [ANSWER] * 6
    assert upstream.calls - before == 1


@pytest.mark.parametrize("stage", list(STAGES)[:3])
def test_no_follower_that_joins_a_killed_leader_is_shown_its_pieces(
    hosts: tuple[Host, Host],
    upstream: FakeUpstream,
    form: dict[str, str],
    stage: str,
) -> None:
    """Followers that were shown a part go on, because the upstream repeats it."""
    form |= DEFAULTS
    for host in hosts:
        Caller(host, form, "warm").text()
    before = upstream.calls
    leader, followers = lead_and_follow(hosts, upstream, form, 3)
    STAGES[stage](leader, followers)
    os.kill(pid_of(hosts[0]), signal.SIGKILL)
    time.sleep(0.05)
    late = [Caller(hosts[1], form) for _ in range(3)]
    for caller in (*followers, *late):
        assert caller.text() == ANSWER
        assert caller.error is None
    assert upstream.calls - before == 2, "one of the remaining followers took over"


@pytest.mark.parametrize("seconds", [0.1, 0.3, 1.0, 5.0])
def test_a_silent_redis_costs_the_hits_of_that_time_and_no_error(
    hosts: tuple[Host, Host],
    upstream: FakeUpstream,
    form: dict[str, str],
    seconds: float,
) -> None:
    rate = 50
    with servers.server() as (url, process):
        form |= {**DEFAULTS, "redis_url": url}
        questions = keep_some(hosts[0], upstream, form, 10)
        upstream.script = quick()
        before = upstream.calls
        callers: list[Caller] = []
        wait = threading.Event().wait

        def ask_for(duration: float) -> None:
            until_then = time.monotonic() + duration
            while time.monotonic() < until_then:
                question = questions[len(callers) % len(questions)]
                callers.append(Caller(hosts[0], form, question))
                wait(1 / rate)

        ask_for(0.5)
        assert upstream.calls == before
        with stopped(process.pid):
            ask_for(seconds)
        ask_for(1.0)
        assert {caller.text() for caller in callers} == {ANSWER}
        assert [caller.error for caller in callers if caller.error] == []
        lost = upstream.calls - before
        print(f"Redis silent for {seconds} s at {rate}/s: {lost} hits asked upstream")
        # A late thread of the test itself asks a few questions in one go.
        assert lost <= rate * (seconds + 0.1)


def test_a_slow_redis_costs_hits_and_no_error(
    hosts: tuple[Host, Host], upstream: FakeUpstream, form: dict[str, str]
) -> None:
    with servers.server() as (real, _), proxy(real) as (url, between):
        form |= {**DEFAULTS, "redis_url": url}
        upstream.script = quick()
        between.fault = slow  # each reply 100 ms late
        callers = [Caller(hosts[0], form, f"question {n % 5}") for n in range(40)]
        assert {caller.text() for caller in callers} == {ANSWER}
        assert [caller.error for caller in callers if caller.error] == []


def test_without_a_redis_a_crowd_is_one_call_in_each_process(
    hosts: tuple[Host, Host], upstream: FakeUpstream, form: dict[str, str]
) -> None:
    form |= {**DEFAULTS, "redis_url": f"redis://127.0.0.1:{servers.free_port()}"}
    for host in hosts:
        Caller(host, form, "warm").text()
    before = upstream.calls
    crowd = [Caller(hosts[number % 2], form) for number in range(60)]
    assert {caller.text() for caller in crowd} == {ANSWER}
    assert upstream.calls - before == 2


# --- audits, and answers in time -------------------------------------------------


def test_audits_of_a_silent_model_hold_up_no_hit(
    hosts: tuple[Host, Host], upstream: FakeUpstream, form: dict[str, str]
) -> None:
    audited = {"cache_options": "audit_percent: 100, audits_per_minute: 600"}
    questions = keep_some(hosts[0], upstream, form | DEFAULTS, 20)
    before = upstream.calls
    upstream.script = Script(events=[delta(content="never")], delay=6)
    with taken_processors():
        callers = [
            Caller(hosts[n % 2], form | audited, questions[n % len(questions)])
            for n in range(200)
        ]
        assert {caller.text() for caller in callers} == {ANSWER}
    assert [caller.error for caller in callers if caller.error] == []
    # At most four audits at once in each process, and no entry is audited in both.
    assert 0 < upstream.calls - before <= 8


def test_audits_are_bounded_by_the_minute_with_the_processors_taken(
    hosts: tuple[Host, Host], upstream: FakeUpstream, form: dict[str, str]
) -> None:
    audited = {"cache_options": "audit_percent: 100, audits_per_minute: 3"}
    questions = keep_some(hosts[0], upstream, form | DEFAULTS, 20)
    before, upstream.script = upstream.calls, quick()
    with taken_processors():
        for _ in range(3):
            callers = [
                Caller(hosts[0], form | audited, question) for question in questions
            ]
            assert {caller.text() for caller in callers} == {ANSWER}
    until(lambda: upstream.calls - before == 3)


@pytest.mark.parametrize("seconds", [0.3, 5.0])
def test_a_redis_that_falls_silent_during_an_audit_costs_no_answer(
    hosts: tuple[Host, Host],
    upstream: FakeUpstream,
    form: dict[str, str],
    seconds: float,
) -> None:
    audited = {"cache_options": "audit_percent: 100, audit_repairs: true"}
    with servers.server() as (url, process):
        form |= {"redis_url": url}
        (question,) = keep_some(hosts[0], upstream, form | DEFAULTS, 1)
        before = upstream.calls
        upstream.script = Script(events=[delta(content="x"), finish()], delay=0.2)
        assert Caller(hosts[0], form | audited, question).text() == ANSWER
        until(lambda: upstream.calls == before + 1)
        with stopped(process.pid):
            time.sleep(seconds)
        asked = Caller(hosts[0], form | DEFAULTS, question)
        assert asked.text() in (ANSWER, "x")
        assert asked.error is None


def test_a_process_that_is_killed_in_an_audit_leaves_its_entry_as_it_was(
    hosts: tuple[Host, Host], upstream: FakeUpstream, form: dict[str, str]
) -> None:
    audited = {"cache_options": "audit_percent: 100, audit_repairs: true"}
    (question,) = keep_some(hosts[0], upstream, form | DEFAULTS, 1)
    before = upstream.calls
    upstream.script = Script(events=[delta(content="x"), finish()], delay=0.5)
    assert Caller(hosts[0], form | audited, question).text() == ANSWER
    until(lambda: upstream.calls == before + 1)
    process = hosts[0].plugin(PLUGIN).process
    os.kill(process.pid, signal.SIGKILL)
    assert Caller(hosts[1], form | DEFAULTS, question).text() == ANSWER
    assert upstream.calls == before + 1
    # The next test uses the host, which must have noticed the killed process by then.
    until(lambda: bool(process.why_gone))


STALE = (
    "ttl_seconds: 1, stale_if_error_seconds: 600, first_token_budget_ms: 200, "
    "redis_timeout_ms: 1000"
)


def test_a_hanging_model_with_the_processors_taken_is_stood_in_for_by_old_answers(
    hosts: tuple[Host, Host], upstream: FakeUpstream, form: dict[str, str]
) -> None:
    form |= {"cache_options": STALE}
    questions = keep_some(hosts[0], upstream, form, 5)
    time.sleep(1.2)
    upstream.script = Script(events=[delta(content="never")], delay=6)
    with taken_processors():
        callers = [
            Caller(hosts[n % 2], form, questions[n % len(questions)]) for n in range(50)
        ]
        assert {caller.text() for caller in callers} == {ANSWER}
    assert [caller.error for caller in callers if caller.error] == []


def test_a_late_answer_is_kept_and_never_spliced_to_an_old_one(
    hosts: tuple[Host, Host], upstream: FakeUpstream, form: dict[str, str]
) -> None:
    form |= {"cache_options": STALE}
    (question,) = keep_some(hosts[0], upstream, form, 1)
    before = upstream.calls
    time.sleep(1.2)
    new = [delta(content=f"new{number} ") for number in range(5)]
    upstream.script = Script(events=[*new, finish(), "[DONE]"], delay=0.3)
    fresh = "".join(f"new{number} " for number in range(5))
    with taken_processors():
        callers = [Caller(hosts[n % 2], form, question) for n in range(20)]
        said = [caller.text() for caller in callers]
    assert {*said} <= {ANSWER, fresh}
    assert ANSWER in said
    until(lambda: Caller(hosts[0], form, question).text() == fresh)
    # The new answer lives for one second, so the look-ups above may load it again.
    assert upstream.calls - before <= 4


def test_a_hanging_embedding_model_holds_up_no_answer_of_match_meaning(
    hosts: tuple[Host, Host], upstream: FakeUpstream, form: dict[str, str]
) -> None:
    """Before a band serves, no answer waits for vectors; the background may hang."""
    options = "match: meaning, meaning_model: vectors-1, redis_timeout_ms: 1000"
    form |= {"cache_options": options}

    def answer(body: dict[str, Any]) -> Script:
        if "input" in body:
            time.sleep(6)
        return quick()

    upstream.script = answer
    with taken_processors():
        callers = [Caller(hosts[n % 2], form, f"question {n % 10}") for n in range(60)]
        assert {caller.text() for caller in callers} == {ANSWER}
    assert [caller.error for caller in callers if caller.error] == []


# --- the same question in other words ----------------------------------------------

_WORDS = (("red", "blue", "oak", "tin", "old", "sea"), ("box", "lamp", "bell", "door"))
THINGS = [one + other for one, other in product(*_WORDS)]


class Things:
    """A model server with one answer, and one vector, for each thing."""

    def __init__(self, upstream: FakeUpstream) -> None:
        self.chats = 0
        upstream.script = self._say

    def _say(self, body: dict[str, Any]) -> Script:
        if "input" in body:
            rows = [
                {"index": n, "embedding": [float(t in text) for t in THINGS] + [0.1]}
                for n, text in enumerate(body["input"])
            ]
            said = {"data": rows, "usage": {"prompt_tokens": 1, "total_tokens": 1}}
            return Script(body=json.dumps(said).encode())
        self.chats += 1
        about = self.about(body["messages"][-1]["content"])
        return Script(events=[delta(content=about), finish(), "[DONE]"], delay=0.02)

    @staticmethod
    def about(question: str) -> str:
        thing = next(one for one in THINGS if one in question)
        return f"{'no ' * ('not' in question)}{thing}"


def test_with_the_processors_taken_a_question_in_other_words_gets_its_own_answer(
    hosts: tuple[Host, Host], upstream: FakeUpstream, form: dict[str, str]
) -> None:
    model = Things(upstream)
    options = "meaning_model: v, max_wrong: 0.2, compare_percent: 1"
    with servers.server() as (url, redis):
        form |= {"cache_options": f"match: meaning, {options}", "redis_url": url}

        def ask(host: Host, question: str) -> bool:
            """Whether no model was asked."""
            before, caller = model.chats, Caller(host, form, question)
            assert (caller.text(), caller.error) == (model.about(question), None)
            return model.chats == before

        ways = (
            "How do I sell my {}?",
            "how can I sell my {}",
            "How do I not sell my {}?",
        )
        earned = [
            [ask(hosts[n % 2], way.format(thing)) for way in ways[:2]]
            for n, thing in enumerate(THINGS)
        ]
        assert not any(served for _, served in earned[:14])
        assert any(served for _, served in earned)

        def crowd(way: str, turn: int) -> int:
            """Ask about each thing in both processes; return the count of chats."""
            before = model.chats
            callers = [
                (
                    way.format(thing),
                    Caller(host, form, way.format(thing), stop=[str(turn)]),
                )
                for thing in THINGS[:10]
                for host in hosts
            ]
            for question, caller in callers:
                assert (caller.text(), caller.error) == (model.about(question), None)
            return model.chats - before

        most, served = len(THINGS[:10]), 0
        with taken_processors():
            for turn in range(4):
                assert crowd(ways[0], turn) <= most
                served += most - crowd(ways[1], turn)
                # A question that a guard distinguishes is loaded, once for both.
                assert crowd(ways[2], turn) <= most
            assert served > 0
            crowd(ways[0], 4)
            silence = threading.Timer(1.0, redis.send_signal, [signal.SIGCONT])
            with stopped(redis.pid):
                silence.start()
                crowd(ways[1], 4)
                crowd(ways[2], 4)
                silence.join()
            crowd(ways[1], 4)
