"""Parts of the gateway: it reads requests, names models, paces frames."""

from typing import Any

import pytest
from dify_plugin.entities.model.message import (
    AudioPromptMessageContent,
    DocumentPromptMessageContent,
    ImagePromptMessageContent,
    UserPromptMessage,
    VideoPromptMessageContent,
)
from openai._streaming import SSEDecoder

from difykit import embedding
from difykit.codec import chats, messages
from rag_cache.errors import BadInput, NotServed
from rag_cache.openai import frames, served
from rag_cache.openai.frames import MAX_PIECES, Frames, _Pieces, paced


class Clock:
    """A clock that moves only when a test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


# --- requests -----------------------------------------------------------------


def user(*parts: dict[str, Any]) -> Any:
    return chats.from_openai([{"role": "user", "content": list(parts)}])[0].content


def test_parts_become_difys_and_openais_again() -> None:
    parts: list[dict[str, Any]] = [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": "https://h/a.png", "detail": "low"}},
        {
            "type": "file",
            "file": {"filename": "a", "file_data": "data:a/b;base64,QQ=="},
        },
    ]
    asked = chats.from_openai([{"role": "user", "content": parts}])
    assert messages.to_openai(asked)[0]["content"] == parts


@pytest.mark.parametrize(
    ("part", "kind", "mime"),
    [
        (
            {"type": "image_url", "image_url": {"url": "data:image/gif;base64,QQ=="}},
            ImagePromptMessageContent,
            "image/gif",
        ),
        (
            {"type": "image_url", "image_url": {"url": "data:video/webm;base64,QQ=="}},
            VideoPromptMessageContent,
            "video/webm",
        ),
        (
            {"type": "image_url", "image_url": {"url": "data:audio/mp3;base64,QQ=="}},
            AudioPromptMessageContent,
            "audio/mp3",
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "QQ==", "format": "mp3"}},
            AudioPromptMessageContent,
            "audio/mp3",
        ),
        (
            {"type": "video_url", "video_url": {"url": "https://h/film"}},
            VideoPromptMessageContent,
            "video/mp4",
        ),
        (
            {"type": "file", "file": {"file_data": "data:;base64,QQ=="}},
            DocumentPromptMessageContent,
            "application/pdf",
        ),
    ],
)
def test_every_kind_of_file_keeps_its_kind(
    part: dict[str, Any], kind: type, mime: str
) -> None:
    (made,) = user(part)
    assert (type(made), made.mime_type) == (kind, mime)
    assert made.format == mime.partition("/")[2]


@pytest.mark.parametrize(
    ("detail", "seen"),
    [("low", "low"), ("high", "high"), ("auto", "high"), (None, "high")],
)
def test_difys_two_details_cover_openais_three(detail: str | None, seen: str) -> None:
    image = {"url": "https://h/a.png", "detail": detail}
    (made,) = user({"type": "image_url", "image_url": image})
    assert made.detail.value == seen


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"type": "song"}, r"content\[0\].type must be"),
        ("text", r"content\[0\].type must be"),
        ({"type": "text", "text": 1}, r"content\[0\].text must be a text"),
        ({"type": "image_url", "image_url": "u"}, "must be an object"),
        ({"type": "image_url", "image_url": {"url": "/a.png"}}, "must be a data URL"),
        ({"type": "image_url", "image_url": {"url": "data:x,y"}}, "must be a data URL"),
        ({"type": "file", "file": {"file_id": "f"}}, "a file_id is unknown here"),
    ],
)
def test_a_part_that_makes_no_sense_is_named(part: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        user(part)


@pytest.mark.parametrize(
    "calls", [[{}], [{"id": "c"}], "call", [{"id": 1, "function": {}}], [None]]
)
def test_calls_that_make_no_sense_are_named(calls: Any) -> None:
    message = {"role": "assistant", "content": "", "tool_calls": calls}
    with pytest.raises(ValueError, match=r"messages\[0\].tool_calls must be"):
        chats.from_openai([message])


def test_a_text_alone_stays_a_text() -> None:
    assert chats.from_openai([{"role": "user", "content": "hi"}]) == [
        UserPromptMessage(content="hi")
    ]


@pytest.mark.parametrize(
    ("counted", "texts"), [(10, ["a", "bb", "ccc"]), (0, ["a"]), (7, ["", "", ""])]
)
def test_the_shares_of_texts_are_all_tokens_together(
    counted: int, texts: list[str]
) -> None:
    parts = embedding.shares(counted, texts)
    assert (sum(parts), len(parts)) == (counted, len(texts))
    assert min(parts) >= 0


# --- models -------------------------------------------------------------------


def picks(*named: tuple[str, str]) -> dict[str, Any]:
    return {
        f"chat_model_{n}": {"provider": provider, "model": model}
        for n, (provider, model) in enumerate(named, 1)
    }


def test_models_of_one_name_are_distinguished_by_their_providers() -> None:
    settings = picks(("a/b/c", "x"), ("d/e/f", "x"))
    assert [one.id for one in served.models(settings)] == ["a/b/c/x", "d/e/f/x"]
    assert served.find(settings, "d/e/f/x", "llm").provider == "d/e/f"
    twice = picks(("a/b/c", "y"), ("a/b/c", "y"))
    assert [one.id for one in served.models(twice)] == ["y"]
    with pytest.raises(NotServed):
        served.find(settings, "x", "llm")


@pytest.mark.parametrize("unset", [None, {}, "", {"model": ""}])
def test_a_model_that_is_not_picked_is_not_served(unset: Any) -> None:
    assert served.models({"chat_model_1": unset}) == []


def test_a_model_of_the_other_kind_is_not_found() -> None:
    with pytest.raises(NotServed):
        served.find(picks(("a/b/c", "x")), "x", "text-embedding")


def test_a_model_of_cached_models_leads_back() -> None:
    settings = picks(("answercache/cached_model/cached_model", "x"))
    with pytest.raises(BadInput, match="may call this gateway again"):
        served.find(settings, "x", "llm")
    (said,) = served.refused(settings)
    assert said.startswith("The model x is picked and not served: it is Cached Model's")


def test_an_id_goes_before_the_full_name_of_another() -> None:
    settings = picks(("p", "m"), ("x", "p/m"))
    assert [one.id for one in served.models(settings)] == ["m", "p/m"]
    assert served.find(settings, "p/m", "llm").provider == "x"


# --- frames -------------------------------------------------------------------


def test_an_answer_of_four_minutes_fits_into_the_hosts_queue() -> None:
    clock = Clock()
    pieces, sent = _Pieces(clock), []
    for number in range(24_000):  # a frame each 10 ms
        pieces.add(b"%d " % number)
        sent += pieces.due()
        clock.now += 0.01
    sent += pieces.rest()
    assert len(sent) <= MAX_PIECES
    assert b"".join(sent) == b"".join(b"%d " % number for number in range(24_000))


def test_an_answer_without_end_leaves_room_for_what_comes_last() -> None:
    clock = Clock()
    pieces, sent = _Pieces(clock), []
    for _ in range(5000):  # more than an hour
        pieces.add(b"x")
        sent += pieces.due()
        assert pieces.patience() > 0
        clock.now += 1
    sent += pieces.rest()
    assert len(sent) <= MAX_PIECES


def test_the_first_frame_goes_out_at_once_and_the_next_a_little_later() -> None:
    clock = Clock()
    pieces = _Pieces(clock)
    pieces.add(b"a")
    assert list(pieces.due()) == [b"a"]
    pieces.add(b"b")
    assert list(pieces.due()) == []
    assert 0 < pieces.patience() < 0.1
    clock.now += pieces.patience()
    assert list(pieces.due()) == [b"b"]


def test_the_end_is_held_back_until_the_first_piece_has_been_handled() -> None:
    clock = Clock()
    pieces = _Pieces(clock)
    assert pieces.hold() == 0
    pieces.add(b"all")
    assert list(pieces.rest()) == [b"all"]
    assert pieces.hold() == pytest.approx(0.3)
    clock.now += 1
    assert pieces.hold() == 0


def test_silence_is_filled_with_a_comment() -> None:
    pieces = _Pieces(Clock())
    pieces.add_keepalive()
    assert list(pieces.due()) == [b": waiting\n"]


def test_a_long_answer_at_once_goes_out_in_pieces_that_the_host_takes() -> None:
    pieces = _Pieces(Clock())
    pieces.add(b"x" * (3 * frames._LONGEST + 1))
    assert [len(piece) for piece in pieces.rest()] == [frames._LONGEST] * 3 + [1]


def test_frames_are_paced_in_order_and_to_the_end() -> None:
    made = Frames("m")
    given = [made.delta({"content": str(number)}) for number in range(50)]
    slept: list[float] = []
    assert b"".join(paced(iter(given), sleep=slept.append)) == b"".join(given)
    assert len(slept) == 1


def test_a_comment_is_no_event_to_openais_own_reader() -> None:
    made = Frames("m")
    pieces = _Pieces(Clock())
    pieces.add_keepalive()
    (comment,) = pieces.due()
    said = [made.delta({}), comment, comment, made.delta({}), comment, made.done()]
    read = list(SSEDecoder().iter_bytes(iter(said)))
    assert len(read) == 3
    assert all(event.data for event in read)


def test_frames_are_numbered_without_a_gap() -> None:
    made = Frames("m")
    lines = [made.delta({}), made.usage({}), made.error({}), made.done()]
    numbers = [line.split(b"\n")[0].partition(b"/")[2] for line in lines]
    assert numbers == [b"0", b"1", b"2", b"3"]
