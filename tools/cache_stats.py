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
        # The text first: an agent's observation begins with what comes first.
        yield from shell.texts(self, observe.summary_table(saved))
        yield from shell.variables(
            self,
            stats=saved,
            hit_rate=saved["hit_rate"] or 0,
            requests=saved["requests"],
            decisions=saved["decisions"],
        )
