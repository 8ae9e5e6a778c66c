"""Every field of the SDK's requests, messages and chunks, and what becomes of it.

A field that a newer SDK adds fails here, until somebody has decided: it goes upstream and
into the key, it comes back with the answer, or the host alone has a use for it.
"""

from typing import Any

import pytest
from dify_plugin.core.entities.plugin.request import ModelInvokeLLMRequest
from dify_plugin.entities.model import llm, message
from dify_plugin.entities.model.message import (
    AssistantPromptMessage,
    PromptMessage,
    UserPromptMessage,
)
from pydantic import BaseModel

from cached_model import form as forms
from cached_model.body import build
from difykit.codec.messages import OPAQUE
from tests.fake_upstream import FakeUpstream, Script, delta, finish
from tests.plugins.helpers import ask, text

SENT = {  # upstream, and so in the key
    ModelInvokeLLMRequest: "prompt_messages model model_parameters stop tools json_schema",
    message.PromptMessage: "role content name",
    message.AssistantPromptMessage: "role content name tool_calls opaque_body",
    message.ToolPromptMessage: "role content name tool_call_id",
    message.TextPromptMessageContent: "type data",
    message.ImagePromptMessageContent: "type base64_data url mime_type detail format",
    message.VideoPromptMessageContent: "type base64_data url mime_type format",
    message.AudioPromptMessageContent: "type base64_data url mime_type format",
    message.DocumentPromptMessageContent: "type base64_data url mime_type format filename",
    message.PromptMessageTool: "name description parameters",
}
GIVEN = {  # with the answer, cold and warm
    llm.LLMResultChunk: "model delta",
    llm.LLMResultChunkDelta: "index message usage finish_reason",
    llm.LLMUsage: (
        "prompt_tokens prompt_unit_price prompt_price_unit prompt_price completion_tokens "
        "completion_unit_price completion_price_unit completion_price total_tokens "
        "total_price currency latency"
    ),
}
NEITHER = {
    # ``stream`` is how, not what; the rest names plugin, form and caller.
    ModelInvokeLLMRequest: "type user_id provider model_type credentials action stream",
    # The host empties the one, and has no use for the other.
    llm.LLMResultChunk: "prompt_messages system_fingerprint",
    # Names for people, which no server of OpenAI's kind takes.
    message.ImagePromptMessageContent: "filename",
    message.VideoPromptMessageContent: "filename",
    message.AudioPromptMessageContent: "filename",
}
# Of parts, the SDK fills it for providers that answer in parts; ours answers in text.
PARTS = message.PromptMessageContent


@pytest.mark.parametrize("model", SENT | GIVEN, ids=lambda model: model.__name__)
def test_each_field_is_classified(model: type[BaseModel]) -> None:
    classified = set()
    for table in (SENT, GIVEN, NEITHER):
        classified |= set(table.get(model, "").split())
    known = set(model.model_fields)
    if issubclass(model, PARTS):
        known.discard("opaque_body")
    assert known == classified


SIGNED: dict[str, Any] = {"google": {"thought_signature": "c2lnbmF0dXJl"}}
DETAILS = [{"type": "reasoning.encrypted", "data": "b3BhcXVl", "index": 0}]
CALL = {
    "index": 0,
    "id": "call_1",
    "type": "function",
    "function": {"name": "find", "arguments": "{}"},
    "extra_content": SIGNED,
}


@pytest.fixture
def signing(upstream: FakeUpstream) -> FakeUpstream:
    """A server that signs its thoughts."""
    upstream.script = lambda _: Script(
        events=[
            delta(reasoning_details=DETAILS),
            delta(content="Let me look.", extra_content=SIGNED),
            delta(tool_calls=[CALL]),
            finish("tool_calls"),
            "[DONE]",
        ]
    )
    return upstream


BODY = {
    OPAQUE: {
        "reasoning_details": DETAILS,
        "extra_content": SIGNED,
        "tool_calls": {"call_1": SIGNED},
    }
}


def opaque(chunks: Any) -> Any:
    (found,) = (c.delta.message.opaque_body for c in chunks if c.delta.finish_reason)
    return found


def test_what_a_server_signs_comes_with_the_answer_cold_and_warm(
    form: dict[str, str], signing: FakeUpstream
) -> None:
    more = {"cache_control": "always"}
    cold, warm = ask(form, **more), ask(form, **more)
    assert opaque(cold) == opaque(warm) == BODY
    assert text(cold) == text(warm)


def test_it_goes_back_with_the_next_turn_and_into_its_key() -> None:
    form = forms.read({"endpoint_url": "http://host/v1", "context_size": "4096"})

    def call(body: Any) -> Any:
        said: list[PromptMessage] = [
            UserPromptMessage(content="hi"),
            AssistantPromptMessage(
                content="Let me look.",
                tool_calls=[
                    AssistantPromptMessage.ToolCall(
                        id="call_1",
                        type="function",
                        function=AssistantPromptMessage.ToolCall.ToolCallFunction(
                            name="find", arguments="{}"
                        ),
                    )
                ],
                opaque_body=body,
            ),
            message.ToolPromptMessage(content="3", tool_call_id="call_1"),
        ]
        return build(form, "m", said, {}, (), ())

    def tool_form(made: Any) -> Any:
        return made.body["messages"][1]

    sent = tool_form(call(BODY))
    assert sent["reasoning_details"] == DETAILS
    assert sent["extra_content"] == SIGNED
    bare = tool_form(call(None))
    assert "reasoning_details" not in bare
    assert call(BODY).key_form(form) != call(None).key_form(form)
    # Another provider's is not this server's to read.
    for foreign in ({"anthropic_content": []}, "text", [1], {OPAQUE: 1}):
        assert tool_form(call(foreign)) == bare


def test_reasoning_that_is_signed_is_still_no_answer(
    form: dict[str, str], upstream: FakeUpstream
) -> None:
    upstream.script = lambda _: Script(
        events=[
            delta(reasoning="hm", reasoning_details=DETAILS),
            finish(),
            "[DONE]",
        ]
    )
    ask(form)
    ask(form)
    assert upstream.calls == 2
