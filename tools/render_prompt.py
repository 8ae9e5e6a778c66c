from collections.abc import Generator
from typing import Any

from dify_plugin import Tool
from dify_plugin.entities.tool import ToolInvokeMessage

from rag_cache import shell, templates


class RenderPrompt(Tool):
    def _invoke(
        self, tool_parameters: dict[str, Any]
    ) -> Generator[ToolInvokeMessage, None, None]:
        rendered = templates.render(tool_parameters)
        yield from shell.texts(self, rendered.text)
        yield from shell.variables(self, hit=rendered.hit)
