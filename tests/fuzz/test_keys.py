"""Properties of keys, over random requests."""

import copy
import json
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from cachecore.keys import canonical
from devhost import gotypes

WORDS = [
    "",
    "a",
    "A",
    "stop",
    "stop: a",
    "é",
    "e\u0301",
    "你好",
    "\u0000",
    '"',
    "\\",
    "null",
    "0",
]


def scalar(chance: random.Random) -> Any:
    return chance.choice(
        [
            None,
            True,
            False,
            chance.choice(WORDS),
            chance.randint(-3, 3),
            float(chance.randint(-3, 3)),
            chance.random(),
            -0.0,
        ]
    )


def tree(chance: random.Random, depth: int = 3) -> Any:
    pick = chance.random()
    if depth == 0 or pick < 0.4:
        return scalar(chance)
    if pick < 0.7:
        return [tree(chance, depth - 1) for _ in range(chance.randint(0, 4))]
    return {
        chance.choice(WORDS): tree(chance, depth - 1)
        for _ in range(chance.randint(0, 4))
    }


def shuffled(chance: random.Random, value: Any) -> Any:
    if isinstance(value, dict):
        items = [(key, shuffled(chance, item)) for key, item in value.items()]
        chance.shuffle(items)
        return dict(items)
    if isinstance(value, list):
        return [shuffled(chance, item) for item in value]
    return value


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [
            leaf for key, item in value.items() for leaf in leaves(item, (*path, key))
        ]
    if isinstance(value, list):
        return [
            leaf for at, item in enumerate(value) for leaf in leaves(item, (*path, at))
        ]
    return [path]


def changed(chance: random.Random, value: Any, path: tuple[Any, ...]) -> Any:
    """A copy with another leaf at ``path``."""
    if not path:
        return ["a different thing", value]
    copied = copy.deepcopy(value)
    inner = copied
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = ["a different thing", inner[path[-1]], chance.random()]
    return copied


def same(one: Any, other: Any) -> bool:
    """Equal as JSON: 1 and 1.0 are equal, 1 and true are not."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return (
        type(one) in (int, float) and type(other) in (int, float) and one == other
    ) or (type(one) is type(other) and one == other)


def test_permuting_object_keys_never_changes_the_form(much: int) -> None:
    chance = random.Random(1)
    for _ in range(2000 * much):
        value = tree(chance)
        assert canonical(shuffled(chance, value)) == canonical(value)


def test_changing_any_leaf_always_changes_the_form(much: int) -> None:
    chance = random.Random(2)
    for _ in range(1000 * much):
        value = tree(chance)
        for path in leaves(value):
            assert canonical(changed(chance, value, path)) != canonical(value)


def test_two_values_share_a_form_only_if_they_are_equal(much: int) -> None:
    chance = random.Random(3)
    forms: dict[bytes, Any] = {}
    for _ in range(5000 * much):
        value = tree(chance, 2)
        assert same(forms.setdefault(canonical(value), value), value)


def test_the_daemons_changes_to_a_request_keep_its_key(
    much: int,
) -> None:
    chance = random.Random(4)
    for _ in range(2000 * much):
        value = tree(chance)
        assert canonical(gotypes.anything(value)) == canonical(value)


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False)
)
JSON = st.recursive(
    SCALARS.filter(lambda v: not isinstance(v, str) or v.isprintable()),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(alphabet="abcdef", max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


def backwards(value: object) -> object:
    if isinstance(value, dict):
        return {key: backwards(value[key]) for key in reversed(list(value))}
    if isinstance(value, list):
        return [backwards(item) for item in value]
    return value


@settings(max_examples=200, deadline=None)
@given(JSON)
def test_the_order_of_object_keys_does_not_matter(value: object) -> None:
    assert canonical(backwards(value)) == canonical(value)


@settings(max_examples=200, deadline=None)
@given(JSON)
def test_the_canonical_form_is_json_that_reads_back_as_equal(value: object) -> None:
    assert json.loads(canonical(value)) == value
