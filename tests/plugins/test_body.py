"""The body of the request to the upstream, and the key that is made of it."""

import json
from typing import Any

import pytest
from dify_plugin.entities.model.message import (
    AssistantPromptMessage,
    ImagePromptMessageContent,
    PromptMessageTool,
    SystemPromptMessage,
    TextPromptMessageContent,
    ToolPromptMessage,
    UserPromptMessage,
)
from dify_plugin.errors.model import InvokeBadRequestError

from cachecore.keys import canonical
from cached_model import form as forms
from cached_model.body import build

BASE = {"endpoint_url": "http://host/v1", "context_size": "4096"}
SCHEMA = '{"properties": {"%s": {"type": "string"}, "%s": {"type": "string"}}}'
USER = [UserPromptMessage(content="hi")]


def call(
    messages: Any = USER,
    parameters: dict[str, Any] | None = None,
    tools: Any = (),
    stop: Any = (),
    **fields: str,
):
    form = forms.read(BASE | fields)
    return form, build(form, "m", messages, parameters or {}, tools, stop)


def key(*args: Any, **kwargs: Any) -> bytes:
    form, made = call(*args, **kwargs)
    return canonical(made.key_form(form))


def tool_call(arguments: str, call_id: str = "c") -> AssistantPromptMessage.ToolCall:
    function = AssistantPromptMessage.ToolCall.ToolCallFunction(
        name="f", arguments=arguments
    )
    return AssistantPromptMessage.ToolCall(
        id=call_id, type="function", function=function
    )


def test_a_chat_goes_to_chat_completions() -> None:
    _, made = call(
        [SystemPromptMessage(content="s"), *USER], {"temperature": 0.5}, stop=["x"]
    )
    assert made.url == "http://host/v1/chat/completions"
    assert made.body == {
        "model": "m",
        "temperature": 0.5,
        "stop": ["x"],
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": "hi"},
        ],
    }


def test_a_completion_goes_to_completions() -> None:
    _, made = call(mode="completion")
    assert made.url == "http://host/v1/completions"
    assert made.body == {"model": "m", "prompt": "hi"}


def test_the_endpoints_own_model_name_is_sent() -> None:
    assert call(endpoint_model_name="real")[1].body["model"] == "real"


@pytest.mark.parametrize(
    ("name", "choice", "sent"),
    [
        ("m", "auto", "max_tokens"),
        ("o3-mini", "auto", "max_completion_tokens"),
        ("gpt-5.1", "auto", "max_completion_tokens"),
        ("gpt-5", "max_tokens", "max_tokens"),
        ("m", "max_completion_tokens", "max_completion_tokens"),
    ],
)
def test_the_token_parameter_has_the_name_that_the_model_knows(
    name: str, choice: str, sent: str
) -> None:
    _, made = call(
        USER, {"max_tokens": 9}, endpoint_model_name=name, token_param_name=choice
    )
    assert {k: v for k, v in made.body.items() if "tokens" in k} == {sent: 9}


def test_tools_are_sent_in_the_style_that_the_form_names() -> None:
    tools = [
        PromptMessageTool(name="f", description="d", parameters={"type": "object"})
    ]
    function = {"name": "f", "description": "d", "parameters": {"type": "object"}}
    assert "tools" not in call(tools=tools)[1].body
    assert call(tools=tools, function_calling_type="function_call")[1].body[
        "functions"
    ] == [function]
    made = call(tools=tools, function_calling_type="tool_call")[1].body
    assert made["tools"] == [{"type": "function", "function": function}]
    assert made["tool_choice"] == "auto"


def test_a_conversation_with_tools_is_written_as_openai_reads_it() -> None:
    messages = [
        AssistantPromptMessage(
            content="<think>hm</think>\n", tool_calls=[tool_call("{}")]
        ),
        ToolPromptMessage(content="42", tool_call_id="c"),
    ]
    assert call(messages, function_calling_type="tool_call")[1].body["messages"] == [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {
                    "id": "c",
                    "type": "function",
                    "function": {"name": "f", "arguments": "{}"},
                }
            ],
        },
        {"role": "tool", "content": "42", "tool_call_id": "c"},
    ]


def test_an_image_goes_as_a_data_url() -> None:
    image = ImagePromptMessageContent(
        base64_data="QUJD", format="png", mime_type="image/png"
    )
    messages = [
        UserPromptMessage(content=[TextPromptMessageContent(data="what?"), image])
    ]
    assert call(messages)[1].body["messages"][0]["content"] == [
        {"type": "text", "text": "what?"},
        {
            "type": "image_url",
            "image_url": {"url": "data:image/png;base64,QUJD", "detail": "low"},
        },
    ]


@pytest.mark.parametrize(
    "given", ['{"schema": {"type": "object"}, "name": "n"}', '{"type": "object"}']
)
def test_a_schema_may_come_wrapped_or_bare(given: str) -> None:
    _, made = call(USER, {"response_format": "json_schema", "json_schema": given})
    assert made.body["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert made.schema == {"type": "object"}
    assert "json_schema" not in made.body


@pytest.mark.parametrize("given", [None, "", "not json", "[1]"])
def test_a_schema_that_is_none_is_a_bad_request(given: str | None) -> None:
    with pytest.raises(InvokeBadRequestError, match="json_schema"):
        call(USER, {"response_format": "json_schema", "json_schema": given})


def test_text_is_no_response_format() -> None:
    _, made = call(USER, {"response_format": "text", "json_schema": "{}"})
    assert "response_format" not in made.body


# --- the key --------------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [
        {"messages": [UserPromptMessage(content="hi ")]},
        {"messages": [SystemPromptMessage(content="hi")]},
        {"messages": [UserPromptMessage(content="hi", name="bob")]},
        {"parameters": {"temperature": 0.5}},
        {"parameters": {"seed": 1}},
        {"stop": ["a"]},
        {"endpoint_url": "http://other/v1"},
        {"endpoint_model_name": "other"},
        {"mode": "completion"},
        {"extra_headers": '{"X-Team": "a"}'},
        {"agent_thought_support": "not_supported"},
    ],
    ids=str,
)
def test_a_difference_that_can_change_the_answer_changes_the_key(
    other: dict[str, Any],
) -> None:
    assert key(**other) != key()


@pytest.mark.parametrize(
    "same",
    [
        {"api_key": "another"},
        {"display_name": "Another"},
        {"context_size": "8192"},
        {"redis_url": "redis://elsewhere", "cache_namespace": "n"},
        {"cache_ttl": "60"},
        {"stream_include_usage": "disabled"},
        {"endpoint_url": "http://HOST/v1/"},
        {"messages": [UserPromptMessage(content="hi", name="")]},
        {"messages": [UserPromptMessage(content="hi", name=None)]},
    ],
    ids=str,
)
def test_a_difference_that_cannot_change_the_answer_keeps_the_key(
    same: dict[str, Any],
) -> None:
    assert key(**same) == key()


def turns(*ids: str, results: tuple[str, ...] = ("sunny", "rainy")) -> list[Any]:
    """A conversation in which the model called a tool once for each id."""
    calls = [
        tool_call(json.dumps({"city": place}), call_id)
        for place, call_id in zip(("Rome", "Oslo"), ids, strict=False)
    ]
    answers = [
        ToolPromptMessage(content=result, tool_call_id=call_id)
        for result, call_id in zip(results, ids, strict=False)
    ]
    return [*USER, AssistantPromptMessage(content="", tool_calls=calls), *answers]


@pytest.mark.parametrize("style", ["tool_call", "function_call"])
def test_the_ids_of_calls_in_a_history_are_in_no_key(style: str) -> None:
    asked = {"function_calling_type": style}
    one, other = turns("id-1", "id-2"), turns("id-8", "id-9")
    assert key(one, **asked) == key(other, **asked)


@pytest.mark.parametrize("named", [True, False])
def test_in_the_older_style_the_functions_name_is_in_the_key(*, named: bool) -> None:
    def called(function: str) -> list[Any]:
        made = AssistantPromptMessage.ToolCall
        calls = [
            made(
                id=name,
                type="function",
                function=made.ToolCallFunction(name=name, arguments="{}"),
            )
            for name in ("first", function)
        ]
        result = ToolPromptMessage(
            content="5", tool_call_id=function, name=function if named else None
        )
        return [*USER, AssistantPromptMessage(content="", tool_calls=calls), result]

    style = {"function_calling_type": "function_call"}
    assert key(called("b"), **style) != key(called("c"), **style)


def test_which_result_is_of_which_call_is_in_the_key() -> None:
    first, *rest, rome, oslo = turns("id-1", "id-2")
    crossed = [first, *rest, oslo, rome]
    assert key(turns("id-1", "id-2")) != key(crossed)
    assert key(turns("id-1", "id-2")) != key(
        turns("id-1", "id-2", results=("rainy", "sunny"))
    )
    assert key(turns("id-1", "id-2")) != key(turns("id-1"))


def test_the_order_of_a_schemas_properties_changes_the_key() -> None:
    one, other = (
        key(USER, {"response_format": "json_schema", "json_schema": SCHEMA % names})
        for names in (("reasoning", "answer"), ("answer", "reasoning"))
    )
    assert one != other


def test_tools_of_the_past_are_not_mentioned_where_no_tools_are_called() -> None:
    messages = [
        AssistantPromptMessage(content="", tool_calls=[tool_call("{}")]),
        ToolPromptMessage(content="42", tool_call_id="c", name="f"),
    ]
    assert call(messages)[1].body["messages"] == [
        {"role": "assistant", "content": ""},
        {"role": "tool", "content": "42", "tool_call_id": "c"},
    ]


def test_a_header_is_not_readable_in_the_canonical_form() -> None:
    assert b"hunter2" not in key(extra_headers='{"X-Key": "hunter2"}')
