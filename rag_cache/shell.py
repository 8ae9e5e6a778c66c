"""What every tool's shell does the same way."""

import json
from collections.abc import Generator
from typing import Any, Final

from dify_plugin import Tool as AnyTool
from dify_plugin.entities.tool import ToolInvokeMessage

from cachecore.streams import Piece, split
from rag_cache.caller import Caller
from rag_cache.inputs import BadInput
from rag_cache.outcome import Outcome
from rag_cache.work import Work

# The host kills a plugin that writes a longer line (5 MiB); what is around a value,
# and how it is written, comes on top.
_MAX_LINE: Final = 4 * 1024 * 1024


def caller(tool: AnyTool) -> Caller:
    """Who runs this tool. Ids are empty where the host sends none."""
    return Caller(
        credentials=tool.runtime.credentials,
        app_id=tool.session.app_id or "",
        user_id=tool.runtime.user_id or "",
    )


def variables(tool: AnyTool, **values: Any) -> Generator[ToolInvokeMessage, None, None]:
    """One output variable each; a declared one that is not sent reads as None.

    Raises BadInput for what the host would kill this process for.
    """
    for name, value in values.items():
        if _written(value) > _MAX_LINE:
            msg = f"The output {name} is larger than Dify takes; ask for less of it."
            raise BadInput(msg)
        yield tool.create_variable_message(name, value)


def _written(value: Any) -> int:
    """The bytes of a value as the SDK writes it."""
    if value is None or isinstance(value, bool | int | float):
        return 0
    return len(json.dumps(value, ensure_ascii=True, default=str))


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
