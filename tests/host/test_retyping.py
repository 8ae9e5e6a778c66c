"""What the daemon's Go types do to JSON."""

import pytest

from devhost import retyping
from devhost.retyping import UnmarshalError

MODEL = {"provider": "p", "model": "m", "model_type": "t", "credentials": {}}


def test_null_is_zero_for_a_rerank() -> None:
    body = {
        **MODEL,
        "query": "q",
        "docs": ["d"],
        "score_threshold": None,
        "top_n": None,
    }
    got = retyping.request("invoke_rerank", body)
    assert (got["score_threshold"], got["top_n"]) == (0, 0)


def test_a_fields_type_is_checked() -> None:
    with pytest.raises(UnmarshalError):
        retyping.request("invoke_rerank", {**MODEL, "query": "q", "docs": "d"})
    with pytest.raises(UnmarshalError):
        retyping.request(
            "invoke_text_embedding", {**MODEL, "texts": ["a"], "input_type": None}
        )


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        ("0E-7", "0"),
        ("0.0000170", "0.000017"),
        (0.15, "0.15"),
        ("1", "1"),
        (100, "100"),
    ],
)
def test_decimals_are_plain_strings(given: object, plain: str) -> None:
    assert retyping.decimal(given) == plain


def test_a_tool_message_keeps_its_three_fields() -> None:
    sent = {"type": "text", "message": {"text": "x"}, "meta": None, "more": 1}
    assert retyping.response("invoke_tool", sent) == {
        "type": "text",
        "message": {"text": "x"},
        "meta": None,
    }


@pytest.mark.parametrize(
    ("given", "got"),
    [(1.0, 1), (0.5, 0.5), (2**53 + 1, 2**53), (None, None), (True, True)],
)
def test_numbers_pass_through_float64(given: object, got: object) -> None:
    assert retyping.anything({"x": [given]}) == {"x": [got]}
    assert type(retyping.anything(given)) is type(got)
