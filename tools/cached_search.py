from typing import Any

from rag_cache import inputs, retrieval, shell
from rag_cache.caller import Caller


class CachedSearch(shell.Tool):
    def run(self, caller: Caller, asked: dict[str, Any]) -> shell.Messages:
        inputs.required(asked, "knowledge_bases")
        ask = retrieval.read(asked, names="knowledge_bases")
        found = retrieval.retrieve(caller, ask)
        # The text first: an agent's observation begins with what comes first.
        yield from self.texts(found.text or "Nothing was found.")
        yield from self.outcome(found.outcome)
        yield from self.variables(warning=" ".join(found.warnings))
