"""Users of Dify's OpenAI-API-compatible provider lose nothing by a change to ours.

In each case, its published tests, or answers that it accepts, once had a worse result
here.
"""

import json
from typing import Any

import pytest
from dify_plugin.entities.model import ModelFeature
from dify_plugin.entities.model.message import (
    AudioPromptMessageContent,
    PromptMessageTool,
    SystemPromptMessage,
    TextPromptMessageContent,
    ToolPromptMessage,
    UserPromptMessage,
    VideoPromptMessageContent,
)
from dify_plugin.errors.model import (
    CredentialsValidateFailedError,
    InvokeBadRequestError,
)

from cached_model import chat, check
from cached_model import form as forms
from cached_model.body import build
from cached_model.reader import Reader
from cached_model.schema import model_schema
from cached_model.sse import NotEvents, events
from tests.fake_upstream import FakeUpstream, Script, delta, finish, vector
from tests.plugins.helpers import ask, text

BASE = {"endpoint_url": "http://host/v1", "context_size": "4096"}
HI = [UserPromptMessage(content="hi")]
SCHEMA = json.dumps({"type": "object", "properties": {"a": {"type": "string"}}})


def body(messages: Any = HI, parameters: Any = None, **fields: str) -> dict[str, Any]:
    return build(
        forms.read(BASE | fields), "m", messages, parameters or {}, [], []
    ).body


def calls(*parts: Any) -> list[tuple[str, str]]:
    """Names and arguments of the calls that result from these parts, one event each."""
    read = [delta(tool_calls=part) for part in parts]
    said = Reader(show_thoughts=True).pieces([*read, finish("tool_calls"), "[DONE]"])
    return [(c["name"], c["arguments"]) for piece in said for c in piece.tool_calls]


def function(name: str | None, arguments: str) -> dict[str, Any]:
    named = {} if name is None else {"name": name}
    return {"function": {**named, "arguments": arguments}}


# --- requests to the upstream ---------------------------------------------------


def test_the_older_way_of_calling_names_the_function_of_a_result() -> None:
    result = ToolPromptMessage(content="9", tool_call_id="0b6f", name="hours")
    made = body([*HI, result], function_calling_type="function_call")
    assert made["messages"][1] == {"role": "function", "name": "hours", "content": "9"}


def media(native: bool) -> list[Any]:
    video = VideoPromptMessageContent(
        base64_data="QQ==", format="mp4", mime_type="video/mp4"
    )
    sound = AudioPromptMessageContent(
        base64_data="QQ==", format="mp3", mime_type="audio/mp3"
    )
    options = "media_parts: native" if native else ""
    message = UserPromptMessage(content=[video, sound])
    return list(body([message], cache_options=options)["messages"][0]["content"])


def test_films_and_sounds_go_up_as_gateways_take_them_or_as_vllm_does() -> None:
    assert media(native=False) == [
        {"type": "image_url", "image_url": {"url": "data:video/mp4;base64,QQ=="}},
        {"type": "image_url", "image_url": {"url": "data:audio/mp3;base64,QQ=="}},
    ]
    assert media(native=True) == [
        {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,QQ=="}},
        {"type": "input_audio", "input_audio": {"data": "QQ==", "format": "mp3"}},
    ]


@pytest.mark.parametrize(
    "system",
    [
        [],
        [SystemPromptMessage(content="Be brief.")],
        [SystemPromptMessage(content=[TextPromptMessageContent(data="Be brief.")])],
    ],
)
def test_a_schema_is_in_the_prompt_too_because_not_every_server_enforces_it(
    system: list[Any],
) -> None:
    wanted = {"response_format": "json_schema", "json_schema": SCHEMA}
    made = body([*system, *HI], wanted)
    assert made["response_format"]["json_schema"]["schema"] == json.loads(SCHEMA)
    said = json.dumps(made["messages"][0]["content"])
    assert made["messages"][0]["role"] == "system"
    assert "JSON schema" in said
    assert ("Be brief." in said) == bool(system)
    assert len(made["messages"]) == 2
    assert "JSON schema" not in json.dumps(body([*system, *HI]))


@pytest.mark.parametrize(
    ("name", "endpoint"), [("gpt-5", "mine"), ("mine", "o3"), ("GPT-5-mini", "")]
)
def test_either_name_of_a_model_tells_how_it_calls_the_limit_on_tokens(
    name: str, endpoint: str
) -> None:
    form = forms.read(BASE | {"endpoint_model_name": endpoint})
    made = build(form, name, HI, {"max_tokens": 9}, [], []).body
    assert made["max_completion_tokens"] == 9


def test_penalties_may_be_finer_than_a_hundredth(form: dict[str, str]) -> None:
    assert text(ask(form, frequency_penalty=0.125)) == "echo: hi"
    assert text(ask(form, response_format="json_schema", json_schema=SCHEMA))


# --- data for Dify ----------------------------------------------------------------


def test_a_model_shows_its_name_for_people_and_all_that_it_takes() -> None:
    supports = ("vision_support", "video_support", "audio_support", "document_support")
    fields = dict.fromkeys(supports, "support") | {"display_name": "Ours"}
    schema = model_schema("m", forms.read(BASE | fields))
    assert schema.label.en_us == "Ours"
    assert {
        ModelFeature.VISION,
        ModelFeature.VIDEO,
        ModelFeature.AUDIO,
        ModelFeature.DOCUMENT,
    } <= set(schema.features or [])


def test_tools_count_among_the_tokens_of_a_prompt(form: dict[str, str]) -> None:
    from models.llm.llm import CachedModelLargeLanguageModel

    tool = PromptMessageTool(name="hours", description="when", parameters={"a": "b"})
    count = CachedModelLargeLanguageModel([]).get_num_tokens
    assert count("m", form, HI, [tool]) > count("m", form, HI) + 10


# --- answers of the upstream ------------------------------------------------------


def test_parts_without_a_name_are_no_calls() -> None:
    assert calls([{"id": "c"}], [{}], [{"index": 0}]) == []


def test_two_calls_of_one_number_and_no_id_stay_two() -> None:
    both = [
        {"index": 0, **function("a", "{}")},
        {"index": 0, **function("a", '{"b":1}')},
    ]
    assert calls(both) == [("a", "{}"), ("a", '{"b":1}')]
    assert calls([both[0]], [both[1]]) == [("a", "{}"), ("a", '{"b":1}')]


def test_a_name_that_is_repeated_with_each_part_is_one_name() -> None:
    parts = [{"index": 0, **function("a", one)} for one in ('{"b"', ":1}")]
    assert calls(*([part] for part in parts)) == [("a", '{"b":1}')]
    older = [
        delta(function_call={"name": "hours", "arguments": one}) for one in ("{", "}")
    ]
    *_, last = Reader(show_thoughts=True).pieces([*older, finish("function_call")])
    assert [(c["name"], c["arguments"]) for c in last.tool_calls] == [("hours", "{}")]


def test_events_that_say_they_are_json_are_read_as_events(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    frames = [delta(content="yes"), finish()]
    said = b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in frames)
    upstream.script = Script(body=said)
    assert text(ask(form)) == "yes"


def test_lines_of_json_without_a_field_are_read_as_events() -> None:
    said = b"\n".join(
        json.dumps(one).encode() for one in (delta(content="a"), finish())
    )
    *pieces, last = Reader(show_thoughts=True).pieces(events([said]))
    assert ("".join(p.text for p in pieces), last.finish_reason) == ("a", "stop")


@pytest.mark.parametrize(
    "junk", [b"data: DONE\n\n", b"data: {oops\n\n", b"data: 1\n\n"]
)
def test_invalid_json_after_the_end_is_an_error_too(junk: bytes) -> None:
    said = b"".join(
        b"data: " + json.dumps(one).encode() + b"\n\n"
        for one in (delta(content="a"), finish())
    )
    with pytest.raises(NotEvents):
        list(Reader(show_thoughts=True).pieces(events([said + junk])))


@pytest.mark.parametrize(
    "usage",
    [None, {"prompt_tokens": 7}, {"prompt_tokens": 7, "completion_tokens": None}],
)
@pytest.mark.parametrize("ends", [[finish()], []])
def test_usage_that_is_missing_is_estimated_however_the_answer_ends(
    upstream: FakeUpstream, form: dict[str, str], usage: Any, ends: list[Any]
) -> None:
    counted = [] if usage is None else [{"choices": [], "usage": usage}]
    upstream.script = Script(events=[delta(content="a b c"), *ends, *counted, "[DONE]"])
    given = [one.delta.usage for one in ask(form) if one.delta.usage]
    assert len(given) == 1
    assert given[0].completion_tokens > 0


def test_a_total_gives_what_is_missing_of_the_usage() -> None:
    usage = {"prompt_tokens": 7, "total_tokens": 10}
    said = [delta(content="a"), finish(), {"choices": [], "usage": usage}]
    *_, last = Reader(show_thoughts=True).pieces(said)
    assert last.usage is not None
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (7, 3)


# --- errors -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            {"error": {"code": 400, "type": "BadRequestError", "message": "x"}},
            r"HTTP 400 \(BadRequestError\)",
        ),
        (
            {"object": "error", "type": "BadRequestError", "code": 400},
            r"HTTP 400 \(BadRequestError\)",
        ),
        (
            {
                "error": {
                    "message": "This model's maximum context length is 4096 tokens"
                }
            },
            r"longer than the model takes. Check Model Context Size",
        ),
        ({"detail": "the secret-key is wrong"}, "does not accept this request"),
    ],
)
def test_a_refusal_says_why_as_far_as_it_can_without_the_servers_words(
    upstream: FakeUpstream, form: dict[str, str], answer: Any, said: str
) -> None:
    upstream.script = Script(status=400, body=json.dumps(answer).encode())
    with pytest.raises(InvokeBadRequestError, match=said) as raised:
        ask(form)
    assert "secret-key" not in str(raised.value)


@pytest.mark.parametrize("status", [301, 307, 308])
def test_a_redirect_is_named(
    upstream: FakeUpstream, form: dict[str, str], status: int
) -> None:
    upstream.script = Script(status=status, headers={"Location": "http://h/v2"})
    with pytest.raises(InvokeBadRequestError, match="leads elsewhere"):
        ask(form)


# --- the check of the form --------------------------------------------------------


def checked(form: dict[str, str]) -> None:
    check.check("m", form, chat.ping)


@pytest.mark.parametrize("said", [{"object": "chat.completion"}, {"choices": []}])
def test_a_model_that_has_nothing_to_say_passes(
    upstream: FakeUpstream, form: dict[str, str], said: Any
) -> None:
    upstream.script = Script(body=json.dumps(said).encode())
    checked(form)


@pytest.mark.parametrize("said", [b'{"error": {"code": "x"}}', b"<html>", b"[]"])
def test_other_answers_of_a_server_do_not_pass(
    upstream: FakeUpstream, form: dict[str, str], said: bytes
) -> None:
    upstream.script = Script(body=said)
    with pytest.raises(CredentialsValidateFailedError):
        checked(form)


def test_a_server_that_only_streams_is_checked_by_streaming(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    upstream.script = lambda request: Script(status=200 if request["stream"] else 400)
    with pytest.raises(CredentialsValidateFailedError):
        checked(form)
    checked({**form, "stream_mode_auth": "use"})


def test_a_model_that_must_not_think_so_briefly_passes(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    upstream.script = lambda request: Script(
        status=200 if request.get("thinking") == {"type": "disabled"} else 400
    )
    checked(form)


def test_a_server_that_knows_the_newer_limit_only_is_a_sentence_that_says_so(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    upstream.script = lambda request: Script(
        status=400 if "max_tokens" in request else 200
    )
    with pytest.raises(CredentialsValidateFailedError, match="max_completion_tokens"):
        checked(form)
    checked({**form, "token_param_name": "max_completion_tokens"})


# --- embeddings -------------------------------------------------------------------


def test_a_server_that_takes_fewer_texts_gets_fewer_and_is_remembered(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    from models.text_embedding.text_embedding import CachedModelTextEmbedding

    upstream.script = lambda request: Script(
        status=200 if len(request["input"]) <= 10 else 400
    )
    texts = [f"text {number}" for number in range(64)]
    made = CachedModelTextEmbedding([]).invoke("m", form, texts)
    assert made.embeddings == [vector(text) for text in texts]
    refused = [r for r in upstream.requests if len(r["input"]) > 10]
    assert len(refused) == 2  # 32 and 16, once each
    upstream.script = Script(status=400)
    with pytest.raises(InvokeBadRequestError):
        CachedModelTextEmbedding([]).invoke("m", form, ["one that is refused"])
