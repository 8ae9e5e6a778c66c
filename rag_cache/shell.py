"""What every tool's shell does the same way."""

from collections.abc import Generator
from typing import Any

from dify_plugin import Tool as AnyTool
from dify_plugin.entities.tool import ToolInvokeMessage

from cachecore.answer import Piece, split
from rag_cache.caller import Caller
from rag_cache.outcome import Outcome
from rag_cache.work import Work


def caller(tool: AnyTool) -> Caller:
    """Who runs this tool. Ids are empty where the host sends none."""
    return Caller(
        credentials=tool.runtime.credentials,
        app_id=tool.session.app_id or "",
        user_id=tool.runtime.user_id or "",
    )


def variables(tool: AnyTool, **values: Any) -> Generator[ToolInvokeMessage, None, None]:
    """One output variable each; a declared one that is not sent reads as None."""
    for name, value in values.items():
        yield tool.create_variable_message(name, value)


def texts(tool: AnyTool, text: str) -> Generator[ToolInvokeMessage, None, None]:
    """A text in pieces that the host takes; none for no text."""
    for piece in split(Piece(text=text)):
        if piece.text:
            yield tool.create_text_message(piece.text)


def streamed(tool: AnyTool, work: Work) -> Generator[ToolInvokeMessage, None, None]:
    """The text as it comes, then how it came about."""
    for text in work.texts():
        yield tool.create_text_message(text)
    yield from outcome(tool, work.outcome)
    yield from variables(tool, complete=work.complete)


def outcome(tool: AnyTool, told: Outcome) -> Generator[ToolInvokeMessage, None, None]:
    """How an answer came about, as the outputs that all tools have."""
    yield from variables(
        tool,
        hit=told.hit,
        reason=told.reason,
        age_seconds=told.age_seconds,
        cache_key=told.cache_key,
    )
