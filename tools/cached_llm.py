from collections.abc import Generator
from typing import Any

from dify_plugin import Tool
from dify_plugin.entities.tool import ToolInvokeMessage

from rag_cache import shell, work


class CachedLlm(Tool):
    def _invoke(
        self, tool_parameters: dict[str, Any]
    ) -> Generator[ToolInvokeMessage, None, None]:
        models = work.Models.of(self.session)
        asked = work.model(shell.caller(self), tool_parameters, models)
        yield from shell.streamed(self, asked)
        yield from shell.variables(self, usage=asked.tokens)
