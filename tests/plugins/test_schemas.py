"""The check of an answer against its JSON schema delays no other request."""

import time
from typing import Any

import pytest
from jsonschema import Draft7Validator

from cached_model import schemas
from cached_model.schemas import NotCheckable

# Only the last of each thirty alternatives fits, which is known only at the end.
SLOW = {
    "anyOf": [
        *(
            {
                "items": {
                    "properties": {
                        "a": {"anyOf": [{"type": t} for t in ("number", "string")]}
                    }
                },
                "maxItems": number,
            }
            for number in range(30)
        ),
        {},
    ]
}
ANSWER = [{"a": "x"}] * 5000


def test_a_check_that_would_take_long_is_given_up() -> None:
    with pytest.raises(NotCheckable):
        schemas.is_valid(SLOW, ANSWER)
    assert schemas._steps.get()[0] == schemas.MAX_STEPS + 1


def test_others_get_their_turn_while_an_answer_is_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    turns: list[float] = []
    monkeypatch.setattr(time, "sleep", turns.append)
    with pytest.raises(NotCheckable):
        schemas.is_valid(SLOW, ANSWER)
    assert turns == [0] * (schemas.MAX_STEPS // 100)


@pytest.mark.parametrize(
    "answer",
    [
        {"a": 1},
        {"a": "x"},
        {"a": None},
        {"b": [1, "2"]},
        {"b": []},
        [],
        "text",
        7,
        None,
    ],
)
@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "required": ["a"]},
        {"properties": {"a": {"type": "integer"}}, "additionalProperties": False},
        {"properties": {"b": {"items": {"type": "number"}, "minItems": 1}}},
        {"oneOf": [{"type": "object"}, {"type": "array"}]},
        {"not": {"type": "string"}},
        {"if": {"type": "object"}, "then": {"minProperties": 1}, "else": {"const": 7}},
    ],
)
def test_its_verdict_is_the_hosts_verdict(schema: Any, answer: Any) -> None:
    assert schemas.is_valid(schema, answer) is Draft7Validator(schema).is_valid(answer)


def test_a_schema_that_is_none_can_not_be_checked() -> None:
    with pytest.raises(NotCheckable):
        schemas.is_valid({"type": "nonsense"}, {})
