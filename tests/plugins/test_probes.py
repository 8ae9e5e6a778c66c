"""The 33 probes by which caches were compared: 28 pairs must differ, 5 must be equal.

Field: GPTCache 8, BetterDB 19, LiteLLM 24, requests-cache 28, LangChain 31.
The same table is in docs/correctness.md.
"""

from typing import Any

import pytest
from dify_plugin.entities.model.message import (
    AssistantPromptMessage,
    ImagePromptMessageContent,
    PromptMessageTool,
    SystemPromptMessage,
    TextPromptMessageContent,
    UserPromptMessage,
)

from cachecore.cache import Cache
from cachecore.keys import Keyspace
from cachecore.request import Request
from cachecore.stores.memory import MemoryStore
from cached_model import form as forms
from cached_model.body import build

TOOL = {
    "type": "object",
    "properties": {"a": {"type": "string"}, "b": {"type": "integer"}},
}
REORDERED = {
    "properties": {"b": {"type": "integer"}, "a": {"type": "string"}},
    "type": "object",
}


def user(text: str = "What is open on Sunday?", **more: Any) -> UserPromptMessage:
    return UserPromptMessage(content=text, **more)


def picture(data: str, detail: str = "low") -> UserPromptMessage:
    part = ImagePromptMessageContent(
        base64_data=data, format="png", mime_type="image/png", detail=detail
    )
    return UserPromptMessage(content=[TextPromptMessageContent(data="what?"), part])


def tool(name: str = "f", parameters: dict[str, Any] = TOOL) -> PromptMessageTool:
    return PromptMessageTool(name=name, description="d", parameters=parameters)


def key(
    messages: Any = None,
    *,
    model: str = "m",
    tools: Any = (),
    stop: Any = (),
    namespace: str = "tenant-a",
    form: dict[str, str] | None = None,
    **parameters: Any,
) -> str:
    fields = {"endpoint_url": "http://h/v1", "function_calling_type": "tool_call"}
    read = forms.read(fields | (form or {}))
    call = build(read, model, messages or [user()], parameters, tools, stop)
    request = Request(kind="llm", label=model, form=call.key_form(read))
    return Cache(MemoryStore(), Keyspace(namespace)).key(request)


ASK = [SystemPromptMessage(content="Be brief."), user()]
APART: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "model": ({"model": "a"}, {"model": "b"}),
    "last user text": ({"messages": [user("a")]}, {"messages": [user("b")]}),
    "letter case": ({"messages": [user("polish")]}, {"messages": [user("Polish")]}),
    "system prompt": (
        {"messages": ASK},
        {"messages": [SystemPromptMessage(content="Be long."), user()]},
    ),
    "earlier turn": (
        {"messages": [user("a"), AssistantPromptMessage(content="x"), user()]},
        {"messages": [user("a"), AssistantPromptMessage(content="y"), user()]},
    ),
    "order of messages": (
        {"messages": [user("a"), user("b")]},
        {"messages": [user("b"), user("a")]},
    ),
    "role": (
        {"messages": [user("a")]},
        {"messages": [SystemPromptMessage(content="a")]},
    ),
    "image": ({"messages": [picture("QUJD")]}, {"messages": [picture("QUJE")]}),
    "temperature": ({"temperature": 0.1}, {"temperature": 0.2}),
    "absent against zero": ({}, {"temperature": 0}),
    "top_p": ({"top_p": 0.1}, {"top_p": 0.2}),
    "max_tokens": ({"max_tokens": 1}, {"max_tokens": 2}),
    "max_completion_tokens": (
        {"max_completion_tokens": 1},
        {"max_completion_tokens": 2},
    ),
    "stop": ({"stop": ["a"]}, {"stop": ["b"]}),
    "seed": ({"seed": 1}, {"seed": 2}),
    "presence_penalty": ({"presence_penalty": 0.1}, {"presence_penalty": 0.2}),
    "frequency_penalty": ({"frequency_penalty": 0.1}, {"frequency_penalty": 0.2}),
    "logit_bias": ({"logit_bias": {"5": 1}}, {"logit_bias": {"5": 2}}),
    "n": ({"n": 1}, {"n": 2}),
    "logprobs": ({"logprobs": True}, {"logprobs": False}),
    "response_format": ({}, {"response_format": "json_object"}),
    "tools": ({"tools": [tool("f")]}, {"tools": [tool("g")]}),
    "tool_choice": ({"tool_choice": "auto"}, {"tool_choice": "none"}),
    "reasoning_effort": ({"reasoning_effort": "low"}, {"reasoning_effort": "high"}),
    "a vendor's parameter": ({"enable_thinking": True}, {"enable_thinking": False}),
    "base URL": ({}, {"form": {"endpoint_url": "http://other/v1"}}),
    # The probe of other caches changes the API key. Our requests are balanced over
    # several API keys and share answers; a tenant is a namespace.
    "tenant": ({}, {"namespace": "tenant-b"}),
    "a forged boundary": ({"stop": ["a"], "seed": 5}, {"stop": ["aseed: 5"]}),
}
TOGETHER: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "order of parameters": ({"seed": 1, "top_p": 0.5}, {"top_p": 0.5, "seed": 1}),
    "order inside a message": (
        {
            "messages": [
                UserPromptMessage.model_validate({"role": "user", "content": "a"})
            ]
        },
        {
            "messages": [
                UserPromptMessage.model_validate({"content": "a", "role": "user"})
            ]
        },
    ),
    "order inside a tool's schema": (
        {"tools": [tool(parameters=TOOL)]},
        {"tools": [tool(parameters=REORDERED)]},
    ),
    "0 and 0.0": ({"temperature": 0}, {"temperature": 0.0}),
    "stop as a word and as a list": ({"stop": "END"}, {"stop": ["END"]}),
}


def test_there_are_33_probes() -> None:
    assert (len(APART), len(TOGETHER)) == (28, 5)


@pytest.mark.parametrize("probe", APART)
def test_requests_that_may_have_different_answers_have_different_keys(
    probe: str,
) -> None:
    one, other = APART[probe]
    assert key(**one) != key(**other)


@pytest.mark.parametrize("probe", TOGETHER)
def test_requests_that_must_have_equal_answers_share_a_key(probe: str) -> None:
    one, other = TOGETHER[probe]
    assert key(**one) == key(**other)


def test_the_table_in_the_documents_names_every_probe() -> None:
    from pathlib import Path

    text = (Path(__file__).parents[2] / "docs/correctness.md").read_text("utf-8")
    for probe in [*APART, *TOGETHER]:
        assert f"| {probe} |" in text, probe
