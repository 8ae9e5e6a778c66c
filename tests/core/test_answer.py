import pytest

from cachecore.answer import (
    PIECE_CHARACTERS,
    Piece,
    Recorder,
    Usage,
    merge,
    split,
)
from tests.core.helpers import each

CALL = {"id": "1", "type": "function", "name": "f", "arguments": "{}"}


def test_a_recorded_answer_comes_again_as_it_was() -> None:
    recorder = Recorder(1000)
    for piece in (
        Piece("<think>\nhm"),
        Piece("\n</think>he"),
        Piece("llo"),
        Piece(tool_calls=(CALL,), finish_reason="stop", usage=Usage(3, 4)),
    ):
        recorder.add(piece)
    kept = Piece.from_payload(recorder.answer().payload())
    (piece,) = split(kept)
    assert piece.text == "<think>\nhm\n</think>hello"
    assert piece.tool_calls == (CALL,)
    assert piece.finish_reason == "stop"
    assert piece.usage == Usage(3, 4, billed=False)


def test_a_long_answer_replays_in_pieces_that_fit_the_hosts_line() -> None:
    text = "x" * (3 * PIECE_CHARACTERS + 5)
    pieces = list(split(Piece(text, (), "stop", Usage(1, 1))))
    assert [len(piece.text) for piece in pieces] == [PIECE_CHARACTERS] * 3 + [5]
    assert "".join(piece.text for piece in pieces) == text
    assert [piece.usage is None for piece in pieces] == [True, True, True, False]


def test_a_recorder_forgets_what_outgrows_its_limit() -> None:
    recorder = Recorder(4)
    recorder.add(Piece("你"))
    assert not recorder.overflowed
    recorder.add(Piece("好"))
    assert recorder.overflowed
    assert recorder.answer().text == ""


def test_merging_keeps_everything() -> None:
    whole = merge(
        [Piece("a"), Piece("b"), Piece(finish_reason="stop", usage=Usage(1, 2))]
    )
    assert whole == Piece("ab", (), "stop", Usage(1, 2))


@each(
    "payload",
    [
        None,
        [],
        {},
        {"text": 1, "tool_calls": [], "finish_reason": None, "usage": None},
        {"text": "", "tool_calls": [{}], "finish_reason": None, "usage": None},
        {"text": "", "tool_calls": [], "finish_reason": None, "usage": ["a"]},
        {"text": "", "tool_calls": [], "finish_reason": 3, "usage": None},
    ],
)
def test_a_payload_that_is_no_answer_is_a_value_error(payload: object) -> None:
    with pytest.raises(ValueError):
        Piece.from_payload(payload)
