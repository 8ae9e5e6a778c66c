from typing import Any

from rag_cache import operating, shell
from rag_cache.caller import Caller


class CacheInvalidate(shell.Tool):
    def run(self, caller: Caller, asked: dict[str, Any]) -> shell.Messages:
        said = operating.invalidate(caller, asked)
        yield from self.variables(
            done=True,
            message=said.message,
            renewed=sum(said.names.values()),
            never_kept=[name for name, existed in said.names.items() if not existed],
        )
        yield from self.texts(said.message)
