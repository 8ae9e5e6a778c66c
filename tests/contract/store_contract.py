"""What every store must do. A store's test file subclasses StoreContract."""

import threading
import uuid
from collections.abc import Callable
from dataclasses import replace

import pytest

from cachecore.keys import flight_key, lease_key
from cachecore.stores.base import (
    Beat,
    Bid,
    Claim,
    Found,
    Heard,
    Landing,
    Page,
    Store,
    Write,
)


class StoreContract:
    """Subclass it, and give the fixture ``store`` and ``let_pass``."""

    @pytest.fixture
    def name(self) -> str:
        """Names of its own for each test: a real server is shared."""
        return f"dify:cache:v1:test-{uuid.uuid4().hex}"

    def test_a_look_up_that_finds_nothing_takes_the_lease_that_was_bid_for(
        self, store: Store, name: str
    ) -> None:
        store.replace(name + ":h", {"a": "1", "b": "标签"})
        fields = ["a", "none", "b"]
        bid = bid_of(name, "t1.m", ("1", None, "标签"))
        found = store.look_up(entry_of(name), name + ":h", fields, bid)
        assert found == Found(None, ("1", None, "标签"), held=store.bids)
        if not store.bids:
            return
        late = bid_of(name, "t2.m", bid.fields)
        assert not store.look_up(entry_of(name), name + ":h", fields, late).held
        assert claim(store, name, "t3.m").holder == "t1.m"

    @pytest.mark.parametrize(
        "fields", [("2", None), (None, None), ("1", "x"), ("", None), ("-", None)]
    )
    def test_no_lease_is_taken_where_a_field_is_another(
        self, store: Store, name: str, fields: tuple[str | None, ...]
    ) -> None:
        store.replace(name + ":h", {"a": "1"})
        bid = bid_of(name, "t1.m", fields)
        found = store.look_up(entry_of(name), name + ":h", ["a", "b"], bid)
        assert found == Found(None, ("1", None))
        assert claim(store, name, "t2.m").holder == "t2.m"

    def test_no_lease_is_taken_where_there_is_an_entry(
        self, store: Store, name: str
    ) -> None:
        store.keep(entry_of(name), b"kept", 60)
        bid = bid_of(name, "t1.m", (None,))
        found = store.look_up(entry_of(name), name + ":h", ["a"], bid)
        assert found == Found(b"kept", (None,))
        assert claim(store, name, "t2.m").holder == "t2.m"

    def test_a_lease_that_was_bid_for_ends_in_its_time(
        self, store: Store, name: str, let_pass: Callable[[float], None]
    ) -> None:
        bid = replace(bid_of(name, "t1.m", (None,)), ttl=0.05)
        held = store.look_up(entry_of(name), name + ":h", ["a"], bid).held
        assert held == store.bids
        let_pass(0.1)
        assert claim(store, name, "t2.m").holder == "t2.m"

    def test_several_entries_are_kept_and_looked_up_at_once(
        self, store: Store, name: str
    ) -> None:
        keys = [entry_of(f"{name}-{number}") for number in range(3)]
        store.keep_many([Write(keys[0], b"a", 60), Write(keys[2], b"c" * 9000, 60)])
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

    def test_what_is_kept_is_found_byte_for_byte(self, store: Store, name: str) -> None:
        value = bytes(range(256)) * 10
        store.keep(name, value, 60)
        assert store.look_up(name, name + ":h", ["a"]).value == value

    def test_keeping_again_replaces(self, store: Store, name: str) -> None:
        store.keep(name, b"old", 60)
        store.keep(name, b"new", 60)
        assert store.look_up(name, name + ":h", ["a"]).value == b"new"

    def test_an_entry_is_gone_after_its_time(
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

    def test_settling_sets_what_is_absent_and_returns_what_stands(
        self, store: Store, name: str
    ) -> None:
        assert store.settle(name, {"a": "1"}) == {"a": "1"}
        assert store.settle(name, {"a": "2", "b": "3"}) == {"a": "1", "b": "3"}

    def test_replacing_overwrites_and_leaves_other_fields(
        self, store: Store, name: str
    ) -> None:
        store.settle(name, {"a": "1", "b": "2"})
        store.replace(name, {"a": "9", "c": "3"})
        assert store.look_up("x" + name, name, ["a", "b", "c"]).fields == (
            "9",
            "2",
            "3",
        )

    def test_text_of_any_language_survives(self, store: Store, name: str) -> None:
        store.replace(name, {"标签": "印记 ✓"})
        assert store.look_up("x" + name, name, ["标签"]).fields == ("印记 ✓",)

    def test_a_hash_that_was_given_an_end_is_gone_then(
        self, store: Store, name: str, let_pass: Callable[[float], None]
    ) -> None:
        store.settle(name, {"a": "1"}, 60)
        store.settle(name, {"b": "2"}, 0.2)  # the last end stands
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

    def test_a_check_leaves_nothing_behind(self, store: Store, name: str) -> None:
        key = entry_of(name)
        store.check(key, name + ":h")
        assert store.look_up(key, name + ":h", ["switch"]) == Found(None, (None,))
        assert claim(store, name, "a.1") == Claim("a.1", None)

    # --- leases and streams ----------------------------------------------------

    def test_a_free_lease_is_taken_and_a_held_one_is_not(
        self, store: Store, name: str
    ) -> None:
        assert claim(store, name, "a.1") == Claim("a.1", None)
        store.keep(entry_of(name), b"kept", 60)
        assert claim(store, name, "b.1") == Claim("a.1", b"kept")

    def test_a_lease_ends_by_itself(
        self, store: Store, name: str, let_pass: Callable[[float], None]
    ) -> None:
        claim(store, name, "a.1", ttl=0.05)
        let_pass(0.1)
        assert claim(store, name, "b.1").holder == "b.1"

    def test_a_lease_under_other_stamps_is_taken_over_and_any_by_a_refresh(
        self, store: Store, name: str
    ) -> None:
        claim(store, name, "a.1")
        assert claim(store, name, "b.2").holder == "b.2"
        assert claim(store, name, "c.2", over="*").holder == "c.2"
        assert claim(store, name, "d.2", over="b.2").holder == "c.2"
        assert claim(store, name, "d.2", over="c.2").holder == "d.2"

    def test_a_beat_keeps_ones_own_lease_alive_and_nobody_elses(
        self, store: Store, name: str, let_pass: Callable[[float], None]
    ) -> None:
        claim(store, name, "a.1", ttl=0.2)
        store.beat([beat(name, "a.1", ttl=60), beat(name, "b.1", ttl=60)])
        let_pass(0.3)
        assert claim(store, name, "c.1").holder == "a.1"
        store.beat([beat(name, "a.1", ttl=0)])
        assert claim(store, name, "c.1").holder == "a.1"

    def test_a_beat_says_whether_somebody_listens_and_makes_no_stream_by_itself(
        self, store: Store, name: str
    ) -> None:
        claim(store, name, "a.1")
        assert store.beat([beat(name, "a.1")]) == [0]
        heard = listen(store, name, "a.1", sign=True)
        assert (heard.records[0][1], heard.holder) == (None, "a.1")
        assert store.beat([beat(name, "a.1", records=(b"x",))]) == [2]

    def test_a_listener_hears_every_record_once_and_in_order(
        self, store: Store, name: str
    ) -> None:
        listen(store, name, "a.1", sign=True)
        store.beat([beat(name, "a.1", records=(b"x", bytes(range(256))))])
        first = listen(store, name, "a.1")
        assert [data for _, data in first.records] == [None, b"x", bytes(range(256))]
        store.beat([beat(name, "a.1", records=(b"z",))])
        behind = first.records[-1][0]
        assert [d for _, d in listen(store, name, "a.1", after=behind).records] == [
            b"z"
        ]

    def test_a_listener_waits_for_what_comes_and_no_longer(
        self, store: Store, name: str
    ) -> None:
        listen(store, name, "a.1", sign=True)
        done = threading.Event()

        def speak() -> None:
            while not done.wait(0.001):
                store.beat([beat(name, "a.1", records=(b"x",))])

        speaker = threading.Thread(target=speak)
        try:
            speaker.start()
            first = listen(store, name, "a.1").records[0][0]
            heard = listen(store, name, "a.1", after=first, wait=5)
        finally:
            done.set()
            speaker.join()
        assert heard.records
        assert listen(store, name, "other", wait=0.01).records == ()

    def test_a_landing_keeps_the_entry_ends_the_stream_and_gives_the_lease_back(
        self, store: Store, name: str
    ) -> None:
        claim(store, name, "a.1")
        listen(store, name, "a.1", sign=True)
        assert store.land(landing(name, "a.1", records=(b"x", b"end")))
        assert [d for _, d in listen(store, name, "a.1").records] == [
            None,
            b"x",
            b"end",
        ]
        assert claim(store, name, "b.1") == Claim("b.1", b"answer")

    def test_a_landing_that_nobody_listens_to_leaves_no_stream(
        self, store: Store, name: str
    ) -> None:
        claim(store, name, "a.1")
        store.land(landing(name, "a.1", records=(b"end",)))
        assert listen(store, name, "a.1").records == ()

    def test_who_lost_the_lease_keeps_nothing_and_takes_nothing_back(
        self, store: Store, name: str
    ) -> None:
        for other in ("rb.1", "b.2"):  # a refresh, and one under other stamps
            claim(store, name, "a.1", over="*")
            claim(store, name, other, over="*")
            assert not store.land(landing(name, "a.1"))
            mark = other[-2:]
            assert claim(store, name, f"c{mark}") == Claim(other, None)

    def test_who_was_only_not_waited_for_keeps_where_nothing_is_kept_yet(
        self, store: Store, name: str
    ) -> None:
        claim(store, name, "a.1")
        claim(store, name, "b.1", over="*")
        assert store.land(landing(name, "a.1"))
        assert claim(store, name, "c.1") == Claim("b.1", b"answer")
        assert store.land(landing(name, "b.1", value=b"the later one's"))
        assert not store.land(landing(name, "a.1"))

    def test_where_the_lease_was_evicted_only_an_absent_entry_is_written(
        self, store: Store, name: str
    ) -> None:
        assert store.land(landing(name, "a.1"))
        assert not store.land(landing(name, "b.1", value=b"another"))
        assert claim(store, name, "c.1").value == b"answer"

    def test_a_landing_without_a_value_only_ends(self, store: Store, name: str) -> None:
        claim(store, name, "a.1")
        assert not store.land(landing(name, "a.1", value=None))
        assert claim(store, name, "b.1") == Claim("b.1", None)


def entry_of(name: str) -> str:
    return f"{name}:llm:{{f}}"


def claim(
    store: Store, name: str, token: str, ttl: float = 60, *, over: str = ""
) -> Claim:
    entry = entry_of(name)
    return store.claim(entry, lease_key(entry), token, ttl, over=over)


def bid_of(name: str, token: str, fields: tuple[str | None, ...]) -> Bid:
    return Bid(lease_key(entry_of(name)), token, 60, fields)


def beat(
    name: str, token: str, ttl: float = 60, records: tuple[bytes, ...] = ()
) -> Beat:
    entry = entry_of(name)
    return Beat(lease_key(entry), flight_key(entry, token), token, ttl, 60, records)


def landing(
    name: str,
    token: str,
    value: bytes | None = b"answer",
    records: tuple[bytes, ...] = (),
) -> Landing:
    entry = entry_of(name)
    names = entry, lease_key(entry), flight_key(entry, token)
    return Landing(*names, token, value, 60, records, 60)


def listen(
    store: Store,
    name: str,
    token: str,
    after: str = "0",
    wait: float = 0,
    *,
    sign: bool = False,
) -> Heard:
    entry = entry_of(name)
    return store.listen(
        flight_key(entry, token), lease_key(entry), after, wait, sign=sign
    )
