from typing import Any

from rag_cache import inputs, shell, work, wrapping
from rag_cache.caller import Caller


class CacheStore(shell.Tool):
    def run(self, caller: Caller, asked: dict[str, Any]) -> shell.Messages:
        done = wrapping.store(caller, asked, work.Models.of(self.session))
        yield from self.variables(stored=done.stored, reason=done.reason)
        # The text shows people the value, on a miss as on a hit.
        yield from self.texts(inputs.text({"value": done.value}, "value"))
