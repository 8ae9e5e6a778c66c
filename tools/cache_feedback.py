from collections.abc import Generator
from typing import Any

from dify_plugin import Tool
from dify_plugin.entities.tool import ToolInvokeMessage

from rag_cache import operating, shell


class CacheFeedback(Tool):
    def _invoke(
        self, tool_parameters: dict[str, Any]
    ) -> Generator[ToolInvokeMessage, None, None]:
        caller = shell.caller(self)
        vote = operating.feedback(caller, tool_parameters, caller.user_id)
        yield from shell.variables(self, dropped=vote == "dropped", result=vote.value)
        yield from shell.texts(self, vote.value)
