"""OpenAI's chat requests -> Dify's prompt messages: the reverse of ``messages``.

Raises ValueError with one sentence that names the place in the request.
"""

import mimetypes
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from dify_plugin.entities.model.message import (
    AssistantPromptMessage,
    AudioPromptMessageContent,
    DocumentPromptMessageContent,
    ImagePromptMessageContent,
    PromptMessage,
    PromptMessageTool,
    SystemPromptMessage,
    TextPromptMessageContent,
    ToolPromptMessage,
    UserPromptMessage,
    VideoPromptMessageContent,
)

type Json = Mapping[str, Any]

_MOST: Final = 2000  # messages, parts of one, calls, tools
_DATA: Final = "data:"
_BASE64: Final = ";base64,"
_NO_PARAMETERS: Final = {"type": "object", "properties": {}}
_MEDIA: Final = {
    "image": ImagePromptMessageContent,
    "video": VideoPromptMessageContent,
    "audio": AudioPromptMessageContent,
}


def from_openai(value: Any) -> list[PromptMessage]:
    """Dify's messages."""
    if not isinstance(value, list) or not value:
        msg = "messages must be a list of at least one message."
        raise ValueError(msg)
    if len(value) > _MOST:
        msg = f"messages must have at most {_MOST} items."
        raise ValueError(msg)
    return [_message(one, f"messages[{n}]") for n, one in enumerate(value)]


def _message(value: Any, where: str) -> PromptMessage:
    if not isinstance(value, dict):
        msg = f"{where} must be an object with role and content."
        raise ValueError(msg)  # noqa: TRY004 - a caller handles one error
    name = _text(value.get("name"), f"{where}.name") or None
    match value.get("role"):
        # Dify has no developer role (its RequestInvokeLLM refuses it).
        case "system" | "developer":
            return SystemPromptMessage(content=_content(value, where), name=name)
        case "user":
            return UserPromptMessage(content=_content(value, where), name=name)
        case "assistant":
            return AssistantPromptMessage(
                # The daemon refuses null.
                content=_content(value, where) if value.get("content") else "",
                name=name,
                tool_calls=_calls(value.get("tool_calls"), f"{where}.tool_calls"),
            )
        case "tool":
            called = _text(value.get("tool_call_id"), f"{where}.tool_call_id")
            content = _content(value, where)
            return ToolPromptMessage(content=content, tool_call_id=called)
    msg = f"{where}.role must be system, developer, user, assistant or tool."
    raise ValueError(msg)


def _content(value: Json, where: str) -> Any:
    content = value.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, list) and 0 < len(content) <= _MOST:
        return [_part(p, f"{where}.content[{n}]") for n, p in enumerate(content)]
    msg = f"{where}.content must be a text or a list of parts."
    raise ValueError(msg)


def _part(part: Any, where: str) -> Any:
    kind = part.get("type") if isinstance(part, dict) else None
    inner = part.get(kind) if isinstance(kind, str) else None
    if kind == "text":
        return TextPromptMessageContent(data=_text(inner, f"{where}.text"))
    if kind not in ("image_url", "video_url", "input_audio", "file"):
        msg = f"{where}.type must be text, image_url, video_url, input_audio or file."
        raise ValueError(msg)
    if not isinstance(inner, dict):
        msg = f"{where}.{kind} must be an object."
        raise ValueError(msg)  # noqa: TRY004 - a caller handles one error
    if kind == "file":
        if not inner.get("file_data"):
            msg = f"{where}.file needs file_data; a file_id is unknown here."
            raise ValueError(msg)
        fields = _media(
            inner["file_data"], f"{where}.file.file_data", "application/pdf"
        )
        name = _text(inner.get("filename"), f"{where}.file.filename")
        return DocumentPromptMessageContent(**fields, filename=name)
    if kind == "input_audio":
        sound = _text(inner.get("format"), f"{where}.input_audio.format") or "wav"
        fields = _media(
            inner.get("data"), f"{where}.input_audio.data", f"audio/{sound}", bare=True
        )
        return AudioPromptMessageContent(**fields)
    standard = "image/jpeg" if kind == "image_url" else "video/mp4"
    fields = _media(inner.get("url"), f"{where}.{kind}.url", standard)
    made = _MEDIA.get(fields["mime_type"].partition("/")[0], ImagePromptMessageContent)
    if made is ImagePromptMessageContent:
        # Dify has low and high; OpenAI's auto is high except for small pictures.
        detail = "low" if inner.get("detail") == "low" else "high"
        return ImagePromptMessageContent(**fields, detail=detail)
    return made(**fields)


def _media(value: Any, where: str, standard: str, *, bare: bool = False) -> Any:
    """The URL of a file, or its content in base64, and its type."""
    text = _text(value, where)
    if bare and not text.startswith(_DATA):
        text = f"{_DATA}{standard}{_BASE64}{text}"
    if text.startswith(_DATA):
        about, found, content = text.removeprefix(_DATA).partition(_BASE64)
        if not found or not content:
            msg = f"{where} must be a data URL with base64, or a URL."
            raise ValueError(msg)
        mime = about.partition(";")[0] or standard
        return {"base64_data": content, "mime_type": mime, "format": _format(mime)}
    if not text.startswith(("http://", "https://")):
        msg = f"{where} must be a data URL with base64, or a URL."
        raise ValueError(msg)
    try:
        path = urlsplit(text).path
    except ValueError:
        msg = f"{where} is not a URL."
        raise ValueError(msg) from None
    mime = mimetypes.guess_type(path)[0] or standard
    return {"url": text, "mime_type": mime, "format": _format(mime)}


def _format(mime: str) -> str:
    return mime.partition("/")[2]


def _calls(value: Any, where: str) -> list[AssistantPromptMessage.ToolCall]:
    try:
        return [
            AssistantPromptMessage.ToolCall(
                id=call["id"],
                type="function",
                function=AssistantPromptMessage.ToolCall.ToolCallFunction(
                    name=call["function"]["name"],
                    arguments=call["function"]["arguments"],
                ),
            )
            for call in value or ()
        ]
    except (KeyError, TypeError, ValueError):
        msg = f"{where} must be a list of calls with id and function."
        raise ValueError(msg) from None


def tools_of(value: Any) -> list[PromptMessageTool]:
    """The tools that a request offers."""
    if isinstance(value, list) and len(value) > _MOST:
        msg = f"tools must have at most {_MOST} items."
        raise ValueError(msg)
    try:
        return [
            PromptMessageTool(
                name=tool["function"]["name"],
                description=tool["function"].get("description") or "",
                parameters=tool["function"].get("parameters") or _NO_PARAMETERS,
            )
            for tool in value or ()
        ]
    except (KeyError, TypeError, ValueError, AttributeError):
        msg = "tools must be a list of functions, each with a name."
        raise ValueError(msg) from None


def _text(value: Any, where: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        msg = f"{where} must be a text."
        raise ValueError(msg)  # noqa: TRY004 - a caller handles one error
    return value
