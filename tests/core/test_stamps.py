from cachecore.keys import Keyspace, fingerprint
from cachecore.stamps import (
    StampTable,
    are_current,
    field_of,
    fields_of,
    stamps_digest,
)
from cachecore.stores.memory import MemoryStore
from tests.core.helpers import FailingFrom, each


@each(
    ("current", "may_be_served"),
    [
        ({"a": "1", "b": "2"}, True),
        ({"a": "1", "b": "2", "c": "other"}, True),
        ({"a": "1", "b": "3"}, False),
        ({"a": "1", "b": None}, False),
        ({"a": "1"}, False),
        ({}, False),
    ],
)
def test_an_entry_is_served_while_each_of_its_stamps_is_current(
    current: dict[str, str | None], may_be_served: bool
) -> None:
    assert are_current({"a": "1", "b": "2"}, current) is may_be_served


def test_an_entry_without_stamps_is_never_served() -> None:
    assert not are_current({}, {"a": "1"})


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
    table.settle({field_of("a"): None})
    assert table.invalidate(["a", "b"]) == {"a": True, "b": False}


def test_the_digest_of_stamps_is_the_same_in_every_version() -> None:
    assert (
        stamps_digest({"b": "2", "a": "1"})
        == stamps_digest({"a": "1", "b": "2"})
        == "21f76dfb"
    )


def test_a_tag_does_not_appear_in_its_field() -> None:
    assert "alice" not in field_of("alice@example.com")


@each(
    ("one", "other"),
    [
        ("Straße", "STRASSE"),
        ("a\u200bb", "ab"),
        ("a\u3000 b", "a b"),
        ("e\u0301", "\u00e9"),
    ],
)
def test_tags_that_look_alike_have_one_stamp(one: str, other: str) -> None:
    assert field_of(one) == field_of(other)


def test_each_distinct_tag_has_one_field_in_a_stable_order() -> None:
    tags = list("hgfedcba")
    assert fields_of(tags * 2) == [field_of(tag) for tag in sorted(tags)]


def test_the_fields_of_tags_are_those_that_other_versions_use() -> None:
    assert field_of("a") == "t:" + fingerprint(b"a")[:32]
    assert field_of("a", b"k" * 32) != field_of("a")
