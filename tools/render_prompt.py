from typing import Any

from rag_cache import shell, templates
from rag_cache.caller import Caller


class RenderPrompt(shell.Tool):
    def run(self, caller: Caller, asked: dict[str, Any]) -> shell.Messages:
        rendered = templates.render(asked)
        yield from self.texts(rendered.text)
        yield from self.variables(hit=rendered.hit)
