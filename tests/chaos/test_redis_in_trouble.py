"""A Redis in trouble costs time at most once, and never an answer.

Each fault comes from a real server, or from a proxy in front of one. The printed
lines (``pytest -rP``) show the cost of each fault. The tests assert only what even a
slow machine can do: no wrong answer, no failed answer, and no wait as long as a
client's own timeout.
"""

import signal
from pathlib import Path

import pytest
import redis
from servers import proxy as proxies
from servers import redis as servers

from cachecore.keys import PREFIX
from tests.chaos.traffic import Traffic, recovers, sound, troubled


@pytest.mark.parametrize(
    "fault",
    [
        proxies.slow,
        proxies.cut,
        proxies.dribble,
        proxies.garbage,
        proxies.silence,
    ],
    ids=lambda fault: fault.__name__,
)
def test_a_bad_network_costs_no_answer(
    fault: proxies.Fault, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        servers.server() as (url, _),
        proxies.proxy(url) as (place, proxy),
        troubled(place) as traffic,
    ):
        proxy.fault = fault
        sound(traffic.run(1.5), fault.__doc__ or "")
        proxy.fault = proxies.passing
        recovers(traffic)
    lines = [
        record.message for record in caplog.records if "cache at" in record.message
    ]
    assert len([line for line in lines if "unavailable" in line]) == 1, lines
    assert len([line for line in lines if "available again" in line]) == 1, lines


def test_connections_that_are_dropped_cost_no_answer() -> None:
    with (
        servers.server() as (url, _),
        proxies.proxy(url) as (place, proxy),
        troubled(place) as traffic,
    ):
        sound(
            traffic.run(1.0, lambda passed: proxy.drop() if passed > 0.5 else None),
            "connections dropped again and again",
        )
        recovers(traffic)


def test_a_redis_that_is_not_there_costs_no_answer() -> None:
    traffic = Traffic(f"redis://127.0.0.1:{servers.free_port()}")
    sound(traffic.run(1.0), "refused")
    traffic.close()


def test_a_frozen_redis_costs_no_answer() -> None:
    with servers.server() as (url, process), troubled(url) as traffic:
        process.send_signal(signal.SIGSTOP)
        try:
            sound(traffic.run(1.5), "frozen (SIGSTOP)")
        finally:
            process.send_signal(signal.SIGCONT)
        recovers(traffic)


def test_a_redis_that_is_restarted_costs_no_answer() -> None:
    with servers.server() as (url, process), troubled(url) as traffic:
        process.kill()
        process.wait()
        sound(traffic.run(0.5), "killed")
        with servers.server(port=int(url.rpartition(":")[2])):
            recovers(traffic)


def test_a_redis_that_is_loading_costs_no_answer(tmp_path: Path) -> None:
    port = servers.free_port()
    with servers.server("--dir", str(tmp_path), port=port) as (url, process):
        client = redis.Redis.from_url(url)
        client.execute_command("DEBUG", "POPULATE", 20000, "key", 100)
        client.save()
        client.close()
    slowly = "--key-load-delay", "100"  # microseconds a key: two seconds of loading
    with servers.server(*slowly, "--dir", str(tmp_path), port=port) as (url, process):
        assert process.poll() is None
        traffic = Traffic(url)
        sound(traffic.run(1.0), "loading after a restart")
        recovers(traffic)
        traffic.close()


def _commands(url: str, *commands: tuple[str | int, ...]) -> None:
    client = redis.Redis.from_url(url)
    for command in commands:
        client.execute_command(*command)
    client.close()


_ENTRIES = (
    "for _, key in ipairs(redis.call('KEYS', '*')) do "
    "if redis.call('TYPE', key).ok == 'string' then {what} end end"
)


@pytest.mark.parametrize(
    ("name", "break_it", "mend_it"),
    [
        (
            "a read-only replica",
            [("REPLICAOF", "127.0.0.1", 9)],
            [("REPLICAOF", "NO", "ONE")],
        ),
        (
            "full, noeviction",
            [
                ("CONFIG", "SET", "maxmemory-policy", "noeviction"),
                ("FLUSHALL",),
                ("CONFIG", "SET", "maxmemory", 1),
            ],
            [("CONFIG", "SET", "maxmemory", 0)],
        ),
        (
            "rights revoked",
            [("ACL", "SETUSER", "default", "-@all", "+acl", "+auth")],
            [("ACL", "SETUSER", "default", "+@all")],
        ),
        (
            "scripts forbidden",
            [("ACL", "SETUSER", "default", "-eval"), ("FLUSHALL",)],
            [("ACL", "SETUSER", "default", "+@all")],
        ),
        (
            "another type under the keys",
            [
                (
                    "EVAL",
                    _ENTRIES.format(
                        what="redis.call('DEL', key) redis.call('LPUSH', key, 'x')"
                    ),
                    0,
                )
            ],
            [],
        ),
        (
            "garbage under the keys",
            [("EVAL", _ENTRIES.format(what="redis.call('SET', key, 'dc?')"), 0)],
            [],
        ),
        (
            "another type under the stamps",
            [("SET", f"{PREFIX}:chaos:stamps", "text")],
            [("DEL", f"{PREFIX}:chaos:stamps")],
        ),
        (
            "everything evicted",
            [("FLUSHALL",)],
            [],
        ),
    ],
)
def test_a_redis_that_answers_no_costs_no_answer(
    name: str,
    break_it: list[tuple[str | int, ...]],
    mend_it: list[tuple[str | int, ...]],
) -> None:
    with servers.server() as (url, _), troubled(url) as traffic:
        _commands(url, *break_it)
        sound(traffic.run(1.0), name)
        _commands(url, *mend_it)
        recovers(traffic)


def test_rights_revoked_and_connections_killed_cost_no_answer() -> None:
    with servers.server("--requirepass", "right") as (url, _):
        place = url.removeprefix("redis://")
        with troubled(f"redis://:right@{place}") as traffic:
            _commands(
                f"redis://:right@{place}",
                ("CONFIG", "SET", "requirepass", "changed"),
                ("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"),
            )
            sound(traffic.run(1.0), "password changed, connections killed")
            _commands(
                f"redis://:changed@{place}", ("CONFIG", "SET", "requirepass", "right")
            )
            recovers(traffic)


@pytest.mark.parametrize("refresh", [False, True], ids=["as it comes", "emptied"])
def test_faults_in_mid_load_cost_no_answer(refresh: bool) -> None:
    """Redis fails and recovers again and again, while two processes share loads."""
    faults: list[proxies.Fault] = [
        proxies.passing,
        proxies.cut,
        proxies.passing,
        proxies.silence,
        proxies.passing,
        proxies.slow,
        proxies.passing,
        proxies.dribble,
    ]
    with (
        servers.server() as (url, _),
        proxies.proxy(url) as (place, proxy),
        troubled(place, processes=2, pause=0.04) as traffic,
    ):
        turns: list[int] = []

        def change(passed: float) -> None:
            turn = int(passed / 0.3)
            proxy.fault = faults[turn % len(faults)]
            if refresh and turn not in turns:
                turns.append(turn)
                _commands(url, ("FLUSHALL",))

        sound(traffic.run(6.0, change), "one fault after another, in mid-load")
        proxy.fault = proxies.passing
        recovers(traffic)
