"""Dify's prompt messages -> OpenAI's, and what the cache's policy sees in them.

What the host's Go daemon fills in on the way (``name: ""``, ``tool_calls:
null``; host contract 3.6) is left out again, so that one request has one form.
"""

import re
from collections.abc import Iterable, Sequence
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

from difycodec.urls import is_signed

type Json = dict[str, Any]
# How an upstream is told of tools: not at all, the older way, today's way.
type ToolStyle = Literal["no_call", "function_call", "tool_call"]

# Reasoning that an earlier turn showed: models expect it gone from history.
_THOUGHT: Final = re.compile(r"^\s*<think>.*?</think>\s*", re.DOTALL)


def to_openai(
    messages: Sequence[PromptMessage], style: ToolStyle = "tool_call"
) -> list[Json]:
    """OpenAI chat messages."""
    return [_message(message, style) for message in messages]


def _message(message: PromptMessage, style: ToolStyle) -> Json:
    data: Json = {"role": message.role.value, "content": _content(message)}
    if message.name and not isinstance(message, ToolPromptMessage):
        data["name"] = message.name
    if isinstance(message, AssistantPromptMessage):
        if isinstance(data["content"], str):
            data["content"] = without_thought(data["content"])
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
        if calls and style == "function_call":
            data["function_call"] = calls[0]["function"]
        elif calls and style == "tool_call":
            data["tool_calls"] = calls
    elif isinstance(message, ToolPromptMessage):
        if style == "function_call":
            data |= {"role": "function", "name": message.tool_call_id}
        else:
            data["tool_call_id"] = message.tool_call_id
    return data


def _content(message: PromptMessage) -> str | list[Json]:
    if not isinstance(message.content, list):
        return message.content or ""
    return [_part(part) for part in message.content]


def _part(part: Any) -> Json:
    match part:
        case TextPromptMessageContent():
            return {"type": "text", "text": part.data}
        case ImagePromptMessageContent():
            image = {"url": part.data, "detail": part.detail.value}
            return {"type": "image_url", "image_url": image}
        case VideoPromptMessageContent():
            return {"type": "video_url", "video_url": {"url": part.data}}
        case AudioPromptMessageContent():
            sound = {"data": part.base64_data or part.url, "format": part.format}
            return {"type": "input_audio", "input_audio": sound}
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


def is_conversation(messages: Iterable[PromptMessage]) -> bool:
    """Whether an earlier turn is present: such prompts rarely come twice."""
    earlier = (PromptMessageRole.ASSISTANT, PromptMessageRole.TOOL)
    return any(message.role in earlier for message in messages)


def has_external_url(messages: Iterable[PromptMessage]) -> bool:
    """Whether a part is given by a URL whose content may change behind it.

    Dify's own name an uploaded file, which does not change.
    """
    return any(
        isinstance(part, MultiModalPromptMessageContent)
        and bool(part.url)
        and not is_signed(part.url)
        for message in messages
        if isinstance(message.content, list)
        for part in message.content
    )


def without_thought(text: str) -> str:
    """The text without the reasoning shown before it, if there is any."""
    return _THOUGHT.sub("", text, count=1)


def text_of(messages: Iterable[PromptMessage]) -> str:
    """All text of the messages, for completion models and token estimates."""
    return "\n".join(message.get_text_content() for message in messages)
