"""How the daemon's Go types change JSON. Each case was seen on the real daemon."""

from typing import Any

import pytest

from devhost import gotypes, retyping
from devhost.gotypes import UnmarshalError

RERANK = {
    "provider": "p",
    "model": "m",
    "model_type": "rerank",
    "credentials": {},
    "query": "q",
    "docs": ["d"],
}
USAGE = {
    "prompt_tokens": 1,
    "completion_tokens": 1,
    "total_tokens": 2,
    "currency": "",
    "latency": 0,
}


def chunk(**delta: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": "x"}
    return {"model": "m", "delta": {"index": 0, "message": message, **delta}}


def test_null_is_zero_for_a_rerank() -> None:
    got = retyping.request(
        "invoke_rerank", {**RERANK, "score_threshold": None, "top_n": None}
    )
    assert (got["score_threshold"], got["top_n"]) == (0, 0)


def test_a_fields_type_is_checked() -> None:
    for wrong in ({"docs": "d"}, {"top_n": 1.0}, {"model_type": "llm"}, {"query": ""}):
        with pytest.raises(UnmarshalError):
            retyping.request("invoke_rerank", {**RERANK, **wrong})


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        *(
            ("0E-7", "0"),
            ("0.0000170", "0.000017"),
            (0.15, "0.15"),
            ("1", "1"),
            (100, "100"),
        ),
        *((None, "0"), ("-0", "0"), ("1e3", "1000"), (".5", "0.5")),
    ],
)
def test_decimals_are_plain_strings(given: object, plain: str) -> None:
    assert gotypes.decimal(given) == plain


@pytest.mark.parametrize(
    "given", [" 1", "1_000", "NaN", "Infinity", "\u0661", "", True]
)
def test_a_text_that_is_no_decimal_is_refused(given: object) -> None:
    with pytest.raises(UnmarshalError):
        gotypes.decimal(given)


@pytest.mark.parametrize(
    ("given", "got"),
    [
        *((1.0, 1), (0.5, 0.5), (2**53 + 1, 2**53), (None, None), (True, True)),
        *((2**60 + 1, 1152921504606847000), (1e21, 1e21), (-0.0, 0)),
    ],
)
def test_numbers_pass_through_float64(given: object, got: object) -> None:
    assert gotypes.anything({"x": [given]}) == {"x": [got]}
    assert type(gotypes.anything(given)) is type(got)


def test_maps_are_sorted_and_half_an_emoji_is_replaced() -> None:
    assert list(gotypes.anything({"b": 1, "a": {"d": 1, "c": 2}})) == ["a", "b"]
    assert gotypes.anything("a\ud83d") == "a\ufffd"


def test_prices_may_be_missing_from_a_usage_and_tokens_may_not() -> None:
    got = retyping.response("invoke_llm", chunk(usage=USAGE))
    assert got["delta"]["usage"]["total_price"] == "0"
    for name in USAGE:
        with pytest.raises(UnmarshalError):
            retyping.response("invoke_llm", chunk(usage={**USAGE, name: None}))


@pytest.mark.parametrize(
    "wrong",
    [
        {"index": 1.0},
        {"index": None},
        {"finish_reason": 7},
        {"message": {"role": "developer", "content": "x"}},
        {"message": {"role": "assistant", "content": [{"type": "zz"}]}},
        {"message": {"role": "assistant", "content": None}},
    ],
    ids=str,
)
def test_a_chunk_of_another_shape_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UnmarshalError):
        retyping.response("invoke_llm", chunk(**wrong))


def test_a_tool_calls_null_function_is_an_empty_one() -> None:
    message = {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": "1", "function": None}],
    }
    got = retyping.response("invoke_llm", chunk(message=message))
    (call,) = got["delta"]["message"]["tool_calls"]
    assert call["function"] == {"name": "", "arguments": ""}


def test_a_tool_message_keeps_its_three_fields() -> None:
    sent = {"type": "text", "message": {"text": "x"}, "meta": None, "more": 1}
    assert retyping.response("invoke_tool", sent) == {
        "type": "text",
        "message": {"text": "x"},
        "meta": None,
    }
    with pytest.raises(UnmarshalError):
        retyping.response("invoke_tool", {**sent, "type": "Text"})


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"error_type": "E", "message": "m", "args": {}}, ("E", "m")),
        ({}, ("", "")),
        ({"message": 7}, None),
        ({"args": []}, ("", "")),
        ({"args": ["x"]}, None),
        ({"args": {str(n): n for n in range(11)}}, None),
        ("text", None),
    ],
)
def test_an_error_of_another_shape_is_dropped(data: Any, expected: Any) -> None:
    assert retyping.error(data) == expected
