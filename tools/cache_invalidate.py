from collections.abc import Generator
from typing import Any

from dify_plugin import Tool
from dify_plugin.entities.tool import ToolInvokeMessage

from rag_cache import operating, shell


class CacheInvalidate(Tool):
    def _invoke(
        self, tool_parameters: dict[str, Any]
    ) -> Generator[ToolInvokeMessage, None, None]:
        said = operating.invalidate(shell.caller(self), tool_parameters)
        yield from shell.variables(
            self,
            done=True,
            message=said.message,
            renewed=len(said.names),
            never_kept=[name for name, stood in said.names.items() if not stood],
        )
        yield from shell.texts(self, said.message)
