from collections.abc import Generator
from functools import partial
from typing import Any

from dify_plugin import Tool
from dify_plugin.entities.tool import ToolInvokeMessage

from rag_cache import shell, work


class CachedApp(Tool):
    def _invoke(
        self, tool_parameters: dict[str, Any]
    ) -> Generator[ToolInvokeMessage, None, None]:
        ask = partial(work.ask, self.session)
        models = work.Models.of(self.session)
        asked = work.app(shell.caller(self), tool_parameters, ask, models)
        yield from shell.streamed(self, asked)
        yield from shell.variables(self, outputs=(asked.data or {}).get("outputs", {}))
