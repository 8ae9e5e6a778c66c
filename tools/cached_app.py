from functools import partial
from typing import Any

from rag_cache import shell, work
from rag_cache.caller import Caller


class CachedApp(shell.Tool):
    def run(self, caller: Caller, asked: dict[str, Any]) -> shell.Messages:
        ask = partial(work.ask, self.session)
        models = work.Models.of(self.session)
        under_way = work.app(caller, asked, ask, models)
        yield from self.streamed(under_way)
        yield from self.variables(outputs=(under_way.data or {}).get("outputs", {}))
