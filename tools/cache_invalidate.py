from typing import Any

from rag_cache import operating, shell
from rag_cache.caller import Caller


class CacheInvalidate(shell.Tool):
    def run(self, caller: Caller, asked: dict[str, Any]) -> shell.Messages:
        said = operating.invalidate(caller, asked)
        known, never_kept = operating.split(said.names)
        yield from self.variables(
            done=True,
            message=said.message,
            renewed=len(known),
            never_kept=never_kept,
        )
        yield from self.texts(said.message)
