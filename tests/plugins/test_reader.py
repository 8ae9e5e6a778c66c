"""From bytes to pieces: streams of real servers, wherever the network cuts them."""

import json
import random
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cachecore.answer import Usage, merge
from cached_model.reader import MAX_TEXT, Incomplete, Reader, TooLong, UpstreamError
from cached_model.sse import DONE, NotEvents, events
from cached_model.tokens import estimate
from tests.fake_upstream import delta, finish, usage


def framed(items: list[Any], end: str = "\n\n") -> bytes:
    lines = [
        item if isinstance(item, str) else json.dumps(item, ensure_ascii=False)
        for item in items
    ]
    return "".join(f"data: {line}{end}" for line in lines).encode()


def cut(data: bytes, chance: random.Random, largest: int) -> Iterator[bytes]:
    while data:
        size = chance.randint(1, largest)
        yield data[:size]
        data = data[size:]


def read(data: bytes, **options: Any) -> Any:
    options.setdefault("show_thoughts", True)
    return merge(Reader(**options).pieces(events([data])))


ANSWER = [
    delta(role="assistant", content=""),
    delta(reasoning_content="想一想 "),
    delta(reasoning_content="🤔"),
    delta(content="你好"),
    delta(content=" wörld"),
    delta(
        tool_calls=[
            {
                "index": 0,
                "id": "a",
                "type": "function",
                "function": {"name": "f", "arguments": ""},
            }
        ]
    ),
    delta(
        tool_calls=[
            {
                "index": 1,
                "id": "b",
                "type": "function",
                "function": {"name": "g", "arguments": "{}"},
            }
        ]
    ),
    delta(tool_calls=[{"index": 0, "function": {"arguments": '{"城市": "北京"}'}}]),
    finish("tool_calls"),
    usage(3, 4),
    DONE,
]


@pytest.mark.parametrize(
    "end", ["\n\n", "\r\n\r\n", "\n", "\r\n", "\n\n: a comment\n\n", "\nid: 7\n\n"]
)
@pytest.mark.parametrize("largest", [1, 3, 17, 100_000])
def test_every_cutting_of_a_stream_gives_the_same_answer(
    end: str, largest: int
) -> None:
    chance = random.Random(largest)
    chunks = cut(framed(ANSWER, end), chance, largest)
    whole = merge(Reader(show_thoughts=True).pieces(events(chunks)))
    assert whole.text == "<think>\n想一想 🤔\n</think>你好 wörld"
    assert whole.finish_reason == "tool_calls"
    assert whole.usage == Usage(3, 4)
    assert [
        (call["id"], call["name"], call["arguments"]) for call in whole.tool_calls
    ] == [
        ("a", "f", '{"城市": "北京"}'),
        ("b", "g", "{}"),
    ]


def test_each_piece_comes_as_soon_as_its_line_is_there() -> None:
    def chunks() -> Iterator[bytes]:
        yield framed([delta(content="a")], end="\n")
        raise AssertionError("the next chunk was asked for before the first piece came")

    pieces = Reader(show_thoughts=True).pieces(events(chunks()))
    assert next(pieces).text == "a"


def test_json_over_several_data_lines_is_one_event() -> None:
    data = b'data: {"choices": [\ndata: {"delta": {"content": "a"}}]}\n\n' + framed(
        [finish()]
    )
    assert read(data).text == "a"


@pytest.mark.parametrize("last", [b"data: [DONE]", b"data: [DONE]\n", b""])
def test_the_end_may_lack_its_line_end_or_be_missing(last: bytes) -> None:
    assert read(framed([delta(content="a"), finish()]) + last).text == "a"


@pytest.mark.parametrize(
    "events_",
    [
        b'error: {"code": 500, "message": "slot"}\n\ndata: [DONE]\n\n',
        b'event: error\ndata: {"message": "m"}\n\ndata: [DONE]\n\n',
        framed([{"text": "m", "error_code": 50002}, DONE]),
        framed([{"object": "error", "message": "m"}, DONE]),
        framed(
            [
                {
                    "error": {"code": 502},
                    "choices": [{"delta": {}, "finish_reason": "error"}],
                }
            ]
        ),
        framed([{"choices": [{"delta": {}, "finish_reason": "error"}]}, DONE]),
        framed([{"choices": [{"delta": {}, "error": {"code": "c"}}]}, DONE]),
    ],
)
def test_an_error_in_any_servers_shape_ends_the_answer(events_: bytes) -> None:
    with pytest.raises(UpstreamError):
        read(framed([delta(content="half")]) + events_)


def test_a_bare_done_is_no_answer() -> None:
    with pytest.raises(Incomplete):
        read(framed([DONE]))


def part(arguments: Any, **more: Any) -> dict[str, Any]:
    return delta(
        tool_calls=[
            {"function": {"arguments": arguments, **more.pop("function", {})}, **more}
        ]
    )


@pytest.mark.parametrize(
    "parts",
    [
        [
            part('{"x":1}', index=0, id="a", function={"name": "f"}),
            part('{"y":2}', index=0, id="b", function={"name": "g"}),
        ],
        [
            part('{"x":1}', id="a", function={"name": "f"}),
            part('{"y":2}', id="b", function={"name": "g"}),
        ],
        [
            part('{"x":1}', index=None, id="a", function={"name": "f"}),
            part('{"y":2}', index=None, id="b", function={"name": "g"}),
        ],
        [
            part('{"x"', id="a", function={"name": "f"}),
            part(":1}"),
            part('{"y":2}', id="b", function={"name": "g"}),
        ],
        [
            part('{"x":1}', function={"name": "f"}),
            part('{"y":2}', function={"name": "g"}),
        ],
    ],
    ids=[
        "index always 0",
        "no index",
        "null index",
        "no index, cut",
        "no index, no id",
    ],
)
def test_parallel_tool_calls_stay_apart_however_they_are_numbered(parts: list) -> None:
    calls = read(framed([*parts, finish("tool_calls")])).tool_calls
    assert [(call["name"], call["arguments"]) for call in calls] == [
        ("f", '{"x":1}'),
        ("g", '{"y":2}'),
    ]


def test_arguments_given_as_an_object_become_its_json() -> None:
    (call,) = read(
        framed([part({"x": 1}, id="a", function={"name": "f"}), finish()])
    ).tool_calls
    assert json.loads(call["arguments"]) == {"x": 1}


@pytest.mark.parametrize(
    "odd",
    [
        {"choices": [{"delta": "x"}]},
        {"choices": ["x"]},
        {"choices": {"0": 1}},
        delta(tool_calls=[None]),
        delta(tool_calls={"0": {}}),
        delta(tool_calls=[{"function": "x"}]),
        delta(function_call={"name": 7}),
        delta(content=7),
        {"choices": [{"delta": {}, "finish_reason": 7}]},
        {"choices": [], "usage": {}},
        {"choices": [], "usage": "none"},
    ],
    ids=str,
)
def test_odd_shapes_are_passed_over(odd: dict[str, Any]) -> None:
    whole = read(framed([delta(content="a"), usage(3, 4), odd, finish(), DONE]))
    assert whole.text == "a"
    assert whole.usage == Usage(3, 4)


def test_text_in_parts_is_text() -> None:
    data = framed(
        [
            delta(
                content=[{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
            ),
            finish(),
        ]
    )
    assert read(data).text == "ab"


def test_half_an_emoji_and_a_bad_byte_become_replacement_characters() -> None:
    data = b'data: {"choices": [{"delta": {"content": "a\\ud83db"}}]}\n\n'
    data += b'data: {"choices": [{"delta": {"content": "c\xff"}}]}\n\n' + framed(
        [finish()]
    )
    assert read(data).text == "a\ufffdbc\ufffd"


def test_a_byte_order_mark_is_passed_over() -> None:
    assert read(b"\xef\xbb\xbf" + framed([delta(content="a"), finish()])).text == "a"


def test_a_long_line_is_read_in_time_proportional_to_its_length() -> None:
    line = framed([delta(content="x" * 4_000_000), finish()])
    chunks = [line[at : at + 1400] for at in range(0, len(line), 1400)]
    joins = 0

    class Counting(bytes):
        def __contains__(self, other: object) -> bool:
            nonlocal joins
            joins += 1
            return super().__contains__(other)  # type: ignore[arg-type]

    whole = merge(Reader(show_thoughts=True).pieces(events(map(Counting, chunks))))
    assert len(whole.text) == 4_000_000
    assert joins <= 2 * len(chunks)


def test_an_answer_without_an_end_is_given_up() -> None:
    from cached_model.reader import MAX_TEXT, TooLong

    with pytest.raises(TooLong):
        read(framed([delta(content="x" * (MAX_TEXT + 1)), finish()]))
    with pytest.raises(TooLong):
        read(framed([part("x" * MAX_TEXT, index=0), finish()]))


def test_done_without_a_finish_reason_is_an_end_but_not_one_to_keep() -> None:
    assert read(framed([delta(content="a"), DONE])).finish_reason is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        framed([delta(content="a")]),
        framed([{"choices": []}]),
        framed([usage()]),
    ],
)
def test_a_stream_without_an_end_is_incomplete(data: bytes) -> None:
    with pytest.raises(Incomplete):
        read(data)


@pytest.mark.parametrize(
    "data",
    [
        framed([delta(content="a")]) + b'data: {"choi',
        framed([delta(content="a")]) + b"data: {not json}\n\n",
        b"data: [1, 2]\n\n",
        b"data: \xff\xfe\n\n",
    ],
)
def test_a_stream_without_json_events_is_refused(data: bytes) -> None:
    with pytest.raises(NotEvents):
        read(data)


def test_a_body_that_is_no_event_stream_is_incomplete() -> None:
    with pytest.raises(Incomplete):
        read(b"<html>502 Bad Gateway</html>")


@pytest.mark.parametrize(
    ("event", "code"),
    [
        ({"error": {"message": "m", "code": "overloaded"}}, "overloaded"),
        ({"error": {"message": "m", "type": "server_error"}}, "server_error"),
        ({"error": {"message": "m", "code": 429}}, "429"),
        ({"error": "out of memory"}, ""),
        ({"error": {"code": None}, "choices": []}, ""),
    ],
)
def test_an_error_inside_the_answer_is_raised_with_its_code(
    event: dict, code: str
) -> None:
    with pytest.raises(UpstreamError) as raised:
        read(framed([delta(content="a"), event]))
    assert raised.value.code == code


def test_reasoning_can_be_hidden() -> None:
    assert read(framed(ANSWER), show_thoughts=False).text == "你好 wörld"


def test_reasoning_that_nothing_follows_is_closed() -> None:
    data = framed([delta(reasoning="hm"), finish(), DONE])
    assert read(data).text == "<think>\nhm\n</think>"


def test_the_older_function_call_is_a_tool_call_named_by_its_function() -> None:
    data = framed(
        [
            delta(function_call={"name": "f", "arguments": '{"a"'}),
            delta(function_call={"arguments": ": 1}"}),
            finish("function_call"),
        ]
    )
    (call,) = read(data).tool_calls
    assert call == {"id": "f", "type": "function", "name": "f", "arguments": '{"a": 1}'}


def test_a_tool_call_without_an_id_gets_one() -> None:
    data = framed(
        [delta(tool_calls=[{"index": 0, "function": {"name": "f"}}]), finish()]
    )
    (call,) = read(data).tool_calls
    assert call["id"].startswith("call_")


@pytest.mark.parametrize(
    "nulls",
    [
        {"content": None, "tool_calls": None, "reasoning_content": None},
        {"content": "", "function_call": None},
    ],
)
def test_null_fields_are_nothing(nulls: dict[str, Any]) -> None:
    assert read(framed([delta(**nulls), delta(content="a"), finish()])).text == "a"


def test_a_whole_response_reads_as_its_stream_would() -> None:
    response = {
        "choices": [
            {
                "finish_reason": "stop",
                "message": {
                    "content": "hi",
                    "reasoning_content": "hm",
                    "tool_calls": None,
                },
            }
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2},
    }
    piece = Reader(show_thoughts=True).whole(response)
    assert piece.text == "<think>\nhm\n</think>hi"
    assert piece.usage == Usage(1, 2)


@pytest.mark.parametrize(
    "response", [{}, {"choices": []}, {"choices": [{"message": {"content": ""}}]}]
)
def test_a_whole_response_without_an_end_is_incomplete(
    response: dict[str, Any],
) -> None:
    with pytest.raises(Incomplete):
        Reader(show_thoughts=True).whole(response)


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("", 0, 0),
        ("a", 1, 1),
        ("The shop opens at nine and closes in the evening. " * 4, 35, 50),
        ("商店早上九点开门，晚上关门。" * 4, 32, 52),
        ('{"id": 1, "open": true}', 8, 14),
    ],
)
def test_token_estimates_are_of_the_right_size(text: str, low: int, high: int) -> None:
    assert low <= estimate(text) <= high


def test_estimates_are_near_what_real_vocabularies_count() -> None:
    # Counted by dev/bench/tokens.py, with four vocabularies.
    path = Path(__file__).parents[2] / "dev/bench/token_samples.json"
    errors = {}
    for name, sample in json.loads(path.read_text("utf-8")).items():
        mean = statistics.mean(sample["tokens"].values())
        errors[name] = abs(estimate(sample["text"]) / mean - 1)
    assert len(errors) == 21
    assert max(errors.values()) < 0.15, errors
    assert statistics.mean(errors.values()) < 0.06


def test_an_empty_data_line_is_a_heartbeat() -> None:
    assert (
        read(framed([delta(content="a")]) + b"data: \n\n" + framed([finish()])).text
        == "a"
    )


def test_a_frame_of_many_lines_is_read_once() -> None:
    lines = json.dumps(delta(content="x" * 1000), indent=0).split("\n")
    frame = "".join(f"data: {line}\n" for line in lines) + "\n"
    many = "data: {\n" + 'data: "a": 1,\n' * 20_000 + 'data: "b": 2}\n\n'
    assert read((many + frame).encode() + framed([finish()])).text == "x" * 1000


@pytest.mark.parametrize(
    "event",
    [
        delta(tool_calls=[{"index": 0, "function": {"name": "f" * 600_000}}]),
        delta(tool_calls=[{"index": n, "function": {}} for n in range(5000)]),
        {"choices": [{"delta": {}, "finish_reason": "x" * 100}]},
    ],
    ids=["a long name", "many calls", "a long reason"],
)
def test_no_part_of_an_answer_can_outgrow_the_hosts_line(event: dict[str, Any]) -> None:
    from cached_model.reader import TooLong

    with pytest.raises(TooLong):
        read(framed([event, finish()]))


@pytest.mark.parametrize("count", ["NaN", "1e999", "1e30", "-1", '"7"', "true"])
def test_a_count_of_tokens_that_is_none_is_passed_over(count: str) -> None:
    odd = f'data: {{"choices": [], "usage": {{"prompt_tokens": {count}}}}}\n\n'.encode()
    usage_ = read(
        framed([delta(content="a"), usage(3, 4)]) + odd + framed([finish()])
    ).usage
    assert usage_ in (Usage(3, 4), Usage(1, 0))


def numbered(*numbers: int, answer: str = "0a1b2c3d") -> bytes:
    frames = [
        f"id: {answer}/{number}\ndata: {json.dumps(delta(content=str(number)))}\n\n"
        for number in numbers
    ]
    return "".join(frames).encode() + framed([finish()])


def test_frames_with_numbers_are_read() -> None:
    assert read(numbered(0, 1, 2)).text == "012"


@pytest.mark.parametrize("numbers", [(1, 2), (0, 2), (0, 0), (0, 1, 1), (0, 2, 1)])
def test_a_missing_frame_is_noticed_where_frames_have_numbers(
    numbers: tuple[int, ...],
) -> None:
    with pytest.raises(NotEvents, match="a frame is missing"):
        read(numbered(*numbers))


def test_frames_of_two_answers_are_not_one() -> None:
    with pytest.raises(NotEvents, match="a frame is missing"):
        read(numbered(0).split(b"data: ")[0] + numbered(1, answer="ffffffff"))


def test_other_ids_mean_nothing() -> None:
    lines = b"id: 7\ndata: {}\n\nid: event-1/2\n"
    assert read(lines + framed([delta(content="a"), finish()])).text == "a"


F, G = {"name": "f"}, {"name": "g"}


def calls_of(*parts: dict[str, Any]) -> list[tuple[str, str, str]]:
    calls = read(framed([*parts, finish("tool_calls")])).tool_calls
    return [(call["id"], call["name"], call["arguments"]) for call in calls]


def answered(*events: Any) -> str | None:
    return read(framed([delta(content="a"), *events])).finish_reason


def test_only_usage_may_follow_the_end_of_an_answer_without_done() -> None:
    assert answered(finish(), usage(3, 4)) == "stop"
    for more in (delta(content="b"), delta(reasoning="b"), part("", index=0)):
        assert answered(finish(), more) is None
        assert answered(finish(), more, DONE) == "stop"
        assert answered(finish("length"), more) == "length"


def test_the_first_finish_reason_counts_unless_it_was_stop() -> None:
    assert answered(finish(), finish("length"), DONE) == "length"
    assert answered(finish("length"), finish(), DONE) == "length"
    assert answered(finish(""), finish(), DONE) == "stop"


def test_reasoning_counts_as_content_and_towards_the_limit() -> None:
    assert read(framed([delta(reasoning="hm"), DONE])).text == "<think>\nhm\n</think>"
    assert len(read(framed([delta(content="x" * MAX_TEXT), finish()])).text) == MAX_TEXT
    with pytest.raises(TooLong):
        read(framed([delta(reasoning="x" * (MAX_TEXT + 1)), finish()]))


def test_calls_alone_are_an_answer_that_done_ends() -> None:
    assert read(framed([part("{}", index=0, function=F), DONE])).tool_calls


def test_the_text_of_a_completion_is_text() -> None:
    assert read(framed([{"choices": [{"text": "a"}]}, finish()])).text == "a"


@pytest.mark.parametrize(
    ("parts", "calls"),
    [
        (
            [
                part("", index=0, id="a", function=F),
                part("{}", index=0, id="b", function=G),
            ],
            [("a", "f", ""), ("b", "g", "{}")],
        ),
        (
            [
                part('{"x"', id="a", function=F),
                part('{"y"', id="b", function=G),
                part(":1}", id="a"),
                part(":2}", id="b"),
            ],
            [("a", "f", '{"x":1}'), ("b", "g", '{"y":2}')],
        ),
        (
            [
                part("{}", index=0, id="a", function=F),
                part("", index=0, id="a", function=F),
            ],
            [("a", "f", "{}")],
        ),
        (
            [part('{"x"', index=0, function=F), part(":1}", index=0, id="a")],
            [("a", "f", '{"x":1}')],
        ),
        (
            [part('{"x"', index=0, id="a", function=F), part(":1}", index=0, id="a")],
            [("a", "f", '{"x":1}')],
        ),
        (
            [part(None, index=0, id="a", function=F), part("{}", index=0)],
            [("a", "f", "{}")],
        ),
    ],
    ids=[
        "a call without arguments",
        "ids only, by turns",
        "id and name in each part",
        "the id comes late",
        "the id in each part",
        "null arguments",
    ],
)
def test_parts_of_calls_find_their_call(parts: list, calls: list) -> None:
    assert calls_of(*parts) == calls


def test_parts_without_id_and_number_go_to_the_last_call_and_a_name_begins_one() -> (
    None
):
    parts = [part("", function=F), part("", function=G), part('{"y"'), part(":2}")]
    assert [call[1:] for call in calls_of(*parts)] == [("f", ""), ("g", '{"y":2}')]


def test_a_call_keeps_its_type() -> None:
    call = {"index": 0, "id": "a", "type": "custom", "function": F}
    parts = [
        delta(tool_calls=[call]),
        part("{}", index=0),
        part("{}", index=1, function=G),
    ]
    calls = read(framed([*parts, finish("tool_calls")])).tool_calls
    assert [call["type"] for call in calls] == ["custom", "function"]


def test_bottomless_arguments_break_nothing() -> None:
    deep = "[" * 100_000
    parts = part(deep, index=0, function=F), part("{}", index=0, function=F)
    assert calls_of(*parts)[0][2] == deep + "{}"


def test_a_number_of_a_call_that_is_none_is_passed_over() -> None:
    assert [c[1] for c in calls_of(part("{}", index=[0], function=F))] == ["f"]


@pytest.mark.parametrize(
    ("counts", "read_as"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 9}, Usage(3, 4)),
        ({"prompt_tokens": 3, "total_tokens": 9}, Usage(3, 6)),
        ({"prompt_tokens": 0, "total_tokens": 4}, Usage(0, 4)),
        ({"prompt_tokens": 5, "total_tokens": 3}, Usage(5, 0)),
        ({"prompt_tokens": 0, "completion_tokens": 0}, Usage(0, 0)),
        ({"prompt_tokens": 120_000, "completion_tokens": 5000}, Usage(120_000, 5000)),
        ({"prompt_tokens": 3.7, "completion_tokens": 4.2}, Usage(3, 4)),
        ({"completion_tokens": 4}, None),
        ({"prompt_tokens": "7", "total_tokens": 9}, None),
        *(({"prompt_tokens": n, "completion_tokens": 1}, None) for n in (-1, 1e30)),
        *(
            ({"prompt_tokens": 1, "completion_tokens": n}, None)
            for n in (-1, 1e30, float("nan"))
        ),
    ],
)
def test_the_meaning_of_token_counts(
    counts: dict[str, Any], read_as: Usage | None
) -> None:
    event = json.dumps({"choices": [], "usage": counts})
    assert read(framed([delta(content="a"), event, finish()])).usage == read_as


@pytest.mark.parametrize(
    ("event", "code"),
    [
        ({"text": "m", "error_code": 50002}, "50002"),
        ({"object": "error", "message": "m", "code": 40303}, "40303"),
        ({"choices": [{"delta": {}, "finish_reason": "error"}]}, "error"),
        (
            {
                "error": {"code": 502},
                "choices": [{"delta": {}, "finish_reason": "error"}],
            },
            "502",
        ),
    ],
)
def test_the_code_of_an_error_is_found_where_servers_put_it(
    event: dict, code: str
) -> None:
    with pytest.raises(UpstreamError) as raised:
        read(framed([event]))
    assert raised.value.code == code


def whole(message: dict[str, Any], *, show: bool = True, **choice: Any) -> Any:
    return Reader(show_thoughts=show).whole(
        {"choices": [{"message": message, **choice}]}
    )


def test_a_whole_response_needs_an_end_or_content_but_not_both() -> None:
    assert whole({"content": ""}, finish_reason="stop").finish_reason == "stop"
    assert whole({"content": "a"}).text == "a"


def test_a_whole_response_of_reasoning_is_closed() -> None:
    message = {"content": "", "reasoning": "hm"}
    assert whole(message, finish_reason="stop").text == "<think>\nhm\n</think>"
    assert whole({"content": "<"}, show=False).text == "<"


@pytest.mark.parametrize("beside", ["reasoning", "reasoning_content"])
@pytest.mark.parametrize("before", ["", "\n "])
def test_reasoning_that_is_there_twice_is_shown_once(beside: str, before: str) -> None:
    content = f"{before}<think>\nin\n</think>\nYes"
    assert whole({"content": content, beside: "beside"}).text == content
