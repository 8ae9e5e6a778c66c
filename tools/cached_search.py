from collections.abc import Generator
from typing import Any

from dify_plugin import Tool
from dify_plugin.entities.tool import ToolInvokeMessage

from rag_cache import inputs, retrieval, shell


class CachedSearch(Tool):
    def _invoke(
        self, tool_parameters: dict[str, Any]
    ) -> Generator[ToolInvokeMessage, None, None]:
        inputs.required(tool_parameters, "knowledge_bases")
        ask = retrieval.read(tool_parameters, names="knowledge_bases")
        found = retrieval.retrieve(shell.caller(self), ask)
        # The text first: an agent's observation begins with what comes first.
        yield from shell.texts(self, found.text or "Nothing was found.")
        yield from shell.outcome(self, found.outcome)
        yield from shell.variables(self, warning=" ".join(found.warnings))
