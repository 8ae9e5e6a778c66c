from typing import Any

from rag_cache import operating, shell
from rag_cache.caller import Caller


class CacheFeedback(shell.Tool):
    def run(self, caller: Caller, asked: dict[str, Any]) -> shell.Messages:
        vote = operating.feedback(caller, asked, caller.user_id)
        yield from self.variables(dropped=vote == "dropped", result=vote.value)
        yield from self.texts(vote.value)
