"""Fields that a server signs for its next turn: they return unchanged."""

from typing import Any

import pytest
from dify_plugin.entities.model import message
from dify_plugin.entities.model.message import (
    AssistantPromptMessage,
    PromptMessage,
    UserPromptMessage,
)

from cached_model import form as forms
from cached_model.body import build
from difykit.codec.messages import OPAQUE
from tests.fake_upstream import FakeUpstream, Script, delta, finish
from tests.plugins.helpers import ask, text

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
    """A server that signs its reasoning."""
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


def test_data_that_a_server_signs_comes_with_the_answer_cold_and_warm(
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
    # Fields of another provider are not sent to this server.
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
