from collections.abc import Generator
from typing import Any

from dify_plugin import Tool
from dify_plugin.entities.tool import ToolInvokeMessage

from rag_cache import inputs, shell, work, wrapping


class CacheStore(Tool):
    def _invoke(
        self, tool_parameters: dict[str, Any]
    ) -> Generator[ToolInvokeMessage, None, None]:
        done = wrapping.store(
            shell.caller(self), tool_parameters, work.Models.of(self.session)
        )
        yield from shell.variables(self, stored=done.stored, reason=done.reason)
        # What a person wants to see is the value, on a miss as on a hit.
        yield from shell.texts(self, inputs.text({"value": done.value}, "value"))
