from typing import Any

from rag_cache import inputs, retrieval, shell
from rag_cache.caller import Caller


class CachedSearch(shell.Tool):
    def run(self, caller: Caller, asked: dict[str, Any]) -> shell.Messages:
        inputs.required(asked, "knowledge_bases")
        ask = retrieval.read(asked, names="knowledge_bases")
        found = retrieval.retrieve(caller, ask)
        # Only the text, because Dify writes every output variable into the text that an
        # agent's model reads (1.13.2: core/tools/tool_engine.py,
        # _convert_tool_response_to_str).
        text = found.text or "Nothing was found."
        yield from self.texts("\n\n".join([text, *found.warnings]))
