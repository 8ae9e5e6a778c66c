"""What every tool's shell does the same way."""

from collections.abc import Generator
from typing import Any

from dify_plugin import Tool as AnyTool
from dify_plugin.entities.tool import ToolInvokeMessage

from rag_cache.wrapping import Caller


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
