"""Cached Model as the SDK calls it, on a fake upstream."""

import json
from decimal import Decimal

import pytest
from dify_plugin.core.session_context import use_current_session
from dify_plugin.entities.model.message import (
    AssistantPromptMessage,
    ImagePromptMessageContent,
    PromptMessageTool,
    SystemPromptMessage,
    TextPromptMessageContent,
    ToolPromptMessage,
    UserPromptMessage,
)
from dify_plugin.errors.model import (
    CredentialsValidateFailedError,
    InvokeAuthorizationError,
    InvokeBadRequestError,
    InvokeConnectionError,
    InvokeRateLimitError,
    InvokeServerUnavailableError,
)

from tests.fake_upstream import FakeUpstream, Script, delta, finish, usage
from tests.plugins.helpers import ask, text

TOOL = PromptMessageTool(name="f", description="", parameters={"type": "object"})


def test_a_miss_streams_as_the_upstream_does_and_a_hit_in_one_chunk(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    form["cache_options"] = "price: {input: 1, output: 2, per: 1, currency: EUR}"
    cold, warm = ask(form, "a b"), ask(form, "a b")
    assert [chunk.delta.message.content for chunk in cold] == ["echo:", " a", " b", ""]
    assert [chunk.delta.message.content for chunk in warm] == ["echo: a b"]
    assert upstream.calls == 1
    for chunks, price in ((cold, Decimal(17)), (warm, Decimal(0))):
        last = chunks[-1].delta
        assert last.finish_reason == "stop"
        assert last.usage is not None
        assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (7, 5)
        assert last.usage.total_price == price
        assert last.usage.currency == "EUR"
        assert [chunk for chunk in chunks[:-1] if chunk.delta.usage] == []
        assert all(isinstance(chunk.delta.message.content, str) for chunk in chunks)


@pytest.mark.parametrize(
    ("first", "second"), [(True, False), (False, True), (False, False)]
)
def test_streaming_and_blocking_share_one_entry(
    upstream: FakeUpstream, form: dict[str, str], first: bool, second: bool
) -> None:
    cold, warm = ask(form, stream=first), ask(form, stream=second)
    assert text(cold) == text(warm) == "echo: hi"
    assert cold[-1].delta.finish_reason == warm[-1].delta.finish_reason == "stop"
    assert upstream.calls == 1
    assert upstream.requests[0]["stream"] is first
    assert len(warm) == 1


def test_tool_calls_and_reasoning_replay_as_they_were(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    form["function_calling_type"] = "tool_call"
    part = {"index": 0, "id": "call_1", "type": "function"}
    upstream.script = Script(
        events=[
            delta(reasoning_content="let me "),
            delta(reasoning_content="see"),
            delta(content="I look it up."),
            delta(
                tool_calls=[{**part, "function": {"name": "f", "arguments": '{"x"'}}]
            ),
            delta(tool_calls=[{"index": 0, "function": {"arguments": ": 1}"}}]),
            finish("tool_calls"),
            usage(),
            "[DONE]",
        ]
    )
    answers = [ask(form, tools=[TOOL], cache_control="always") for _ in range(2)]
    for chunks in answers:
        assert text(chunks) == "<think>\nlet me see\n</think>I look it up."
        (call,) = chunks[-1].delta.message.tool_calls
        assert (call.id, call.function.name, call.function.arguments) == (
            "call_1",
            "f",
            '{"x": 1}',
        )
        assert chunks[-1].delta.finish_reason == "tool_calls"
    assert upstream.calls == 1


# --- bypass rules ---------------------------------------------------------------

CONVERSATION = [
    SystemPromptMessage(content="s"),
    UserPromptMessage(content="1"),
    AssistantPromptMessage(content="2"),
    UserPromptMessage(content="3"),
]
TOOL_RESULT = [
    UserPromptMessage(content="1"),
    ToolPromptMessage(content="2", tool_call_id="c"),
]
BY_URL = [
    UserPromptMessage(
        content=[
            TextPromptMessageContent(data="what is it?"),
            ImagePromptMessageContent(
                url="https://x/y.png", format="png", mime_type="image/png"
            ),
        ]
    )
]


@pytest.mark.parametrize(
    "question",
    [CONVERSATION, TOOL_RESULT, BY_URL],
    ids=["history", "tool result", "url"],
)
def test_rarely_repeated_requests_are_cached_under_always_only(
    upstream: FakeUpstream, form: dict[str, str], question: list
) -> None:
    form["function_calling_type"] = "tool_call"
    upstream.script = Script(events=[delta(content="ok"), finish()])
    for _ in range(2):
        ask(form, question)
    assert upstream.calls == 2
    for _ in range(2):
        ask(form, question, cache_control="always")
    assert upstream.calls == 3


def test_a_high_temperature_is_not_cached(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    for _ in range(2):
        ask(form, temperature=1.5)
    assert upstream.calls == 2


def test_offered_tools_are_not_cached(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    form["function_calling_type"] = "tool_call"
    for _ in range(2):
        ask(form, tools=[TOOL])
    assert upstream.calls == 2


def test_mode_off_asks_the_upstream_each_time(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    form["cache_ttl"] = "off"
    for _ in range(2):
        ask(form)
    assert upstream.calls == 2


# --- the three parameters ---------------------------------------------------------


def test_the_caches_parameters_never_reach_the_upstream_or_the_key(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    ask(form, cache_control="automatic", cache_ttl="5 minutes", temperature=0.5)
    ask(form, temperature=0.5)
    assert upstream.calls == 1
    assert not {name for name in upstream.requests[0] if name.startswith("cache_")}


def test_only_without_an_entry_is_a_bad_request(form: dict[str, str]) -> None:
    with pytest.raises(InvokeBadRequestError, match="only kept answers"):
        ask(form, cache_control="only kept answers")


def test_refresh_replaces_the_entry(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    ask(form)
    upstream.script = Script(events=[delta(content="new"), finish()])
    assert text(ask(form, cache_control="ask anew")) == "new"
    assert text(ask(form)) == "new"


@pytest.mark.parametrize(
    ("parameter", "says"),
    [
        ({"cache_tags": "x" * 200}, "cache_tags"),
    ],
)
def test_a_wrong_parameter_is_a_bad_request_that_names_it(
    form: dict[str, str], parameter: dict[str, str], says: str
) -> None:
    with pytest.raises(InvokeBadRequestError, match=says):
        ask(form, **parameter)


# --- scopes -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "sent"), [("shared", False), ("app", False), ("user", True)]
)
def test_the_user_is_named_upstream_only_where_answers_are_the_users_own(
    upstream: FakeUpstream, form: dict[str, str], scope: str, sent: bool
) -> None:
    form["cache_scope"] = scope
    ask(form, user="alice")
    assert ("user" in upstream.requests[0]) is sent


def test_users_do_not_share_in_scope_user(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    form["cache_scope"] = "user"
    for user in ("alice", "bob", "alice", ""):
        ask(form, user=user)
    assert upstream.calls == 3


def test_apps_do_not_share_in_scope_app(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    form["cache_scope"] = "app"

    class FakeSession:
        def __init__(self, app_id: str | None) -> None:
            self.app_id = app_id

    for app_id in ("a", "b", "a", None, None):
        with use_current_session(FakeSession(app_id)):  # type: ignore[arg-type]
            ask(form)
    assert upstream.calls == 4


def test_load_balanced_keys_share_answers_in_a_redis(
    upstream: FakeUpstream, form: dict[str, str], redis_url: str
) -> None:
    form |= {"redis_url": redis_url, "cache_options": "redis_timeout_ms: 2000"}
    ask(form)
    ask(form | {"api_key": "another-key"})
    assert upstream.calls == 1


def test_other_headers_do_not_share(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    ask(form | {"extra_headers": '{"X-Team": "a"}'})
    ask(form | {"extra_headers": '{"X-Team": "b"}'})
    assert upstream.calls == 2
    assert upstream.headers[0]["x-team"] == "a"


# --- faults -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, InvokeBadRequestError),
        (401, InvokeAuthorizationError),
        (403, InvokeAuthorizationError),
        (404, InvokeBadRequestError),
        (422, InvokeBadRequestError),
        (429, InvokeRateLimitError),
        (500, InvokeServerUnavailableError),
        (503, InvokeServerUnavailableError),
        (302, InvokeBadRequestError),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_a_refusal_keeps_its_type_and_shows_no_body(
    upstream: FakeUpstream, form: dict[str, str], status: int, error: type, stream: bool
) -> None:
    body = b'{"error": {"code": "some_code", "message": "secret body the-key"}}'
    upstream.script = Script(status=status, body=body, headers={"Retry-After": "7"})
    with pytest.raises(error) as raised:
        ask(form, stream=stream)
    said = str(raised.value)
    assert f"HTTP {status} (some_code)" in said
    assert "secret body" not in said
    assert "the-key" not in said
    if status == 429:
        assert "wait 7 s" in said


def test_an_unreachable_upstream_is_a_connection_error(form: dict[str, str]) -> None:
    form["endpoint_url"] = "http://127.0.0.1:9/v1"
    with pytest.raises(InvokeConnectionError, match="endpoint_url"):
        ask(form)


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (Script(events=[delta(content="half")], cut=True), InvokeConnectionError),
        (Script(events=[delta(content="half")]), InvokeServerUnavailableError),
        (
            Script(events=[delta(content="half")], framing="close"),
            InvokeServerUnavailableError,
        ),
        (
            Script(events=[delta(content="half"), b"data: {not json\n\n"]),
            InvokeServerUnavailableError,
        ),
        (
            Script(
                events=[
                    delta(content="half"),
                    {"error": {"message": "m", "code": "overloaded"}},
                ]
            ),
            InvokeServerUnavailableError,
        ),
        (
            Script(
                events=[
                    delta(content="half"),
                    {"error": {"code": "rate_limit_exceeded"}},
                ]
            ),
            InvokeRateLimitError,
        ),
    ],
    ids=[
        "cut chunk",
        "no end",
        "no end, closed",
        "not json",
        "error event",
        "rate limit event",
    ],
)
def test_a_stream_that_breaks_keeps_what_was_shown_raises_and_is_not_kept(
    upstream: FakeUpstream, form: dict[str, str], script: Script, error: type
) -> None:
    from models.llm.llm import CachedModelLargeLanguageModel

    upstream.script = script
    chunks = CachedModelLargeLanguageModel([]).invoke(
        "m", form, [UserPromptMessage(content="hi")], {}, stream=True
    )
    assert next(chunks).delta.message.content == "half"
    with pytest.raises(error):
        next(chunks)
    upstream.script = Script()
    assert text(ask(form)) == "echo: hi"


@pytest.mark.parametrize("reason", ["length", "content_filter"])
def test_a_cut_answer_is_served_and_not_kept(
    upstream: FakeUpstream, form: dict[str, str], reason: str
) -> None:
    upstream.script = Script(events=[delta(content="half"), finish(reason)])
    for _ in range(2):
        chunks = ask(form)
        assert text(chunks) == "half"
        assert chunks[-1].delta.finish_reason == reason
    assert upstream.calls == 2


def test_structured_output_that_breaks_its_schema_is_not_kept(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    form["structured_output_support"] = "supported"
    schema = '{"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}'
    for answer, calls in (
        ('{"n": "one"}', 1),
        ("not json", 2),
        ('{"n": 1}', 3),
        ("", 3),
    ):
        upstream.script = Script(events=[delta(content=answer), finish()])
        chunks = ask(form, response_format="json_schema", json_schema=schema)
        assert text(chunks) == (answer or '{"n": 1}')
        assert upstream.calls == calls
    sent = upstream.requests[0]["response_format"]["json_schema"]
    assert sent["schema"]["required"] == ["n"]


def test_usage_is_estimated_where_the_upstream_reports_none(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    upstream.script = Script(usage=False)
    last = ask(form, "how are you today?")[-1].delta
    assert last.usage is not None
    assert last.usage.prompt_tokens > 0
    assert last.usage.completion_tokens > 0


def test_a_redis_that_is_down_fails_no_answer(
    upstream: FakeUpstream, form: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    form |= {"redis_url": "redis://:hunter2hunter2@127.0.0.1:9/7"}
    for _ in range(3):
        assert text(ask(form)) == "echo: hi"
    assert upstream.calls == 3
    assert len([r for r in caplog.records if "unavailable" in r.message]) == 1
    assert "hunter2" not in caplog.text


def test_answers_come_from_a_real_redis(
    upstream: FakeUpstream, form: dict[str, str], redis_url: str
) -> None:
    form |= {"redis_url": redis_url, "cache_secret": "a long enough secret"}
    form["cache_options"] = "redis_timeout_ms: 2000"
    assert text(ask(form)) == text(ask(form)) == "echo: hi"
    assert upstream.calls == 1


def test_a_server_that_answers_a_stream_in_one_piece_is_understood(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    body = b'{"choices": [{"message": {"content": "whole"}, "finish_reason": "stop"}]}'
    upstream.script = Script(body=body)
    assert text(ask(form)) == text(ask(form)) == "whole"
    assert upstream.calls == 1


def test_tokens_are_counted_without_the_network(form: dict[str, str]) -> None:
    from models.llm.llm import CachedModelLargeLanguageModel

    model = CachedModelLargeLanguageModel([])
    prose = "The shop opens at nine and closes in the evening. " * 10
    count = model.get_num_tokens("m", form, [UserPromptMessage(content=prose)])
    assert 90 <= count <= 130
    assert model.get_num_tokens("m", form, []) == 0


def test_cookies_are_not_kept(upstream: FakeUpstream, form: dict[str, str]) -> None:
    upstream.script = Script(
        body=b'{"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]}',
        headers={"Set-Cookie": "session=1"},
    )
    for question in ("a", "b"):
        ask(form, question)
    assert "Cookie" not in upstream.headers[1]


def test_connections_are_used_again(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    for number in range(5):
        ask(form, f"question {number}")
    assert upstream.connections == 1


def test_a_whole_long_answer_reaches_the_host_in_lines_it_can_take(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    upstream.script = Script(events=[delta(content="\u0001" * 1_000_000), finish()])
    form["cache_options"] = "max_entry_bytes: 2097152"
    for stream in (True, False):
        chunks = ask(form, stream=stream)
        assert len(text(chunks)) == 1_000_000
        assert max(len(chunk.model_dump_json()) for chunk in chunks) < 1_000_000
        assert [chunk.delta.finish_reason for chunk in chunks[-2:]] == [None, "stop"]


def test_a_remote_reference_in_a_schema_is_not_fetched(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    form["structured_output_support"] = "supported"
    schema = f'{{"$ref": "{upstream.url}/schema.json"}}'
    upstream.script = Script(events=[delta(content="{}"), finish()])
    for _ in range(2):
        assert (
            text(ask(form, response_format="json_schema", json_schema=schema)) == "{}"
        )
    assert upstream.calls == 2
    assert upstream.gets == 0


def test_a_compressed_stream_is_read_and_kept(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    import gzip

    frames = (
        b'data: {"choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}]}\n\n'
    )
    upstream.script = Script(
        body=gzip.compress(frames + b"data: [DONE]\n\n"),
        headers={"Content-Type": "text/event-stream", "Content-Encoding": "gzip"},
    )
    assert text(ask(form)) == text(ask(form)) == "a"
    assert upstream.calls == 1


def test_pings_after_the_end_hold_nobody_up(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    pings = [b": ping\n\n"] * 200
    upstream.script = Script(
        events=[delta(content="a"), finish(), "[DONE]", *pings], delay=0.02
    )
    form["cache_options"] = "deadline_seconds: 2"
    assert text(ask(form)) == text(ask(form)) == "a"
    assert upstream.calls == 1


def test_a_server_that_dribbles_past_the_deadline_is_given_up(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    upstream.script = Script(events=[b": ping\n"] * 300, delay=0.02)
    form["cache_options"] = "deadline_seconds: 1"
    with pytest.raises(InvokeConnectionError, match="did not answer in time"):
        ask(form)


def test_two_models_of_one_endpoint_hit_each_for_itself(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    from models.llm.llm import CachedModelLargeLanguageModel

    form["endpoint_model_name"] = "real"
    for _ in range(3):
        for name in ("one", "other"):
            model = CachedModelLargeLanguageModel([])
            assert list(model.invoke(name, form, [UserPromptMessage(content="hi")], {}))
    assert upstream.calls == 2


@pytest.mark.parametrize(
    "schema",
    [
        '{"type": "string", "pattern": "^(a+)+$"}',
        '{"$ref": "#"}',
        '{"items": {"uniqueItems": true}}',
        '{"$ref": "http://h/s.json"}',
        '{"$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"}',
    ],
)
def test_a_schema_that_could_take_forever_is_not_run(
    upstream: FakeUpstream, form: dict[str, str], schema: str
) -> None:
    form["structured_output_support"] = "supported"
    upstream.script = Script(events=[delta(content='"' + "a" * 40 + '!"'), finish()])
    for _ in range(2):
        ask(form, response_format="json_schema", json_schema=schema)
    assert upstream.calls == 2


def test_references_inside_a_schema_are_followed(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    form["structured_output_support"] = "supported"
    schema = (
        '{"$defs": {"n": {"type": "integer"}}, "type": "object",'
        ' "properties": {"pattern": {"$ref": "#/$defs/n"}}, "required": ["pattern"]}'
    )
    for answer, calls in (('{"pattern": "x"}', 1), ('{"pattern": 1}', 2), ("", 2)):
        upstream.script = Script(events=[delta(content=answer), finish()])
        ask(form, response_format="json_schema", json_schema=schema)
        assert upstream.calls == calls


# --- complete answers are kept, others are not ------------------------------------


def choice(index: int, text: str = "", reason: str | None = None) -> dict[str, object]:
    delta = {"content": text} if text else {}
    return {"choices": [{"index": index, "delta": delta, "finish_reason": reason}]}


def test_of_several_choices_the_caller_gets_the_first_whole(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    upstream.script = Script(
        events=[
            *(choice(0, "Yes"), choice(1, "No"), choice(0, ", sir"), choice(1, "pe")),
            *(choice(1, "", "length"), choice(0, "", "stop"), "[DONE]"),
        ]
    )
    assert text(ask(form)) == text(ask(form)) == "Yes, sir"
    assert upstream.calls == 1


@pytest.mark.parametrize("first", ["content_filter", "length", "tool_calls"])
def test_a_verdict_that_is_not_stop_is_never_overruled(
    upstream: FakeUpstream, form: dict[str, str], first: str
) -> None:
    upstream.script = Script(
        events=[
            choice(0, "half"),
            choice(0, "", first),
            choice(0, "", "stop"),
            "[DONE]",
        ]
    )
    chunks = ask(form)
    assert chunks[-1].delta.finish_reason == first
    ask(form)
    assert upstream.calls == 2


def frames(*events: object, end: bytes = b"") -> bytes:
    lines = (b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
    return b"".join(lines) + end


@pytest.mark.parametrize(
    ("said", "given"),
    [
        (frames(choice(0, "Take 1", "stop"), choice(0, "0 mg", "stop")), "Take 10 mg"),
        (frames(choice(0, "Take 1", "stop"), choice(0, "0", None)), "Take 10"),
    ],
)
def test_an_answer_that_is_cut_after_its_first_end_is_served_and_not_kept(
    upstream: FakeUpstream, form: dict[str, str], said: bytes, given: str
) -> None:
    upstream.script = Script(events=[said])
    for _ in range(2):
        assert text(ask(form)) == given
    assert upstream.calls == 2


def test_half_a_frame_after_the_end_is_an_error(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    cut = frames(choice(0, "Take 1", "stop"), end=b'data: {"choices": [{"ind')
    upstream.script = Script(events=[cut])
    with pytest.raises(InvokeServerUnavailableError, match="before it was complete"):
        ask(form)
    upstream.script = Script()
    assert text(ask(form)) == "echo: hi"


def test_a_server_that_says_stop_in_each_chunk_and_ends_properly_is_cached(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    said = [choice(0, word, "stop") for word in ("Take ", "10 ", "mg")]
    usage = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 3}}
    upstream.script = Script(events=[frames(*said, usage, end=b"data: [DONE]\n\n")])
    assert text(ask(form)) == text(ask(form)) == "Take 10 mg"
    assert upstream.calls == 1


@pytest.mark.parametrize("thoughts", ["supported", "not_supported"])
def test_reasoning_alone_is_no_answer(
    upstream: FakeUpstream, form: dict[str, str], thoughts: str
) -> None:
    form["agent_thought_support"] = thoughts
    upstream.script = Script(
        events=[
            {"choices": [{"index": 0, "delta": {"reasoning_content": "Hm."}}]},
            *(choice(0, "", "stop"), "[DONE]"),
        ]
    )
    for _ in range(2):
        ask(form)
    assert upstream.calls == 2


# --- isolation without a Redis, and the age of answers ----------------------------


def test_without_a_redis_two_workspaces_with_equal_forms_share_nothing(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    form.pop("api_key")
    for _ in range(2):
        ask(form)
    assert upstream.calls == 2, "nothing distinguishes forms without a key"


def test_saving_says_that_nothing_would_be_kept(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    from cached_model import chat, check

    form.pop("api_key")
    with pytest.raises(
        CredentialsValidateFailedError, match=r"redis_url.*cache_secret"
    ):
        check.check("m", form, chat.ping)
    check.check("m", form | {"cache_secret": "a long enough secret"}, chat.ping)
    check.check("m", form | {"cache_ttl": "off"}, chat.ping)


def test_a_node_is_given_nothing_older_than_it_asks_for(
    upstream: FakeUpstream, form: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from cached_model import form as forms

    ask(form, cache_ttl="7 days")
    cache = forms.read(form).cache
    now = cache._lookup._clock
    for part in (cache._lookup, cache._keeper):
        monkeypatch.setattr(part, "_clock", lambda: now() + 400)
    ask(form, cache_ttl="5 minutes")
    assert upstream.calls == 2
    ask(form, cache_ttl="7 days")
    assert upstream.calls == 2
