from cachecore.keys import Keyspace
from cachecore.stamps import StampTable, stamps_digest
from cachecore.stores.memory import MemoryStore
from tests.core.helpers import FailingFrom


def test_known_stamps_are_used_without_asking_the_store() -> None:
    store = FailingFrom(MemoryStore(), "")
    table = StampTable(store, Keyspace("test"))
    assert table.settle({"t:a": "1"}) == {"t:a": "1"}
    assert store.calls == []
    settled = table.settle({"t:a": "1", "t:b": None})
    assert settled is not None
    assert settled["t:a"] == "1"
    assert len(settled["t:b"]) == 16


def test_an_invalidation_says_which_tags_had_a_stamp() -> None:
    table = StampTable(MemoryStore(), Keyspace("test"))
    table.settle({Keyspace("test").stamp_field("a"): None})
    assert table.invalidate(["a", "b"]) == {"a": True, "b": False}


def test_the_digest_of_stamps_is_the_same_in_every_version() -> None:
    assert (
        stamps_digest({"b": "2", "a": "1"})
        == stamps_digest({"a": "1", "b": "2"})
        == "21f76dfb"
    )
