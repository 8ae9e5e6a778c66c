"""Every field of a request is in the key, or in a list with a reason.

A field that nobody has classified fails here: a new SDK version or a new form
field breaks the build, not the users.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml
from dify_plugin.core.entities.plugin.request import ModelInvokeLLMRequest
from dify_plugin.entities.model import message as sdk
from pydantic import BaseModel

from cachecore.keys import canonical
from cached_model import form as forms
from cached_model.body import build
from cached_model.chat import CACHE_PARAMETERS
from cached_model.schema import model_schema

ROOT = Path(__file__).parents[2]
YAML = yaml.safe_load(
    (ROOT / "plugins/cached-model/provider/cached_model.yaml").read_text("utf-8")
)
FIELDS = {
    f["variable"] for f in YAML["model_credential_schema"]["credential_form_schemas"]
}
BASE = {
    "endpoint_url": "http://h/v1",
    "context_size": "4096",
    "function_calling_type": "tool_call",
}

# The fields of the form that are not in the key, each with its reason.
LEFT_OUT = {
    "display_name": "a name for people",
    "api_key": "load-balanced keys share answers; the namespace is the tenant",
    "context_size": "Dify cuts prompts by it, before they come",
    "max_tokens_to_sample": "the limit of a slider; the slider's value is in the body",
    "stream_function_calling": "tells Dify what to offer",
    "vision_support": "tells Dify what to offer",
    "video_support": "tells Dify what to offer",
    "audio_support": "tells Dify what to offer",
    "document_support": "tells Dify what to offer",
    "structured_output_support": "tells Dify what to offer",
    "stream_mode_auth": "how the form is checked",
    "max_chunks": "of embedding models: how many texts are sent at once",
    "encoding_format": "of embedding models, where the body has it",
    "document_prefix": "of embedding models, where the text has it",
    "query_prefix": "of embedding models, where the text has it",
    "stream_include_usage": "asks for token counts, not for another answer",
    "user_identity_support": "in the key as names_user, where a user is named at all",
    "redis_url": "where answers are kept",
    "cache_namespace": "in the key's own name",
    "cache_ttl": "whether they are kept, and for how long",
    "more_settings": "whether the form shows all of its fields",
    "cache_secret": "keys the fingerprint itself",
    "cache_options": "limits and prices; media_parts shows in the body",
}
# A value for each field that is in the key, other than its default.
IN_THE_KEY = {
    "endpoint_url": "http://other/v1",
    "endpoint_model_name": "other",
    "mode": "completion",
    "function_calling_type": "function_call",
    "agent_thought_support": "not_supported",
    "compatibility_mode": "extended",
    "token_param_name": "max_completion_tokens",
    "extra_headers": '{"X-Team": "a"}',
    "cache_scope": "user",
}
ELSEWHERE = {
    "display_name": "Other",
    "api_key": "other",
    "context_size": "8192",
    "max_tokens_to_sample": "9000",
    "stream_function_calling": "supported",
    "vision_support": "support",
    "video_support": "support",
    "audio_support": "support",
    "document_support": "support",
    "stream_mode_auth": "use",
    "max_chunks": "7",
    "encoding_format": "float",
    "document_prefix": "passage:",
    "query_prefix": "query:",
    "structured_output_support": "supported",
    "stream_include_usage": "disabled",
    "user_identity_support": "no_support",
    "redis_url": "redis://other",
    "cache_namespace": "other",
    "cache_ttl": "60",
    "more_settings": "shown",
    "cache_secret": "a long enough secret",
    "cache_options": "max_temperature: 0.5",
}
PARAMETERS = {
    "temperature": 0.3,
    "top_p": 0.3,
    "presence_penalty": 0.3,
    "frequency_penalty": 0.3,
    "max_tokens": 7,
    "seed": 7,
    "response_format": "json_object",
    "json_schema": '{"type": "object"}',
    "enable_thinking": False,
    "reasoning_format": "none",
    "reasoning_effort": "low",
}
# Field of an SDK type -> its use. "key" is proven below.
SDK: dict[type[BaseModel], dict[str, str]] = {
    sdk.SystemPromptMessage: {"role": "key", "content": "key", "name": "key"},
    sdk.DeveloperPromptMessage: {"role": "key", "content": "key", "name": "key"},
    sdk.UserPromptMessage: {"role": "key", "content": "key", "name": "key"},
    sdk.AssistantPromptMessage: {
        "role": "key",
        "content": "key",
        "name": "key",
        "tool_calls": "key",
        "opaque_body": "what such a server signed is sent back to it (test_signatures)",
    },
    sdk.ToolPromptMessage: {
        "role": "key",
        "content": "key",
        "tool_call_id": "numbered in the key, because it is new each time (test_body)",
        "name": "sent only in the older style, which has no ids (test_body)",
    },
    sdk.TextPromptMessageContent: {
        "type": "key",
        "data": "key",
        "opaque_body": "other providers' own state; never sent upstream",
    },
    sdk.ImagePromptMessageContent: {
        **dict.fromkeys(("type", "base64_data", "url", "mime_type", "detail"), "key"),
        "format": "in the MIME type",
        "filename": "not sent with an image",
        "opaque_body": "other providers' own state; never sent upstream",
    },
    sdk.AudioPromptMessageContent: {
        **dict.fromkeys(("type", "base64_data", "url", "mime_type"), "key"),
        "format": "in the MIME type",
        "filename": "not sent with a sound",
        "opaque_body": "other providers' own state; never sent upstream",
    },
    sdk.VideoPromptMessageContent: {
        **dict.fromkeys(("type", "base64_data", "url", "mime_type"), "key"),
        "format": "in the MIME type",
        "filename": "not sent with a video",
        "opaque_body": "other providers' own state; never sent upstream",
    },
    sdk.DocumentPromptMessageContent: {
        **dict.fromkeys(("type", "base64_data", "url", "mime_type", "filename"), "key"),
        "format": "in the MIME type",
        "opaque_body": "other providers' own state; never sent upstream",
    },
    sdk.PromptMessageTool: dict.fromkeys(("name", "description", "parameters"), "key"),
    sdk.AssistantPromptMessage.ToolCall: {
        "id": "numbered in the key, because it is new each time (test_body)",
        "function": "key",
        "type": "always function",
    },
    sdk.AssistantPromptMessage.ToolCall.ToolCallFunction: {
        "name": "key",
        "arguments": "key",
    },
    ModelInvokeLLMRequest: {
        "type": "the host's routing",
        "action": "the host's routing",
        "user_id": "in the key in scope user; else not sent upstream",
        "provider": "the host's routing",
        "model_type": "the host's routing",
        "model": "key",
        "credentials": "classified field by field above",
        "model_parameters": "key",
        "prompt_messages": "key",
        "tools": "key",
        "stop": "key",
        "stream": "one answer both ways",
        "json_schema": "the SDK does not hand it to a model (host contract 5.3)",
    },
}


def key(
    form: dict[str, str] | None = None,
    messages: Any = None,
    parameters: dict[str, Any] | None = None,
    tools: Any = (),
    stop: Any = (),
    model: str = "m",
) -> bytes:
    read = forms.read(BASE | (form or {}))
    default = [sdk.UserPromptMessage(content="hi")]
    tool = sdk.PromptMessageTool(name="f", description="", parameters={})
    call = build(
        read,
        model,
        messages or default,
        {"max_tokens": 9, "enable_thinking": True} | (parameters or {}),
        tools or [tool],
        stop,
    )
    scope = read.settings.rules.scope
    return canonical([scope, call.key_form(read)])


def test_every_field_of_the_form_is_classified() -> None:
    assert set(IN_THE_KEY) | set(LEFT_OUT) == FIELDS
    assert not set(IN_THE_KEY) & set(LEFT_OUT)
    assert set(ELSEWHERE) == set(LEFT_OUT)
    assert all(LEFT_OUT.values())


@pytest.mark.parametrize("field", IN_THE_KEY)
def test_a_field_that_can_change_the_answer_changes_the_key(field: str) -> None:
    assert key({field: IN_THE_KEY[field]}) != key()


@pytest.mark.parametrize("field", ELSEWHERE)
def test_a_field_that_is_left_out_does_not_change_the_key(field: str) -> None:
    extra = {"cache_namespace": "n"} if field == "redis_url" else {}
    assert key({field: ELSEWHERE[field], **extra}) == key()


def test_every_parameter_rule_is_classified_and_changes_the_key() -> None:
    form = forms.read(BASE | {"structured_output_support": "supported"})
    rules = {rule.name for rule in model_schema("m", form).parameter_rules}
    assert rules == set(PARAMETERS) | set(CACHE_PARAMETERS)
    extended = {"compatibility_mode": "extended"}
    for name, value in PARAMETERS.items():
        if name != "json_schema":
            assert key(extended, parameters={name: value}) != key(extended), name
    schema = {"response_format": "json_schema", "json_schema": '{"type": "object"}'}
    assert key(parameters=schema) != key(
        parameters={**schema, "json_schema": '{"type": "array"}'}
    )


@pytest.mark.parametrize("kind", SDK, ids=lambda kind: kind.__qualname__)
def test_every_field_of_the_sdks_types_is_classified(kind: type[BaseModel]) -> None:
    assert set(kind.model_fields) == set(SDK[kind])


def test_every_type_of_message_and_part_is_classified() -> None:
    messages = set(sdk.PROMPT_MESSAGE_TYPES_BY_ROLE.values())
    parts = set(sdk.PromptMessageContentType)
    assert messages <= set(SDK)
    assert parts == {
        part.model_fields["type"].default
        for part in SDK
        if "type" in part.model_fields and issubclass(part, sdk.PromptMessageContent)
    }


def image(**changes: Any) -> list[Any]:
    fields = {
        "base64_data": "QUJD",
        "format": "png",
        "mime_type": "image/png",
        **changes,
    }
    return [sdk.UserPromptMessage(content=[sdk.ImagePromptMessageContent(**fields)])]


def document(**changes: Any) -> list[Any]:
    fields = {
        "base64_data": "QUJD",
        "format": "pdf",
        "mime_type": "application/pdf",
        **changes,
    }
    return [sdk.UserPromptMessage(content=[sdk.DocumentPromptMessageContent(**fields)])]


def audio(**changes: Any) -> list[Any]:
    fields = {
        "base64_data": "QUJD",
        "format": "mp3",
        "mime_type": "audio/mp3",
        **changes,
    }
    return [sdk.UserPromptMessage(content=[sdk.AudioPromptMessageContent(**fields)])]


def called(**changes: Any) -> list[Any]:
    function = {"name": "f", "arguments": "{}"} | changes.pop("function", {})
    call = {"id": "1", "type": "function", "function": function, **changes}
    return [sdk.AssistantPromptMessage(content="x", tool_calls=[call])]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (image(), image(base64_data="QUJE")),
        (image(), image(mime_type="image/webp")),
        (image(), image(detail="high")),
        (image(), image(url="http://h/a.png")),
        (document(), document(filename="b.pdf")),
        (document(), document(base64_data="QUJE")),
        (audio(), audio(mime_type="audio/wav")),
        (audio(), audio(base64_data="QUJE")),
        (called(), called(function={"name": "g"})),
        (called(), called(function={"arguments": "[]"})),
        (
            [sdk.UserPromptMessage(content="x")],
            [sdk.DeveloperPromptMessage(content="x")],
        ),
        (
            [sdk.UserPromptMessage(content="ab")],
            [sdk.UserPromptMessage(content=[sdk.TextPromptMessageContent(data="ab")])],
        ),
    ],
)
def test_a_part_that_reaches_the_upstream_changes_the_key(one: Any, other: Any) -> None:
    assert key(messages=one) != key(messages=other)


def test_the_models_own_name_is_in_the_key() -> None:
    assert key(model="a") != key(model="b")


def test_the_hosts_changes_to_a_request_keep_its_key() -> None:
    """Nulls, empty strings and numbers as the daemon re-types them (host contract 3.6)."""
    from devhost import retyping
    from tests.integration.requests_of_many_kinds import requests

    form = forms.read(BASE | {"structured_output_support": "supported"})

    def form_of(data: dict[str, Any]) -> bytes:
        read = ModelInvokeLLMRequest.model_validate(
            {"user_id": "u", "type": "model", "action": "invoke_llm", **data}
        )
        parameters = {
            n: v for n, v in read.model_parameters.items() if n not in CACHE_PARAMETERS
        }
        call = build(
            form,
            "m",
            read.prompt_messages,
            parameters,
            read.tools or [],
            read.stop or [],
        )
        return canonical(call.key_form(form))

    for request in requests():
        sent = {
            "provider": "p",
            "model": "m",
            "model_type": "llm",
            "credentials": {},
            **request,
        }
        assert form_of(retyping.request("invoke_llm", sent)) == form_of(sent)
