import pytest

from cachecore.errors import UnkeyableError
from cachecore.keys import Keyspace, canonical, fingerprint


def test_the_order_of_a_list_matters() -> None:
    assert canonical(["a", "b"]) != canonical(["b", "a"])


@pytest.mark.parametrize(
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


@pytest.mark.parametrize(
    ("one", "other"), [(1.0, 1), (-0.0, 0), ([0.0], [0]), (2e3, 2000)]
)
def test_numbers_that_the_hosts_daemon_writes_alike_are_one(
    one: object, other: object
) -> None:
    assert canonical(one) == canonical(other)


@pytest.mark.parametrize(
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
def test_what_has_no_canonical_form_is_refused(value: object) -> None:
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
    assert plain.stamp_field("a") != keyed.stamp_field("a")
    assert plain.stamps == keyed.stamps == "dify:cache:v1:shop:stamps"


def test_a_tag_does_not_appear_in_its_field() -> None:
    assert "alice" not in Keyspace("shop").stamp_field("alice@example.com")
