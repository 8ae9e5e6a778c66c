from collections.abc import Generator
from typing import Any

from dify_plugin import Tool
from dify_plugin.entities.tool import ToolInvokeMessage

from rag_cache import observe, shell


class CacheStats(Tool):
    def _invoke(
        self, tool_parameters: dict[str, Any]
    ) -> Generator[ToolInvokeMessage, None, None]:
        saved = observe.summary(shell.caller(self), tool_parameters)
        yield from shell.variables(
            self,
            stats=saved,
            hit_rate=saved["hit_rate"] or 0,
            requests=saved["requests"],
            decisions=saved["decisions"],
        )
        yield from shell.texts(self, observe.summary_table(saved))
