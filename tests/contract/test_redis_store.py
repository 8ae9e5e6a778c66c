import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import redis
from servers.redis import free_port

from cachecore.entry import seal
from cachecore.errors import StoreError
from cachecore.keys import Keyspace
from cachecore.redis_url import parse
from cachecore.stores.base import Commit, Heartbeat
from cachecore.stores.redis import RedisStore
from tests.contract.store_contract import SharedStoreContract
from tests.core import test_meaning


class TestRedisStore(SharedStoreContract):
    @pytest.fixture
    def store(self, redis_url: str) -> Iterator[RedisStore]:
        # Test machines are slow at times; the time limits have tests of their own.
        opened = RedisStore(parse(redis_url), timeout=2)
        yield opened
        opened.close()

    @pytest.fixture
    def let_pass(self) -> Callable[[float], None]:
        return time.sleep  # A real server has a real clock.

    def test_another_type_under_a_key_is_something_that_does_not_decode(
        self, store: RedisStore, name: str
    ) -> None:
        store.replace(name, {"a": "hash"})
        assert store.look_up(name, name + ":h", ["a"]).value == b""
        store.delete(name)
        assert store.look_up(name, name + ":h", ["a"]).value is None

    def test_questions_in_other_words_prove_right_and_are_served(
        self, store: RedisStore, name: str
    ) -> None:
        bench = test_meaning.earning(store, keyspace=Keyspace(name))
        last = test_meaning.LAST
        one = test_meaning.asking(test_meaning.one_way(last))
        other = test_meaning.asking(test_meaning.other_way(last))
        assert test_meaning.ask(bench, one, "kept") == "kept"
        assert test_meaning.ask(bench, other, "never") == "kept"

    def test_a_stream_of_events_keeps_the_last_of_them_for_a_while(
        self, store: RedisStore, name: str, redis_url: str
    ) -> None:
        for number in range(40):
            some = [f"{number}-{n}".encode() for n in range(25)]
            store.append(name, some, 100, 60)
        with redis.Redis.from_url(redis_url) as client:
            records = client.xrange(name)
            assert 0 < client.pttl(name) <= 60_000
        # Redis drops whole nodes of a hundred records, so that adding costs nothing.
        assert 100 <= len(records) <= 300
        assert records[-1][1] == {b"e": b"39-24"}

    def test_side_work_that_is_refused_opens_no_breaker(
        self, store: RedisStore, name: str
    ) -> None:
        store.keep(name, b"no stream", 60)
        for _ in range(3):
            with pytest.raises(StoreError):
                store.append(name, [b"x"], 10, 60)
        assert "closed" in repr(store)
        assert store.look_up(name, name + ":h", ["a"]).value == b"no stream"

    def test_an_outage_is_known(self, name: str) -> None:
        away = RedisStore(parse(f"redis://127.0.0.1:{free_port()}"))
        with pytest.raises(StoreError):
            away.look_up(name, name, ["a"])
        assert away.outages() == (1, 0)

    def test_the_server_says_how_much_it_holds(
        self, store: RedisStore, name: str
    ) -> None:
        store.keep(name, b"x" * 10_000, 60)
        (facts,) = store.facts()
        assert facts.numbers["used_memory"] > 10_000
        assert facts.numbers["keys"] >= 1
        assert facts.numbers["evicted_keys"] >= 0
        assert "password" not in facts.server

    def test_another_type_under_the_stamps_is_a_store_error(
        self, store: RedisStore, name: str
    ) -> None:
        store.keep(name + ":h", b"text", 60)
        with pytest.raises(StoreError, match="refused a command: WRONGTYPE"):
            store.look_up(name, name + ":h", ["a"])
        # Replies still belong to their requests: the next caller gets its own reply.
        store.keep(name, b"mine", 60)
        assert store.look_up(name, name + ":other", ["a"]).value == b"mine"

    def test_a_stream_that_is_none_costs_the_other_loads_nothing(
        self, store: RedisStore, name: str
    ) -> None:
        store.keep(name + ":stream", b"text", 60)
        followed = f"{name}:other"
        store.claim(name, f"{name}:lease", "t.m", 60)
        store.read(followed, f"{name}:lease", "t.m", "0", 0, subscribe=60)
        bad = Heartbeat(f"{name}:lease", f"{name}:stream", "t.m", 60, records=(b"x",))
        assert store.heartbeat([bad, replace(bad, stream=followed)]) == [None, 2]

    def test_an_entry_of_another_type_is_replaced_at_a_commit(
        self, store: RedisStore, name: str
    ) -> None:
        names = f"{name}:entry", f"{name}:lease", f"{name}:stream"
        store.replace(names[0], {"a": "hash"})
        answer = seal(b"answer", names[0], order=1)
        assert store.commit(Commit(*names, "t.m", answer, 60))


def test_a_crowd_larger_than_the_pool_waits_and_opens_no_breaker(
    redis_url: str,
) -> None:
    store = RedisStore(parse(redis_url), timeout=2)
    failed: list[Exception] = []

    def ask() -> None:
        try:
            for _ in range(3):
                store.look_up("k", "h", ["a"])
        except StoreError as error:
            failed.append(error)

    threads = [threading.Thread(target=ask) for _ in range(300)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failed == []
    store.close()


def test_a_redis_that_is_not_there_is_one_sentence_at_once() -> None:
    store = RedisStore(parse(f"redis://127.0.0.1:{free_port()}"))
    started = time.perf_counter()
    with pytest.raises(StoreError, match=r"could not be reached; check the address"):
        store.look_up("k", "h", ["a"])
    with pytest.raises(StoreError, match="asked again soon"):
        store.look_up("k", "h", ["a"])
    assert time.perf_counter() - started < 1


def test_a_password_is_in_no_error() -> None:
    store = RedisStore(parse(f"redis://me:hunter2hunter2@127.0.0.1:{free_port()}"))
    with pytest.raises(StoreError) as raised:
        store.look_up("k", "h", ["a"])
    assert "hunter2" not in str(raised.value) + repr(store)
