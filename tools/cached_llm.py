from typing import Any

from rag_cache import shell, work
from rag_cache.caller import Caller


class CachedLlm(shell.Tool):
    def run(self, caller: Caller, asked: dict[str, Any]) -> shell.Messages:
        under_way = work.model(caller, asked, work.Models.of(self.session))
        yield from self.streamed(under_way)
        yield from self.variables(usage=under_way.tokens)
