"""Connections to a Redis, as far as they can be tested without one."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from cachecore.errors import NotAsked
from cachecore.redis_url import parse
from cachecore.stores import messages
from cachecore.stores.connection import Budget, BudgetedSocket, _packed, _Pool
from cachecore.stores.messages import ErrorReply
from cachecore.stores.redis import RedisStore


class FakeConnection:
    """A fake: a connection without any traffic."""

    def __init__(self, pool: "Made") -> None:
        self._pool = pool

    def connect(self) -> None:
        assert self._pool.go.wait(10)
        if self._pool.error:
            raise self._pool.error

    def is_stale(self) -> bool:
        return False

    def disconnect(self) -> None:
        self._pool.dropped += 1


class Made:
    """A pool whose connections are made when a test allows it."""

    def __init__(self, most: int = 2) -> None:
        self.go = threading.Event()
        self.error: Exception | None = None
        self.failed: list[Exception] = []
        self.dropped = 0
        self.pool = _Pool(lambda: FakeConnection(self), most, self.failed.append)


def test_a_limit_that_passed_while_nobody_looked_is_not_spent() -> None:
    budget = Budget(0.05)
    for _ in range(4):
        budget.spend(1000.0)  # the process was stopped during a look
        assert budget.look > 0
    budget.spend(1000.0)
    assert budget.look == 0


def test_a_limit_is_spent_by_what_comes_in_drops_too() -> None:
    budget = Budget(0.05)
    for _ in range(100):
        budget.spend(0.001)
    assert budget.look == 0


def test_a_caller_gets_the_next_returned_connection_if_all_are_in_use() -> None:
    made = Made(most=1)
    made.go.set()
    connection, age = made.pool.take(Budget(5))
    waiting: list[object] = []
    budget = Budget(0.001)
    thread = threading.Thread(target=lambda: waiting.append(made.pool.take(budget)))
    thread.start()
    thread.join(0.02)
    assert waiting == []
    made.pool.give_back(connection, age)
    thread.join(10)
    assert waiting == [(connection, age)]
    assert budget.left == 0.001, "the wait took none of its budget"


def test_no_caller_waits_for_a_turn_that_never_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cachecore.stores.connection.TURN_LIMIT", 0.001)
    made = Made(most=1)
    made.go.set()
    made.pool.take(Budget(5))
    with pytest.raises(NotAsked, match="busy"):
        made.pool.take(Budget(5))


def test_a_connection_that_is_late_is_used_later_and_nobody_waits_for_another() -> None:
    made = Made()
    for _ in range(3):
        with pytest.raises(NotAsked, match="not ready yet"):
            made.pool.take(Budget(0.001))
    made.go.set()
    while made.pool._late:
        time.sleep(0)
    made.pool.take(Budget(5))
    assert made.failed == []


def test_a_failed_connection_fails_its_waiters_and_no_later_caller() -> None:
    made = Made()
    made.error = OSError("refused")
    with pytest.raises(NotAsked, match="not ready yet"):
        made.pool.take(Budget(0.001))
    made.go.set()
    while not made.failed:
        time.sleep(0)
    assert str(made.failed[0]) == "refused"
    made.error = None
    made.pool.take(Budget(5))


def test_a_refused_connection_reaches_its_waiter() -> None:
    made = Made()
    made.error = OSError("refused")
    made.go.set()
    with pytest.raises(OSError, match="refused"):
        made.pool.take(Budget(5))


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, BudgetedSocket]]:
    here, there = socket.socketpair()
    yield here, BudgetedSocket(there)
    here.close()
    there.close()


def test_replies_that_have_arrived_are_read_before_a_call_is_given_up(
    pair: tuple[socket.socket, BudgetedSocket],
) -> None:
    here, there = pair
    here.sendall(b"in time")
    there.budget = Budget(0.001)
    there.budget.left = 0.0
    assert there.recv(100) == b"in time"
    with pytest.raises(TimeoutError):
        there.recv(100)


def test_a_command_larger_than_the_sockets_buffer_arrives_complete(
    pair: tuple[socket.socket, BudgetedSocket],
) -> None:
    other, ours = pair
    sent, came = bytes(range(256)) * 40_000, bytearray()

    def read() -> None:
        while len(came) < len(sent):
            came.extend(other.recv(65536))

    reader = threading.Thread(target=read)
    reader.start()
    ours.budget = Budget(10)
    ours.sendall(sent)
    reader.join(10)
    assert came == sent


def test_a_server_that_reads_nothing_ends_the_call(
    pair: tuple[socket.socket, BudgetedSocket],
) -> None:
    _, ours = pair
    ours.budget = Budget(0.001)
    with pytest.raises(TimeoutError):
        ours.sendall(bytes(10_000_000))


def test_a_command_is_sent_as_the_protocol_has_it() -> None:
    commands = ("SET", "clé", b"\0\r\n", "PX", 1500), ("GET", "")
    assert _packed(commands) == (
        b"*5\r\n$3\r\nSET\r\n$4\r\ncl\xc3\xa9\r\n$3\r\n\0\r\n\r\n$2\r\nPX\r\n$4\r\n1500\r\n"
        b"*2\r\n$3\r\nGET\r\n$0\r\n\r\n"
    )


def test_a_connection_is_stale_once_the_other_end_has_left_or_spoken(
    pair: tuple[socket.socket, BudgetedSocket],
) -> None:
    here, there = pair
    assert not there.is_stale()
    here.sendall(b"late reply")
    assert there.is_stale()
    here.close()
    assert there.is_stale()


def test_a_complaint_is_logged_when_it_begins_and_when_it_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    complaint = messages.Complaint("place")
    for _ in range(3):
        complaint.accepted()
        complaint.refused("It is full.")
        complaint.refused("It is full.")
    complaint.accepted()
    said = [record.message for record in caplog.records]
    assert (
        said
        == [
            "the cache at place works only in part, or not at all: It is full.",
            "the cache at place works fully again",
        ]
        * 3
    )


def test_advice_is_given_only_about_what_is_known() -> None:
    denied = ErrorReply("NOPERM", "denied")
    assert messages.advice([denied, denied, denied]) == ()
    good = b"maxmemory:100\r\nmaxmemory_policy:allkeys-lru\r\n"
    assert messages.advice([good, 0, 0]) == ()
    bad = b"maxmemory:100\r\nmaxmemory_policy:noeviction\r\n"
    assert len(messages.advice([bad, 1, 0])) == 2
    assert messages.slowness(0.01, 0.05) == ()
    (said,) = messages.slowness(0.04, 0.05)
    assert "40 ms" in said


def test_caches_on_one_redis_share_its_breaker() -> None:
    from cachecore.opening import StoreSettings, open_cache

    url = "redis://127.0.0.1:1/9"
    one = open_cache(StoreSettings("one", url))
    other = open_cache(StoreSettings("other", url))
    assert one is not other
    assert one.store is other.store
    assert isinstance(one.store, RedisStore)
    assert RedisStore(parse(url)) is not one.store
