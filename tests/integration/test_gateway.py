"""The OpenAI-compatible endpoints, asked by OpenAI's own client and by Cached Model."""

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from devhost.endpoints import Endpoints
from devhost.host import Host
from tests.integration.test_endpoints_of_rag_cache import TOKEN
from tests.integration.test_plugins_in_the_host import MODEL, TOOLS
from tests.integration.test_plugins_in_the_host import ask as ask_cached_model

CHAT = {"provider": "langgenius/openai/openai", "model": "wise", "mode": "chat"}
VECTORS = {"provider": "langgenius/openai/openai", "model": "long"}
MESSAGES: Any = [{"role": "user", "content": "When do you open?"}]
USAGE = {
    "prompt_tokens": 5,
    "prompt_unit_price": "0.1",
    "prompt_price_unit": "0.001",
    "prompt_price": "0.0005",
    "completion_tokens": 3,
    "completion_unit_price": "0.1",
    "completion_price_unit": "0.001",
    "completion_price": "0.0003",
    "total_tokens": 8,
    "total_price": "0.0008",
    "currency": "USD",
    "latency": 0.1,
}
TOOL: Any = {
    "type": "function",
    "function": {"name": "hours", "parameters": {"type": "object", "properties": {}}},
}


def chunk(number: int, text: str = "", **delta: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, "tool_calls": []}
    message |= {"tool_calls": delta.pop("tool_calls", [])}
    return {"model": "wise", "delta": {"index": number, "message": message, **delta}}


def end(number: int, reason: str = "stop", **delta: Any) -> dict[str, Any]:
    return chunk(number, finish_reason=reason, usage=USAGE, **delta)


class FakeWorkspace:
    """A fake: a chat model and an embedding model of the workspace, as Dify calls them."""

    def __init__(self, host: Host) -> None:
        self.asked: list[dict[str, Any]] = []
        self.words = ["We ", "open ", "at 9."]
        self.pause = 0.0
        self.chunks: list[dict[str, Any]] | None = None
        self.error = ""
        self.dimensions = 2
        host.serve("llm", "wise", self._chat)
        host.serve("text_embedding", "long", self._embed)

    def _chat(self, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        self.asked.append(request)
        if self.error:
            raise RuntimeError(self.error)
        chunks = self.chunks or [
            *(chunk(number, word) for number, word in enumerate(self.words)),
            end(len(self.words)),
        ]
        for one in chunks:
            time.sleep(self.pause)
            if one.get("fails"):
                raise RuntimeError(one["fails"])
            yield one

    def _embed(self, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        self.asked.append(request)
        texts = request["texts"]
        usage = {"tokens": len(texts), "total_tokens": len(texts), "unit_price": "0"}
        usage |= {
            "price_unit": "0",
            "total_price": "0",
            "currency": "USD",
            "latency": 0,
        }
        rest = [0.25] * (self.dimensions - 1)
        vectors = [[len(text) / 8, *rest] for text in texts]
        yield {"model": "long", "embeddings": vectors, "usage": usage}


@pytest.fixture
def workspace(host: Host) -> FakeWorkspace:
    return FakeWorkspace(host)


@pytest.fixture
def endpoints() -> Iterator[Endpoints]:
    served = Endpoints()
    yield served
    served.close()


@pytest.fixture
def settings(cache_fields: dict[str, str]) -> dict[str, Any]:
    return {
        **cache_fields,
        "access_token": TOKEN,
        "chat_model_1": CHAT,
        "chat_model_2": None,
        "embedding_model_1": VECTORS,
    }


@pytest.fixture
def url(host: Host, endpoints: Endpoints, settings: dict[str, Any]) -> str:
    return endpoints.add(host.plugin(TOOLS).process, settings) + "/v1"


@pytest.fixture
def client(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=url, api_key=TOKEN, max_retries=0)


def say(client: openai.OpenAI, **more: Any) -> Any:
    more = {"model": "wise", "messages": MESSAGES, **more}
    return client.chat.completions.create(**more)


# --- chats --------------------------------------------------------------------


def test_a_chat_is_answered_and_then_remembered(
    client: openai.OpenAI, workspace: FakeWorkspace
) -> None:
    for _ in range(2):
        answer = say(client, temperature=0.3, max_completion_tokens=99)
        (choice,) = answer.choices
        assert choice.message.content == "We open at 9."
        assert (choice.finish_reason, answer.usage.total_tokens) == ("stop", 8)
    (asked,) = workspace.asked
    assert asked["completion_params"] == {"temperature": 0.3, "max_tokens": 99}
    assert asked["prompt_messages"][0]["content"] == "When do you open?"


def test_a_hit_is_marked(client: openai.OpenAI, workspace: FakeWorkspace) -> None:
    raw = client.chat.completions.with_raw_response
    marks = [
        raw.create(model="wise", messages=MESSAGES).headers["X-Cache"] for _ in range(2)
    ]
    assert marks == ["miss", "hit"]


def test_a_stream_comes_as_it_is_made_and_whole(
    client: openai.OpenAI, workspace: FakeWorkspace
) -> None:
    workspace.pause = 0.1
    started, times, words = time.monotonic(), [], []
    for one in say(client, stream=True, stream_options={"include_usage": True}):
        if one.choices and one.choices[0].delta.content:
            words.append(one.choices[0].delta.content)
            times.append(time.monotonic() - started)
        last = one
    assert words == workspace.words
    assert times[0] < times[1] < times[2]
    assert (last.usage.total_tokens, last.choices) == (8, [])
    again = list(say(client, stream=True))
    assert "".join(c.choices[0].delta.content or "" for c in again) == "We open at 9."
    assert again[-1].choices[0].finish_reason == "stop"
    assert len(workspace.asked) == 1


def test_a_quick_stream_is_not_cut_by_the_host(
    client: openai.OpenAI, workspace: FakeWorkspace
) -> None:
    workspace.words = [f"word{number} " for number in range(600)]
    for number in range(5):
        pieces = say(client, stream=True, user=str(number), seed=number)
        said = "".join(one.choices[0].delta.content or "" for one in pieces)
        assert said == "".join(workspace.words)


def test_a_crowd_at_the_gateway_asks_the_model_once(
    client: openai.OpenAI, workspace: FakeWorkspace
) -> None:
    workspace.pause = 0.1
    said: list[str] = []

    def one() -> None:
        pieces = say(client, stream=True)
        said.append("".join(p.choices[0].delta.content or "" for p in pieces))

    threads = [threading.Thread(target=one) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert said == ["We open at 9."] * 12
    assert len(workspace.asked) == 1


def test_tools_are_offered_and_their_calls_come_back_whole(
    client: openai.OpenAI, workspace: FakeWorkspace
) -> None:
    def part(name: str, call: str, arguments: str) -> dict[str, Any]:
        function = {"name": name, "arguments": arguments}
        return {"id": call, "type": "function", "function": function}

    workspace.chunks = [
        chunk(0, tool_calls=[part("hours", "c1", '{"day"')]),
        chunk(1, tool_calls=[part("", "", ': "sun"}')]),
        end(2, "tool_calls", tool_calls=[part("hours", "c2", "{}")]),
    ]
    answer = say(client, tools=[TOOL], tool_choice="auto")
    calls = answer.choices[0].message.tool_calls
    assert [(c.id, c.function.name, c.function.arguments) for c in calls] == [
        ("c1", "hours", '{"day": "sun"}'),
        ("c2", "hours", "{}"),
    ]
    assert answer.choices[0].finish_reason == "tool_calls"
    assert workspace.asked[0]["tools"][0]["name"] == "hours"
    deltas = [c.choices[0].delta for c in say(client, tools=[TOOL], stream=True)]
    (streamed,) = [delta.tool_calls for delta in deltas if delta.tool_calls]
    assert [(c.index, c.id) for c in streamed] == [(0, "c1"), (1, "c2")]
    assert len(workspace.asked) == 2  # Not cached unless the caller asks for it.
    for _ in range(2):
        say(client, tools=[TOOL], extra_body={"cache_control": "always"})
    assert len(workspace.asked) == 3


def test_a_conversation_with_tools_reaches_the_model_as_it_was(
    client: openai.OpenAI, workspace: FakeWorkspace
) -> None:
    call = {"id": "c1", "type": "function"}
    call |= {"function": {"name": "hours", "arguments": "{}"}}
    messages = [
        {"role": "developer", "content": "Be brief."},
        *MESSAGES,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "9 to 5"},
    ]
    say(client, messages=messages, tools=[TOOL])
    system, _, assistant, tool = workspace.asked[0]["prompt_messages"]
    assert (system["role"], system["content"]) == ("system", "Be brief.")
    assert assistant["content"] == ""
    assert assistant["tool_calls"][0]["function"]["name"] == "hours"
    assert (tool["role"], tool["tool_call_id"]) == ("tool", "c1")


def test_a_schema_reaches_the_model_in_difys_way(
    client: openai.OpenAI, workspace: FakeWorkspace
) -> None:
    schema = {"name": "s", "schema": {"type": "object"}, "strict": True}
    say(client, response_format={"type": "json_schema", "json_schema": schema})
    params = workspace.asked[0]["completion_params"]
    assert params["response_format"] == "json_schema"
    assert json.loads(params["json_schema"]) == schema


def test_an_answer_that_may_lack_something_has_no_finish_reason_and_is_not_kept(
    client: openai.OpenAI, workspace: FakeWorkspace
) -> None:
    workspace.chunks = [chunk(0, "half")]
    for _ in range(2):
        (choice,) = say(client).choices
        assert (choice.message.content, choice.finish_reason) == ("half", None)
    assert len(workspace.asked) == 2


# --- errors -------------------------------------------------------------------


@pytest.mark.parametrize("token", ["wrong", TOKEN[:-1]])
def test_a_wrong_token_is_an_authentication_error(url: str, token: str) -> None:
    client = openai.OpenAI(base_url=url, api_key=token, max_retries=0)
    with pytest.raises(openai.AuthenticationError):
        client.models.list()
    with pytest.raises(openai.AuthenticationError):
        say(client)


@pytest.mark.parametrize("model", ["other", "long", "WISE"])
def test_a_model_that_is_not_picked_is_not_found(
    client: openai.OpenAI, workspace: FakeWorkspace, model: str
) -> None:
    with pytest.raises(openai.NotFoundError) as raised:
        say(client, model=model)
    assert raised.value.code == "model_not_found"
    assert workspace.asked == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"messages": []}, "at least one message"),
        ({"messages": [{"role": "user"}]}, r"messages\[0\].content"),
        ({"messages": [{"role": "king", "content": "x"}]}, r"messages\[0\].role"),
        ({"n": 2}, "this value of n to"),
        ({"logprobs": True}, "this value of logprobs to"),
        (
            {"tool_choice": "required", "tools": [TOOL]},
            "this value of tool_choice to",
        ),
        (
            {"extra_body": {"cache_control": "sometimes"}},
            "cache_control must be one of",
        ),
        ({"extra_body": {"cache_ttl": "long"}}, "cache_ttl"),
        ({"extra_body": {"cache_control": "only"}}, "no cached answer"),
        ({"model": ""}, "GET /v1/models"),
    ],
)
def test_a_request_that_makes_no_sense_is_one_sentence(
    client: openai.OpenAI, workspace: FakeWorkspace, changes: Any, said: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=said):
        say(client, **changes)
    assert workspace.asked == []


@pytest.mark.parametrize(
    ("dify_error", "kind"),
    [
        ("[x] Rate Limit Error, 429", openai.RateLimitError),
        ("[x] Bad Request Error, too long", openai.BadRequestError),
        ("[x] Server Unavailable Error, down", openai.InternalServerError),
        ("[x] Incorrect model credentials provided", openai.InternalServerError),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_the_models_error_keeps_its_kind_also_for_a_stream(
    client: openai.OpenAI,
    workspace: FakeWorkspace,
    dify_error: str,
    kind: type[Exception],
    stream: bool,
) -> None:
    workspace.error = f"read llm model failed: request failed: {dify_error}"
    with pytest.raises(kind):
        say(client, stream=stream)


def test_the_trace_of_a_foreign_plugin_is_not_shown(
    client: openai.OpenAI, workspace: FakeWorkspace
) -> None:
    report = {"args": {"traceback": "File x"}, "error_type": "K", "message": "no luck"}
    workspace.error = f"req_id: 1 PluginInvokeError: {json.dumps(report)}"
    with pytest.raises(openai.InternalServerError, match="no luck") as raised:
        say(client)
    assert "File x" not in str(raised.value)


def test_an_error_in_the_middle_of_a_stream_ends_it_with_that_error(
    client: openai.OpenAI, workspace: FakeWorkspace
) -> None:
    workspace.chunks = [chunk(0, "half"), {"fails": "[x] Rate Limit Error, 429"}]
    pieces = say(client, stream=True)
    assert next(pieces).choices[0].delta.content == "half"
    with pytest.raises(openai.APIError, match="Rate Limit"):
        list(pieces)


def test_a_model_of_cached_models_is_refused_and_not_listed(
    host: Host, endpoints: Endpoints, settings: dict[str, Any]
) -> None:
    ours = {"provider": f"{MODEL}/cached_model", "model": "mine", "mode": "chat"}
    url = endpoints.add(host.plugin(TOOLS).process, {**settings, "chat_model_2": ours})
    client = openai.OpenAI(base_url=url + "/v1", api_key=TOKEN, max_retries=0)
    with pytest.raises(openai.BadRequestError, match="may call this gateway again"):
        say(client, model="mine")
    assert [model.id for model in client.models.list()] == ["wise", "long"]


def test_in_scope_user_a_user_must_be_named_and_gets_only_his_own(
    host: Host,
    endpoints: Endpoints,
    settings: dict[str, Any],
    workspace: FakeWorkspace,
) -> None:
    url = endpoints.add(host.plugin(TOOLS).process, {**settings, "cache_scope": "user"})
    client = openai.OpenAI(base_url=url + "/v1", api_key=TOKEN, max_retries=0)
    with pytest.raises(openai.BadRequestError, match="field user"):
        say(client)
    with pytest.raises(openai.BadRequestError, match="field user"):
        client.embeddings.create(model="long", input="a")
    for user in ("ann", "bob", "ann"):
        say(client, user=user)
    assert len(workspace.asked) == 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"user": 5}, "user must be a text"),
        ({"stop": 5}, "stop must be a text or a list"),
        ({"stop": [None]}, "stop must be a text or a list"),
        ({"cache_tags": {"a": 1}}, "cache_tags takes names"),
        ({"messages": [{"role": "user", "content": ""}] * 2001}, "at most 2000"),
        ({"seed": json.loads("[" * 80 + "]" * 80)}, "nested deeper than"),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "image_url", "image_url": {"url": "http://h/a"}}
                        ],
                    }
                ]
            },
            "send its content as a data URL",
        ),
    ],
)
def test_parameters_that_could_do_harm_are_refused_in_one_sentence(
    client: openai.OpenAI, workspace: FakeWorkspace, changes: Any, said: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=said):
        say(client, extra_body=changes)
    assert workspace.asked == []


@pytest.mark.parametrize(
    "body",
    [
        b'{"model": "wise", "messages": [{"role": "user", "content": "\\ud800"}]}',
        b'{"model": "wise", "messages": [], "seed": NaN}',
        b"[" * 100_000,
        b"{" + b" " * (4 * 1024 * 1024) + b"}",
        b"\xff",
    ],
)
def test_a_body_that_is_no_json_is_refused(url: str, body: bytes) -> None:
    request = urllib.request.Request(
        url + "/chat/completions", body, {"Authorization": f"bearer {TOKEN}"}
    )
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(request, timeout=20)
    assert raised.value.code == 400
    assert json.loads(raised.value.read())["error"]["type"] == "invalid_request_error"


def test_users_that_look_alike_are_distinguished(
    host: Host,
    endpoints: Endpoints,
    settings: dict[str, Any],
    workspace: FakeWorkspace,
) -> None:
    url = endpoints.add(host.plugin(TOOLS).process, {**settings, "cache_scope": "user"})
    client = openai.OpenAI(base_url=url + "/v1", api_key=TOKEN, max_retries=0)
    for user in ("bob", " bob", "bob\u00a0"):
        say(client, user=user)
    assert len(workspace.asked) == 3


def test_tags_in_a_list_are_tags(
    host: Host, client: openai.OpenAI, workspace: FakeWorkspace, url: str
) -> None:
    say(client, extra_body={"cache_tags": ["faq", "hr"]})
    request = urllib.request.Request(
        url.removesuffix("/v1") + "/invalidate",
        json.dumps({"target": "tag", "name": "faq"}).encode(),
        {"Authorization": f"Bearer {TOKEN}"},
    )
    urllib.request.urlopen(request, timeout=20).close()
    say(client, extra_body={"cache_tags": ["faq", "hr"]})
    assert len(workspace.asked) == 2


def test_a_long_error_of_a_model_is_cut_and_kills_nobody(
    host: Host, client: openai.OpenAI, workspace: FakeWorkspace
) -> None:
    workspace.error = "https://h/v1?key=secret " + "A" * 6_000_000
    pid = host.plugin(TOOLS).process.pid
    with pytest.raises(openai.InternalServerError) as raised:
        say(client)
    assert len(str(raised.value)) < 2000
    assert "secret" not in str(raised.value)
    assert host.plugin(TOOLS).process.pid == pid


# --- vectors ------------------------------------------------------------------


def test_vectors_that_can_not_be_handed_over_are_refused_before_they_are_paid_for(
    client: openai.OpenAI, workspace: FakeWorkspace
) -> None:
    workspace.dimensions = 4096
    texts = [str(number) for number in range(400)]
    with pytest.raises(openai.BadRequestError, match="send at most"):
        client.embeddings.create(model="long", input=texts, encoding_format="float")
    assert len(workspace.asked) == 1
    client.embeddings.create(model="long", input=texts[:40])


@pytest.mark.parametrize("form", ["float", "base64"])
def test_vectors_are_given_as_asked_for_and_each_text_is_remembered(
    client: openai.OpenAI, workspace: FakeWorkspace, form: Any
) -> None:
    one = client.embeddings.create(
        model="long", input=["a", "bb"], encoding_format=form
    )
    two = client.embeddings.create(model="long", input=["bb", "ccc"])
    assert [item.index for item in one.data] == [0, 1]
    assert two.data[0].embedding == [0.25, 0.25]  # OpenAI's client reads base64 itself.
    assert one.usage.total_tokens == 2
    assert [asked["texts"] for asked in workspace.asked] == [["a", "bb"], ["ccc"]]
    assert workspace.asked[0]["input_type"] == "document"


def test_many_texts_go_to_the_model_in_parts(
    client: openai.OpenAI, workspace: FakeWorkspace
) -> None:
    client.embeddings.create(model="long", input=[str(number) for number in range(40)])
    assert [len(asked["texts"]) for asked in workspace.asked] == [16, 16, 8]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"input": []}, "from 1 to"),
        ({"input": [1, 2]}, "input must be"),
        ({"dimensions": 8}, "dimensions can't be passed on"),
        ({"extra_body": {"input_type": "song"}}, "input_type must be one of"),
    ],
)
def test_a_wrong_request_for_vectors_is_one_sentence(
    client: openai.OpenAI, workspace: FakeWorkspace, changes: Any, said: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=said):
        client.embeddings.create(**{"model": "long", "input": "a", **changes})


# --- Cached Model in front ----------------------------------------------------


def test_cached_model_can_wrap_a_model_of_the_workspace(
    host: Host,
    url: str,
    workspace: FakeWorkspace,
    cache_fields: dict[str, str],
) -> None:
    form = {
        **cache_fields,
        "endpoint_url": url,
        "api_key": TOKEN,
        "endpoint_model_name": "wise",
        "context_size": "4096",
    }
    for _ in range(2):
        said = ask_cached_model(host, form, "When?")
        text = "".join(one["delta"]["message"]["content"] for one in said)
        assert text == "We open at 9."
        assert said[-1]["delta"]["usage"]["total_tokens"] == 8
    assert len(workspace.asked) == 1
