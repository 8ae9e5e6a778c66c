from typing import Any

from rag_cache import observe, shell
from rag_cache.caller import Caller


class CacheStats(shell.Tool):
    def run(self, caller: Caller, asked: dict[str, Any]) -> shell.Messages:
        saved = observe.summary(caller, asked)
        # The text comes first, because an agent's observation begins with it.
        yield from self.texts(observe.summary_table(saved))
        yield from self.variables(
            stats=saved,
            hit_rate=saved["hit_rate"] or 0,
            requests=saved["requests"],
            decisions=saved["decisions"],
        )
