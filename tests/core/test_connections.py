"""How a Redis is reached, where no Redis is needed to see it."""

import socket
import threading
from collections.abc import Iterator

import pytest

from cachecore.errors import StillConnecting, StoreError
from cachecore.redis_url import parse
from cachecore.stores import health
from cachecore.stores.breaker import Breaker
from cachecore.stores.redis import RedisStore
from cachecore.stores.remedies import ErrorReply
from cachecore.stores.sockets import Aside, Bounded


class Slowly:
    """Makes what it is asked for when it is told to."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.made = 0
        self.kept: list[int] = []
        self.failed: list[Exception] = []
        self.told = threading.Event()
        self.error: Exception | None = None
        self.aside = Aside(self._make, self._keep, self._fail)

    def _make(self) -> int:
        assert self.go.wait(10)
        if self.error:
            raise self.error
        self.made += 1
        return self.made

    def _keep(self, thing: int) -> None:
        self.kept.append(thing)
        self.told.set()

    def _fail(self, error: Exception) -> None:
        self.failed.append(error)
        self.told.set()


def test_what_is_ready_in_time_is_given_and_its_error_raised() -> None:
    slowly = Slowly()
    slowly.go.set()
    assert slowly.aside.get(until=1e12) == 1
    slowly.error = OSError("refused")
    with pytest.raises(OSError, match="refused"):
        slowly.aside.get(until=1e12)
    assert slowly.kept == []
    assert slowly.failed == []


def test_what_is_late_is_kept_for_later_and_nobody_waits_for_another() -> None:
    slowly = Slowly()
    for _ in range(3):
        with pytest.raises(StillConnecting):
            slowly.aside.get(until=0)
    slowly.go.set()
    assert slowly.told.wait(10)
    assert (slowly.made, slowly.kept) == (1, [1])
    assert slowly.aside.get(until=1e12) == 2


def test_what_fails_late_is_told() -> None:
    slowly = Slowly()
    slowly.error = OSError("refused")
    with pytest.raises(StillConnecting):
        slowly.aside.get(until=0)
    slowly.go.set()
    assert slowly.told.wait(10)
    assert [str(error) for error in slowly.failed] == ["refused"]


def test_waiting_for_a_connection_opens_no_breaker_and_its_late_failure_does() -> None:
    breaker = Breaker("redis")
    with pytest.raises(StillConnecting), breaker.call():
        raise StillConnecting
    assert not breaker.is_open
    breaker.fail(StoreError("refused"))
    assert breaker.is_open


def test_a_person_who_waits_is_let_through_an_open_breaker_and_closes_it() -> None:
    breaker = Breaker("redis")
    breaker.fail(StoreError("gone"))
    with pytest.raises(StoreError, match="left alone"), breaker.call():
        pass
    with breaker.call(forced=True):
        pass
    assert not breaker.is_open


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, Bounded]]:
    here, there = socket.socketpair()
    yield here, Bounded(there)
    here.close()
    there.close()


def test_a_flood_that_never_ends_is_not_read_for_ever(
    pair: tuple[socket.socket, Bounded],
) -> None:
    here, bounded = pair
    here.sendall(b"and so on")
    bounded.until = 0.0  # long over
    with pytest.raises(TimeoutError):
        bounded.recv(100)


def test_a_process_too_busy_to_look_still_gets_its_reply(
    pair: tuple[socket.socket, Bounded], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, bounded = pair
    here.sendall(b"in time")
    monkeypatch.setattr("cachecore.stores.sockets.CONNECT_LIMIT", 1e12)
    bounded.until = 0.0
    assert bounded.recv(100) == b"in time"
    with pytest.raises(TimeoutError):
        bounded.recv(100)


def test_a_connection_is_stale_once_the_other_end_has_left_or_spoken(
    pair: tuple[socket.socket, Bounded],
) -> None:
    here, bounded = pair
    assert not bounded.is_stale()
    here.sendall(b"late reply")
    assert bounded.is_stale()
    here.close()
    assert bounded.is_stale()


def test_a_complaint_is_logged_when_it_begins_and_when_it_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    complaint = health.Complaint("place")
    for _ in range(3):
        complaint.accepted()
        complaint.refused("It is full.")
        complaint.refused("It is full.")
    complaint.accepted()
    said = [record.message for record in caplog.records]
    assert (
        said
        == [
            "the cache at place works in part at most: It is full.",
            "the cache at place works in full again",
        ]
        * 3
    )


def test_advice_is_given_only_about_what_is_known() -> None:
    denied = ErrorReply("NOPERM", "denied")
    assert health.advice([denied, denied, denied]) == ()
    good = b"maxmemory:100\r\nmaxmemory_policy:allkeys-lru\r\n"
    assert health.advice([good, 0, 0]) == ()
    bad = b"maxmemory:100\r\nmaxmemory_policy:noeviction\r\n"
    assert len(health.advice([bad, 1, 0])) == 2
    assert health.slowness(0.01, 0.05) == ()
    (said,) = health.slowness(0.04, 0.05)
    assert "40 ms" in said


def test_caches_on_one_redis_share_its_breaker() -> None:
    from cachecore.opening import StoreSettings, open_cache

    url = "redis://127.0.0.1:1/9"
    one = open_cache(StoreSettings("one", url))
    other = open_cache(StoreSettings("other", url))
    assert one is not other
    assert one._store is other._store
    assert isinstance(one._store, RedisStore)
    assert RedisStore(parse(url)) is not one._store
