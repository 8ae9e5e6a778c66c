from collections.abc import Generator
from typing import Any

from dify_plugin import Tool
from dify_plugin.entities.tool import ToolInvokeMessage

from rag_cache import shell, wrapping


class CacheLookup(Tool):
    def _invoke(
        self, tool_parameters: dict[str, Any]
    ) -> Generator[ToolInvokeMessage, None, None]:
        found = wrapping.look_up(shell.caller(self), tool_parameters)
        value = found.value
        yield from shell.outcome(self, found.outcome)
        yield from shell.variables(
            self,
            value=found.text,
            value_object=value if isinstance(value, dict) else {},
            value_list=value if isinstance(value, list) else [],
            ticket=found.ticket,
        )
        yield from shell.texts(self, found.text)
