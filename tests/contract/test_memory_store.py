from collections.abc import Callable

import pytest

from cachecore.stores.memory import MemoryStore
from tests.contract.store_contract import SharedStoreContract, StoreContract
from tests.core.helpers import FakeClock
from tests.shared_store import FakeSharedStore


class OnAFakeClock:
    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @pytest.fixture
    def let_pass(self, clock: FakeClock) -> Callable[[float], None]:
        return clock.pass_by


class TestMemoryStore(OnAFakeClock, StoreContract):
    @pytest.fixture
    def store(self, clock: FakeClock) -> MemoryStore:
        return MemoryStore(clock=clock)

    def test_it_is_bounded_in_bytes_and_drops_what_was_unused_longest(self) -> None:
        store = MemoryStore(max_bytes=10_000)
        for number in range(100):
            store.keep(f"k{number}", b"x" * 700, 60)
            store.look_up("k0", "h", [])
        held = [n for n in range(100) if store.look_up(f"k{n}", "h", []).value]
        assert held == [0, *range(91, 100)]
        assert store._entries.currsize <= 10_000

    def test_a_value_larger_than_the_whole_is_not_kept(self) -> None:
        store = MemoryStore(max_bytes=1000)
        store.keep("k", b"small", 60)
        store.keep("k", b"x" * 2000, 60)
        assert store.look_up("k", "h", []).value is None


class TestFakeSharedStore(OnAFakeClock, SharedStoreContract):
    """The fake that the core's tests use as a Redis must behave like a Redis."""

    @pytest.fixture
    def store(self, clock: FakeClock) -> FakeSharedStore:
        return FakeSharedStore(clock)
