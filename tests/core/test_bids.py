"""The lease that comes with a look-up: one round trip fewer before a load begins.

Each Bench here stands for a process of its own.
"""

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from cachecore.errors import NotAsked
from cachecore.keys import lease_key
from cachecore.policy import Control, Switch
from cachecore.records import Pace
from cachecore.stores.memory import MemoryStore
from cachecore.streams import Piece
from tests.core.helpers import END, Bench, FailingFrom, request

PACE = Pace(*(0.1, 0.01, 0.002, 0.001), linger=5, silence=0.05, listen=0.01)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(shared=True)


def process(store: Any) -> Bench:
    """A process that has seen the stamps, as all have but for a moment."""
    bench = Bench(store, pace=PACE)
    bench.ask(request("first"))
    bench.loads = 0
    return bench


def holder(store: MemoryStore, bench: Bench, question: str = "q") -> str | None:
    return store._holder(lease_key(bench.cache.key(request(question))))


def bids(bench: Bench) -> dict[str, Any]:
    relay = bench.cache._relay
    assert relay is not None
    return relay._bids


def free_again(store: MemoryStore, bench: Bench) -> bool:
    for _ in range(2000):
        if holder(store, bench) is None:
            return True
        threading.Event().wait(0.001)
    return False


def test_a_miss_takes_its_lease_with_the_look_up(store: MemoryStore) -> None:
    counted = FailingFrom(store, "")
    bench = process(counted)
    counted.calls.clear()
    assert bench.text(request()) == "hello world"
    assert counted.calls == ["look_up", "land"]
    assert (bids(bench), holder(store, bench)) == ({}, None)
    assert bench.text(request()) == "hello world"
    assert bench.loads == 1


def test_the_first_of_a_kind_claims_for_it_does_not_know_the_stamps(
    store: MemoryStore,
) -> None:
    counted = FailingFrom(store, "")
    Bench(counted, pace=PACE).ask(request())
    assert counted.calls == ["look_up", "settle", "claim", "land"]


def test_a_hit_leaves_no_lease_behind(store: MemoryStore) -> None:
    one, other = process(store), process(store)
    one.ask(request())
    assert other.text(request()) == "hello world"
    assert (other.loads, holder(store, other), bids(other)) == (0, None, {})


def test_what_was_found_lately_is_not_bid_for(store: MemoryStore) -> None:
    bench = process(store)
    bench.ask(request())
    bench.ask(request())
    made: list[object] = []
    bench.cache._relay.bid = lambda *_: made.append(1)  # type: ignore[union-attr, method-assign, assignment]
    bench.ask(request())
    assert made == []
    bench.cache.drop(request())
    bench.ask(request())
    bench.cache.drop(request())
    bench.ask(request())
    assert made == [1]  # The first time it was still thought to be there.


@pytest.mark.parametrize("control", [Control.BYPASS, Control.REFRESH, Control.ONLY])
def test_only_who_takes_what_is_there_bids(
    store: MemoryStore, control: Control
) -> None:
    bench = process(store)
    made: list[object] = []
    bench.cache._relay.bid = lambda *_: made.append(1)  # type: ignore[union-attr, method-assign, assignment]
    try:
        bench.ask(request(control=control))
    except Exception:
        assert control is Control.ONLY
    assert made == []


def test_who_only_looks_takes_no_lease(store: MemoryStore) -> None:
    bench = process(store)
    look = bench.cache.find(request())
    assert (look.held, holder(store, bench)) == (None, None)


@pytest.mark.parametrize("change", ["stamp", "switch"])
def test_no_lease_is_taken_where_things_have_changed_since_the_last_look(
    store: MemoryStore, change: str
) -> None:
    bench, operator = process(store), process(store)
    if change == "stamp":
        operator.cache.invalidate(["*"])
    else:
        operator.cache.turn(Switch.READ_ONLY)
    look = bench.cache.seek(request())
    assert (look.held, bids(bench), holder(store, bench)) == (None, {}, None)


def test_two_processes_load_once_and_both_show_it(store: MemoryStore) -> None:
    one, other = process(store), process(store)
    began, go = threading.Event(), threading.Event()
    loads: list[int] = []

    def load() -> Iterator[Piece]:
        loads.append(1)
        yield Piece("hello")
        began.set()
        assert go.wait(10)
        yield END

    said: dict[str, str] = {}

    def ask(name: str, bench: Bench) -> None:
        said[name] = "".join(p.text for p in bench.cache.stream(request(), load))

    first = threading.Thread(target=ask, args=("one", one))
    first.start()
    assert began.wait(10)
    second = threading.Thread(target=ask, args=("other", other))
    second.start()
    go.set()
    first.join(10)
    second.join(10)
    assert said == {"one": "hello", "other": "hello"}
    assert loads == [1]


def test_who_has_the_lease_and_must_follow_gives_it_back(store: MemoryStore) -> None:
    bench = process(store)
    look = bench.cache.seek(request())
    assert look.held is not None
    assert holder(store, bench) == look.held.token
    bench.cache._give_back(look)
    assert free_again(store, bench)
    assert bids(bench) == {}


def test_a_leader_of_this_process_takes_over_a_lease_that_a_fellow_has_bid_for(
    store: MemoryStore,
) -> None:
    bench = process(store)
    fellow = bench.cache.seek(request())
    assert fellow.held is not None
    # The fellow has not begun yet when another caller of the process does.
    assert bench.text(request()) == "hello world"
    assert bench.loads == 1
    relay = bench.cache._relay
    assert relay is not None
    assert relay.take(fellow.held) is None
    assert holder(store, bench) is None
    assert bench.text(request()) == "hello world"
    assert bench.loads == 1


def test_a_lease_given_back_just_as_it_was_read_is_taken_over(
    store: MemoryStore,
) -> None:
    bench = process(store)
    fellow = bench.cache.seek(request())
    honest = store.claim

    def claim(*args: Any, **options: Any) -> Any:
        result = honest(*args, **options)
        store.claim = honest  # type: ignore[method-assign]
        bench.cache._give_back(fellow)
        return result

    store.claim = claim  # type: ignore[method-assign]
    assert bench.text(request()) == "hello world"
    assert bench.text(request()) == "hello world"
    assert bench.loads == 1


def test_a_crowd_in_one_process_loads_once_and_leaves_no_lease(
    store: MemoryStore,
) -> None:
    bench = process(store)
    gate = threading.Barrier(20)
    said: list[str] = []

    def ask() -> None:
        gate.wait(10)
        said.append(bench.text(request()))

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert said == ["hello world"] * 20
    assert bench.loads == 1
    assert free_again(store, bench)
    assert bids(bench) == {}


def test_a_lease_of_which_nobody_heard_is_given_back(store: MemoryStore) -> None:
    class Deaf(FailingFrom):
        """Takes the lease, and fails before it says so."""

        def __getattr__(self, name: str) -> Any:
            done = super().__getattr__(name)

            def call(*args: Any, **options: Any) -> Any:
                result = done(*args, **options)
                if name == "look_up" and result.held and not self.failed:
                    self.failed = True
                    from cachecore.errors import StoreError

                    raise StoreError("the reply was lost")
                return result

            return call

    deaf = Deaf(store, "")
    bench = process(deaf)
    deaf.failed = False
    assert bench.text(request()) == "hello world"
    assert deaf.failed
    assert free_again(store, bench)
    assert bids(bench) == {}


def test_bids_go_on_after_the_switch_was_used(store: MemoryStore) -> None:
    bench = process(store)
    bench.cache.turn(Switch.OFF)
    bench.ask(request())
    bench.cache.turn(Switch.ON)
    bench.ask(request("another"))
    assert bench.cache.seek(request("a third")).held is not None


def test_a_store_that_was_not_asked_leaves_nothing_to_give_back(
    store: MemoryStore,
) -> None:
    class Open(FailingFrom):
        """Its breaker is open."""

        def __getattr__(self, name: str) -> Any:
            if name == "look_up":
                raise NotAsked("known not to answer")
            return super().__getattr__(name)

    bench = process(store)
    bench.cache._store = Open(store, "")
    for number in range(20):
        assert bench.text(request(str(number))) == "hello world"
    relay = bench.cache._relay
    assert relay is not None
    assert (bids(bench), relay._leads) == ({}, set())


def test_who_has_the_lease_leads_however_many_leaders_have_failed_it(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cachecore.cache.MAX_LEADERS", 0)
    bench = process(store)
    bench.ask(request())
    bench.ask(request())
    assert bench.loads == 1
