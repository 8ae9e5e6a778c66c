"""The contract of every store. A store's test file subclasses one of these classes."""

import threading
import uuid
from collections.abc import Callable

import pytest

from cachecore import entry
from cachecore.keys import flight_key, lease_key
from cachecore.stores.base import (
    Claim,
    Commit,
    Found,
    Heartbeat,
    Page,
    Store,
    StreamReply,
    Write,
)
from tests.core.test_policy import REPLACEMENTS, TAKE_OVERS


class StoreContract:
    """Subclass it, and define the fixtures ``store`` and ``let_pass``."""

    @pytest.fixture
    def name(self) -> str:
        """A new name for each test, because the tests share a real server."""
        return f"dify:cache:v1:test-{uuid.uuid4().hex}"

    def test_several_entries_are_kept_and_looked_up_at_once(
        self, store: Store, name: str
    ) -> None:
        keys = [entry_of(f"{name}-{number}") for number in range(3)]
        writes = [Write(keys[0], b"a", 60), Write(keys[2], b"c" * 9000, 60)]
        assert store.keep_many(writes) == [True, True]
        store.replace(name, {"one": "1"})
        values, fields = store.look_up_many(keys, name, ["one", "two"])
        assert (values, fields) == ([b"a", None, b"c" * 9000], ("1", None))

    def test_several_entries_end_each_in_its_time(
        self, store: Store, name: str, let_pass: Callable[[float], None]
    ) -> None:
        keys = [entry_of(f"{name}-{number}") for number in range(2)]
        store.keep_many([Write(keys[0], b"short", 0.05), Write(keys[1], b"long", 60)])
        let_pass(0.1)
        assert store.look_up_many(keys, name, ["f"])[0] == [None, b"long"]

    def test_an_absent_key_is_none_and_so_is_an_absent_field(
        self, store: Store, name: str
    ) -> None:
        assert store.look_up(name, name + ":h", ["a", "b"]) == Found(None, (None, None))

    def test_a_kept_value_is_found_byte_for_byte(self, store: Store, name: str) -> None:
        value = bytes(range(256)) * 10
        store.keep(name, value, 60)
        assert store.look_up(name, name + ":h", ["a"]).value == value

    def test_keeping_again_replaces(self, store: Store, name: str) -> None:
        store.keep(name, b"old", 60)
        store.keep(name, b"new", 60)
        assert store.look_up(name, name + ":h", ["a"]).value == b"new"

    def test_an_entry_is_absent_after_its_time(
        self, store: Store, name: str, let_pass: Callable[[float], None]
    ) -> None:
        store.keep(name, b"x", 0.05)
        let_pass(0.1)
        assert store.look_up(name, name + ":h", ["a"]).value is None

    def test_deleting_removes_and_an_absent_key_is_no_error(
        self, store: Store, name: str
    ) -> None:
        store.keep(name, b"x", 60)
        store.delete(name)
        store.delete(name)
        assert store.look_up(name, name + ":h", ["a"]).value is None

    def test_settling_sets_absent_stamps_and_returns_the_current_ones(
        self, store: Store, name: str
    ) -> None:
        assert store.settle(name, {"a": "1"}) == {"a": "1"}
        assert store.settle(name, {"a": "2", "b": "3"}) == {"a": "1", "b": "3"}

    def test_replacing_overwrites_and_says_what_stood_there(
        self, store: Store, name: str
    ) -> None:
        store.settle(name, {"a": "1", "b": "2"})
        assert store.replace(name, {"a": "9", "c": "3"}) == {"a": True, "c": False}
        known = {"a": "10", "new": "4"}
        assert store.replace(name, known, only_existing=True) == {
            "a": True,
            "new": False,
        }
        found = store.look_up("no key", name, ("a", "new"))
        assert found.fields == ("10", None)
        assert store.look_up("x" + name, name, ["a", "b", "c"]).fields == (
            "10",
            "2",
            "3",
        )

    def test_text_of_any_language_survives(self, store: Store, name: str) -> None:
        store.replace(name, {"标签": "印记 ✓"})
        assert store.look_up("x" + name, name, ["标签"]).fields == ("印记 ✓",)

    def test_a_hash_with_an_end_expires(
        self, store: Store, name: str, let_pass: Callable[[float], None]
    ) -> None:
        store.settle(name, {"a": "1"}, 0.2)
        store.settle(name, {"b": "2"}, 60)  # the first expiry applies
        assert store.gather([name]) == [{"a": "1", "b": "2"}]
        let_pass(0.3)
        assert store.settle(name, {"a": "3"}) == {"a": "3"}

    def test_a_field_is_forgotten_and_an_absent_one_is_no_error(
        self, store: Store, name: str
    ) -> None:
        store.settle(name, {"a": "1", "b": "2"})
        store.forget(name, "a")
        store.forget(name, "a")
        assert store.gather([name]) == [{"b": "2"}]

    def test_pages_are_published_and_gathered(
        self, store: Store, name: str, let_pass: Callable[[float], None]
    ) -> None:
        store.publish(
            [Page(name, {"a": "1", "数": "2"}, 60), Page(name + "x", {"c": "3"}, 0.1)]
        )
        store.publish([Page(name, {"a": "4"}, 60)])
        names = [name, name + "none", name + "x"]
        assert store.gather(names) == [{"a": "4", "数": "2"}, {}, {"c": "3"}]
        let_pass(0.2)
        assert store.gather(names)[2] == {}
        assert store.gather([]) == []

    def test_records_are_appended_and_cost_the_look_ups_nothing(
        self, store: Store, name: str
    ) -> None:
        for _ in range(3):
            store.append(name + ":events", [b"one", b"two"], 100, 60)
        assert store.look_up(name, name + ":h", ["a"]).value is None

    @pytest.mark.parametrize("in_background", [True, False])
    def test_records_are_read_in_their_order_from_where_one_was(
        self, store: Store, name: str, in_background: bool
    ) -> None:
        log = name + ":log"
        assert store.tail(log, "", 10, in_background=in_background) == []
        store.append(log, [b"one", b"two", b"\xff"], 100, 60)
        first = store.tail(log, "", 2, in_background=in_background)
        assert [data for _, data in first] == [b"one", b"two"]
        rest = store.tail(log, first[-1][0], 10, in_background=in_background)
        assert [data for _, data in rest] == [b"\xff"]
        assert store.tail(log, rest[-1][0], 10, in_background=in_background) == []

    def test_each_server_says_how_much_it_holds(self, store: Store, name: str) -> None:
        store.keep(name, b"x" * 10_000, 60)
        facts = store.facts()
        assert sum(one.numbers["keys"] for one in facts) >= 1
        assert all(one.numbers["used_memory"] > 0 for one in facts)
        assert len({one.server for one in facts}) == len(facts) > 0

    def test_deleting_removes_a_hash_too(self, store: Store, name: str) -> None:
        store.settle(name, {"a": "1"}, 60)
        store.delete(name)
        assert store.gather([name]) == [{}]

    def test_a_check_leaves_no_keys(self, store: Store, name: str) -> None:
        key = entry_of(name)
        store.check(key, name + ":h")
        assert store.look_up(key, name + ":h", ["switch"]) == Found(None, (None,))
        assert found_by_claim(store, name, "a.1") == ("a.1", None)

    @pytest.mark.parametrize(("only_existing", "order", "may"), REPLACEMENTS)
    @pytest.mark.parametrize("way", ["commit", "keep_many"])
    def test_an_entry_is_replaced_as_the_policy_says(
        self,
        store: Store,
        name: str,
        only_existing: int | None,
        order: int,
        may: bool,
        way: str,
    ) -> None:
        key = entry_of(name)
        if only_existing is not None:
            store.keep(key, sealed(key, b"standing", only_existing), 60)
        value = sealed(key, b"new", order)
        if way == "commit":
            kept = store.commit(commit(name, "a.1", value))
        else:
            (kept,) = store.keep_many([Write(key, value, 60)])
        assert kept is may
        found = store.look_up(key, name + ":h", ["a"]).value
        assert found is not None
        assert (entry.order_of(found) == order) is (may or only_existing == order)

    def test_only_an_absent_entry_is_written_where_that_is_asked(
        self, store: Store, name: str
    ) -> None:
        key = entry_of(name)
        writes = [
            Write(key, sealed(key, b"x", n), 60, only_if_absent=True) for n in (1, 2)
        ]
        assert [store.keep_many([write]) for write in writes] == [[True], [False]]


class SharedStoreContract(StoreContract):
    """The contract of a store that several processes share: also leases and streams."""

    def test_a_free_lease_is_taken_and_a_held_one_is_not(
        self, store: Store, name: str
    ) -> None:
        assert found_by_claim(store, name, "a.1") == ("a.1", None)
        store.keep(entry_of(name), b"kept", 60)
        assert found_by_claim(store, name, "b.1") == ("a.1", b"kept")

    def test_a_later_claim_has_a_higher_order(self, store: Store, name: str) -> None:
        orders = [claim(store, name, "a.1", take_over="*").order for _ in range(3)]
        orders.append(store.order(entry_of(name)))
        assert orders == sorted(set(orders))
        assert len(str(orders[0])) == 16 or orders[0] < 1e16

    def test_a_lease_ends_by_itself(
        self, store: Store, name: str, let_pass: Callable[[float], None]
    ) -> None:
        claim(store, name, "a.1", ttl=0.05)
        let_pass(0.1)
        assert claim(store, name, "b.1").holder == "b.1"

    @pytest.mark.parametrize(("holder", "token", "take_over", "taken"), TAKE_OVERS)
    def test_a_lease_is_taken_over_as_the_policy_says(
        self,
        store: Store,
        name: str,
        holder: str,
        token: str,
        take_over: str,
        taken: bool,
    ) -> None:
        claim(store, name, holder)
        expected = token if taken else holder
        assert claim(store, name, token, take_over=take_over).holder == expected

    def test_a_heartbeat_renews_ones_own_lease_and_nobody_elses(
        self, store: Store, name: str, let_pass: Callable[[float], None]
    ) -> None:
        claim(store, name, "a.1", ttl=0.2)
        store.heartbeat([beat(name, "a.1", ttl=60), beat(name, "b.1", ttl=60)])
        let_pass(0.3)
        assert claim(store, name, "c.1").holder == "a.1"

    def test_a_heartbeat_takes_a_lease_again_that_ran_out_and_nobody_took(
        self, store: Store, name: str
    ) -> None:
        store.heartbeat([beat(name, "a.1", ttl=60)])
        assert claim(store, name, "b.1").holder == "a.1"

    def test_a_load_without_progress_leaves_its_lease_and_its_stream_to_their_ends(
        self, store: Store, name: str, let_pass: Callable[[float], None]
    ) -> None:
        claim(store, name, "a.1", ttl=0.2)
        read(store, name, "a.1", subscribe=0.2)
        beats = [beat(name, "a.1", ttl=60, renews=False, records=(b"x",))]
        assert store.heartbeat(beats) == [2]
        assert read(store, name, "a.1").alive
        let_pass(0.3)
        assert not read(store, name, "a.1").alive
        assert claim(store, name, "b.1").holder == "b.1"

    def test_a_heartbeat_says_whether_somebody_follows_and_makes_no_stream_by_itself(
        self, store: Store, name: str
    ) -> None:
        claim(store, name, "a.1")
        assert store.heartbeat([beat(name, "a.1")]) == [0]
        reply = read(store, name, "a.1", subscribe=60)
        assert reply.records == ((reply.subscription, None),)
        assert store.heartbeat([beat(name, "a.1", records=(b"x",))]) == [2]

    def test_a_leader_is_alive_while_its_lease_or_its_stream_lives(
        self, store: Store, name: str, let_pass: Callable[[float], None]
    ) -> None:
        claim(store, name, "a.1", ttl=0.2)
        assert read(store, name, "a.1").alive
        assert not read(store, name, "b.1").alive
        read(store, name, "a.1", subscribe=60)
        claim(store, name, "b.1", take_over="*")
        assert read(store, name, "a.1").alive, "a refresh took only its lease"
        let_pass(0.3)

    def test_a_subscription_creates_no_stream_of_a_dead_leader(
        self, store: Store, name: str
    ) -> None:
        claim(store, name, "a.1")
        store.commit(commit(name, "a.1", None))
        reply = read(store, name, "a.1", subscribe=60)
        assert (reply.records, reply.alive, reply.subscription) == ((), False, "")

    def test_a_subscription_prolongs_no_stream_of_a_dead_leader(
        self, store: Store, name: str, let_pass: Callable[[float], None]
    ) -> None:
        store.heartbeat([beat(name, "a.1", ttl=0.2, records=(b"x",))])
        store.commit(commit(name, "b.1", None))
        read(store, name, "a.1", subscribe=60)
        claim(store, name, "b.1", take_over="*")
        let_pass(0.3)
        assert not read(store, name, "a.1").alive

    def test_a_follower_reads_every_record_once_and_in_order(
        self, store: Store, name: str
    ) -> None:
        claim(store, name, "a.1")
        read(store, name, "a.1", subscribe=60)
        store.heartbeat([beat(name, "a.1", records=(b"x", bytes(range(256))))])
        first = read(store, name, "a.1")
        assert [data for _, data in first.records] == [None, b"x", bytes(range(256))]
        store.heartbeat([beat(name, "a.1", records=(b"z",))])
        after = first.records[-1][0]
        reply = read(store, name, "a.1", after=after)
        assert [data for _, data in reply.records] == [b"z"]

    def test_a_follower_waits_for_what_comes_and_no_longer(
        self, store: Store, name: str
    ) -> None:
        claim(store, name, "a.1")
        read(store, name, "a.1", subscribe=60)
        done = threading.Event()

        def speak() -> None:
            while not done.wait(0.001):
                store.heartbeat([beat(name, "a.1", records=(b"x",))])

        speaker = threading.Thread(target=speak)
        try:
            speaker.start()
            first = read(store, name, "a.1").records[0][0]
            reply = read(store, name, "a.1", after=first, wait=5)
        finally:
            done.set()
            speaker.join()
        assert reply.records
        assert read(store, name, "other", wait=0.01).records == ()

    def test_a_commit_keeps_the_entry_ends_the_stream_and_gives_the_lease_back(
        self, store: Store, name: str
    ) -> None:
        claim(store, name, "a.1")
        read(store, name, "a.1", subscribe=60)
        key = entry_of(name)
        answer = sealed(key, b"answer", 1)
        assert store.commit(commit(name, "a.1", answer, records=(b"x", b"end")))
        reply = read(store, name, "a.1")
        assert [data for _, data in reply.records] == [None, b"x", b"end"]
        assert found_by_claim(store, name, "b.1") == ("b.1", answer)

    def test_a_commit_that_nobody_follows_leaves_no_stream(
        self, store: Store, name: str
    ) -> None:
        claim(store, name, "a.1")
        store.commit(commit(name, "a.1", None, records=(b"end",)))
        assert read(store, name, "a.1").records == ()

    def test_a_commit_takes_nobody_elses_lease(self, store: Store, name: str) -> None:
        claim(store, name, "a.1")
        claim(store, name, "b.1", take_over="*")
        store.commit(commit(name, "a.1", None))
        assert claim(store, name, "c.1").holder == "b.1"

    def test_a_commit_without_a_value_only_ends(self, store: Store, name: str) -> None:
        claim(store, name, "a.1")
        assert not store.commit(commit(name, "a.1", None))
        assert found_by_claim(store, name, "b.1") == ("b.1", None)


def sealed(key: str, text: bytes, order: int) -> bytes:
    return entry.seal(text, key, order=order)


def entry_of(name: str) -> str:
    return f"{name}:llm:{{f}}"


def claim(
    store: Store, name: str, token: str, ttl: float = 60, *, take_over: str = ""
) -> Claim:
    key = entry_of(name)
    return store.claim(key, lease_key(key), token, ttl, take_over=take_over)


def found_by_claim(store: Store, name: str, token: str) -> tuple[str, bytes | None]:
    found = claim(store, name, token)
    return found.holder, found.value


def beat(
    name: str,
    token: str,
    ttl: float = 60,
    records: tuple[bytes, ...] = (),
    *,
    renews: bool = True,
) -> Heartbeat:
    key = entry_of(name)
    names = lease_key(key), flight_key(key, token), token
    return Heartbeat(*names, ttl, renews, records)


def commit(
    name: str, token: str, value: bytes | None, records: tuple[bytes, ...] = ()
) -> Commit:
    key = entry_of(name)
    names = key, lease_key(key), flight_key(key, token)
    return Commit(*names, token, value, 60, records, 60)


def read(
    store: Store,
    name: str,
    token: str,
    after: str = "0",
    wait: float = 0,
    *,
    subscribe: float = 0,
) -> StreamReply:
    key = entry_of(name)
    names = flight_key(key, token), lease_key(key), token
    return store.read(*names, after, wait, subscribe=subscribe)
