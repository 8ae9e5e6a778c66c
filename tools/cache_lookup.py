from typing import Any

from rag_cache import shell, work, wrapping
from rag_cache.caller import Caller


class CacheLookup(shell.Tool):
    def run(self, caller: Caller, asked: dict[str, Any]) -> shell.Messages:
        found = wrapping.look_up(caller, asked, work.Models.of(self.session))
        data = found.data
        yield from self.outcome(found.outcome)
        yield from self.variables(
            value=found.text,
            value_object=data if isinstance(data, dict) else {},
            value_list=data if isinstance(data, list) else [],
            ticket=found.ticket,
        )
        yield from self.texts(found.text)
