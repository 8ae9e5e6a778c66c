"""Dify's prompt messages -> OpenAI's, and their traits for the cache's policy.

The host's Go daemon adds fields (``name: ""``, ``tool_calls: null``; host contract 3.6).
They are removed again, so that one request has one form.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal

from dify_plugin.entities.model.message import (
    AssistantPromptMessage,
    AudioPromptMessageContent,
    DocumentPromptMessageContent,
    ImagePromptMessageContent,
    MultiModalPromptMessageContent,
    PromptMessage,
    PromptMessageRole,
    PromptMessageTool,
    TextPromptMessageContent,
    ToolPromptMessage,
    VideoPromptMessageContent,
)

from difykit.codec import few_shots
from difykit.codec.urls import is_signed

type Json = dict[str, Any]
# The formats in which tools are offered: not at all, functions (older), tools.
type ToolStyle = Literal["no_call", "function_call", "tool_call"]

# The fields of a message's ``opaque_body`` that OpenAI-compatible servers use; other
# providers use other names.
OPAQUE: Final = "openai_compatible"

# The tags around reasoning, which models expect to be removed from history.
_OPENING: Final = "<think>"
_CLOSING: Final = "</think>"
_SPACE: Final = re.compile(r"\s*")


def to_openai(
    messages: Sequence[PromptMessage],
    style: ToolStyle = "tool_call",
    *,
    native: bool = False,
) -> list[Json]:
    """OpenAI chat messages.

    Videos and sounds are sent as ``image_url`` with a data URL, which gateways parse. With
    ``native`` they are sent as ``video_url`` and ``input_audio``, which vLLM and OpenAI
    read.
    """
    functions = {
        call.id: call.function.name
        for message in messages
        if isinstance(message, AssistantPromptMessage)
        for call in message.tool_calls
    }
    return [_message(one, style, functions, native=native) for one in messages]


def _message(
    message: PromptMessage,
    style: ToolStyle,
    functions: Mapping[str, str],
    *,
    native: bool,
) -> Json:
    content = _content(message, native=native)
    data: Json = {"role": message.role.value, "content": content}
    if message.name and not isinstance(message, ToolPromptMessage):
        data["name"] = message.name
    if isinstance(message, AssistantPromptMessage):
        if isinstance(data["content"], str):
            data["content"] = without_thoughts(data["content"])
        calls = [
            {
                "id": call.id,
                "type": "function",
                "function": {
                    "name": call.function.name,
                    "arguments": call.function.arguments,
                },
            }
            for call in message.tool_calls
        ]
        own = _own_opaque(message.opaque_body)
        extras = own.pop("tool_calls", {})
        for one in calls:
            if one["id"] in extras:
                one["extra_content"] = extras[one["id"]]
        data |= own
        if calls and style == "function_call":
            data["function_call"] = calls[0]["function"]
        elif calls and style == "tool_call":
            data["tool_calls"] = calls
    elif isinstance(message, ToolPromptMessage):
        if style == "function_call":
            # The older format has no ids, only the function's name.
            call_id = message.tool_call_id
            name = message.name or functions.get(call_id, call_id)
            data |= {"role": "function", "name": name}
        else:
            data["tool_call_id"] = message.tool_call_id
    return data


def _own_opaque(body: Any) -> Json:
    """The data that a server sent with an earlier turn, to be returned unchanged."""
    found = body.get(OPAQUE) if isinstance(body, dict) else None
    known = ("reasoning_details", "extra_content", "tool_calls")
    own = (
        {n: v for n, v in found.items() if n in known}
        if isinstance(found, dict)
        else {}
    )
    if not isinstance(own.get("tool_calls", {}), dict):
        del own["tool_calls"]
    return own


def _content(message: PromptMessage, *, native: bool) -> str | list[Json]:
    if not isinstance(message.content, list):
        return message.content or ""
    return [_part(part, native=native) for part in message.content]


def _part(part: Any, *, native: bool) -> Json:
    match part:
        case TextPromptMessageContent():
            return {"type": "text", "text": part.data}
        case ImagePromptMessageContent():
            image = {"url": part.data, "detail": part.detail.value}
            return {"type": "image_url", "image_url": image}
        case VideoPromptMessageContent() if native:
            return {"type": "video_url", "video_url": {"url": part.data}}
        case AudioPromptMessageContent() if native:
            sound = {"data": part.base64_data or part.url, "format": part.format}
            return {"type": "input_audio", "input_audio": sound}
        case VideoPromptMessageContent() | AudioPromptMessageContent():
            return {"type": "image_url", "image_url": {"url": part.data}}
        case DocumentPromptMessageContent():
            file = {"filename": part.filename or "document", "file_data": part.data}
            return {"type": "file", "file": file}
        case _:
            msg = f"a message part of type {type(part).__name__} is not supported"
            raise ValueError(msg)


def tools_to_openai(tools: Iterable[PromptMessageTool]) -> list[Json]:
    """OpenAI function descriptions, in the order given."""
    return [
        {
            "name": tool.name,
            "description": tool.description or "",
            "parameters": tool.parameters,
        }
        for tool in tools
    ]


def is_conversation(messages: Sequence[PromptMessage]) -> bool:
    """Whether there is an earlier turn: such prompts rarely repeat.

    The examples that Dify writes into its own nodes' prompts do not count.
    """
    earlier = (PromptMessageRole.ASSISTANT, PromptMessageRole.TOOL)
    if not any(message.role in earlier for message in messages):
        return False
    return not few_shots.are_all(to_openai(messages))


def has_url(messages: Iterable[PromptMessage]) -> bool:
    """Whether a part is given by any URL."""
    return any(_urls(messages))


def has_external_url(messages: Iterable[PromptMessage]) -> bool:
    """Whether a part is given by a URL whose content may change.

    Dify's own URLs name an uploaded file, which does not change.
    """
    return not all(map(is_signed, _urls(messages)))


def _urls(messages: Iterable[PromptMessage]) -> Iterator[str]:
    for message in messages:
        for part in message.content if isinstance(message.content, list) else ():
            if isinstance(part, MultiModalPromptMessageContent) and part.url:
                yield part.url


def without_thoughts(text: str) -> str:
    """The text without the reasoning shown in it."""
    kept, at = [], 0
    # A regular expression would search the whole text for each opening tag.
    while (opening := text.find(_OPENING, at)) >= 0:
        closing = text.find(_CLOSING, opening)
        if closing < 0:
            break
        kept.append(text[at:opening])
        space = _SPACE.match(text, closing + len(_CLOSING))
        at = space.end() if space else closing + len(_CLOSING)
    return "".join([*kept, text[at:]]) if at else text


def text_of(messages: Iterable[PromptMessage]) -> str:
    """All text of the messages, for completion models and token estimates."""
    return "\n".join(message.get_text_content() for message in messages)


def question(messages: Sequence[PromptMessage]) -> str:
    """The text of the last message."""
    content = messages[-1].content if messages else ""
    return content if isinstance(content, str) else messages[-1].get_text_content()


def parts(messages: Sequence[Mapping[str, Any]]) -> dict[str, object]:
    """The parts of a chat's messages as JSON data, except the question.

    See ``request.Request``.
    """
    *before, last = messages
    content = last.get("content")
    files = (
        [p for p in content if p.get("type") != "text"]
        if isinstance(content, list)
        else []
    )
    return {
        "system": [m.get("content") for m in before if m.get("role") == "system"],
        "history": [m for m in before if m.get("role") != "system"],
        "context": files,
    }
