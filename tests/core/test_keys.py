import uuid
from datetime import date

import pytest

from cachecore import keys
from cachecore.errors import UnkeyableError
from cachecore.keys import Keyspace, canonical, fingerprint
from cachecore.policy import Price
from tests.core.helpers import each


def test_the_order_of_a_list_matters() -> None:
    assert canonical(["a", "b"]) != canonical(["b", "a"])


@each(
    ("one", "other"),
    [
        ({"stop": "a", "seed": 5}, {"stop": "aseed: 5"}),
        (["ab"], ["a", "b"]),
        ({"a": None}, {}),
        ({"a": ""}, {"a": None}),
        (0, False),
        (1, True),
        ("1", 1),
        (0.1, 0.2),
    ],
)
def test_no_boundary_can_be_forged(one: object, other: object) -> None:
    assert canonical(one) != canonical(other)


@each(("one", "other"), [(1.0, 1), (-0.0, 0), ([0.0], [0]), (2e3, 2000)])
def test_numbers_that_the_hosts_daemon_writes_alike_are_one(
    one: object, other: object
) -> None:
    assert canonical(one) == canonical(other)


@each(
    "value",
    [
        float("nan"),
        float("inf"),
        "\ud800",
        {1: 2},
        {"a": object()},
        b"bytes",
        2**70,
        {"a": {1}},
    ],
)
def test_a_request_without_a_canonical_form_is_refused(value: object) -> None:
    with pytest.raises(UnkeyableError):
        canonical(value)


def test_a_bottomless_request_is_refused() -> None:
    deep: list[object] = []
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(UnkeyableError):
        canonical(deep)


def test_a_key_keeps_its_entry_and_lease_in_one_cluster_slot() -> None:
    key = Keyspace("shop").entry("llm", b"form")
    assert key == "dify:cache:v1:shop:llm:{" + fingerprint(b"form") + "}"


def test_the_secret_changes_every_name_but_not_the_namespace() -> None:
    plain, keyed = Keyspace("shop"), Keyspace("shop", b"k" * 32)
    assert plain.entry("llm", b"form") != keyed.entry("llm", b"form")
    assert plain.stamps == keyed.stamps == "dify:cache:v1:shop:stamps"


@each("value", [date(2026, 1, 1), uuid.UUID(int=1), Price()])
def test_values_that_only_the_json_library_knows_are_refused(
    value: object,
) -> None:
    with pytest.raises(UnkeyableError):
        canonical(value)
    with pytest.raises(UnkeyableError):
        canonical([value])


def test_a_tuple_is_a_list() -> None:
    assert canonical((1.0, ("a",))) == canonical([1, ["a"]])


@each("sign", [1, -1])
def test_floats_name_integers_below_two_to_the_53rd_only(sign: int) -> None:
    assert canonical(sign * (2.0**53 - 1)) == canonical(sign * (2**53 - 1))
    assert canonical(sign * 2.0**53) != canonical(sign * 2**53)


def test_the_names_in_a_store_are_those_that_other_versions_use() -> None:
    key, base = Keyspace("shop").entry("llm", b"form"), "dify:cache:v1:shop"
    assert keys.short_key(key) == fingerprint(b"form")[:12]
    assert keys.lease_key(key) == f"{key}:lease"
    assert keys.flight_key(key, "t.m") == f"{key}:flight:t.m"
    assert keys.votes_key(key, "0123456789") == f"{key}:votes:01234567"
    assert Keyspace("shop").statistics() == f"{base}:stats"
    assert Keyspace("shop").statistics("i") == f"{base}:stats:i"
    assert Keyspace("shop").statistics("i", 60, 7) == f"{base}:stats:i:60:7"
    assert Keyspace("shop").recent("i") == f"{base}:stats:i:recent"
    assert Keyspace("shop").events == f"{base}:events"
    assert (keys.SWITCH_FIELD, keys.TICKET_FIELD) == ("switch", "ticket")
    assert len(keys.part_digest("a", b"s")) == 12
