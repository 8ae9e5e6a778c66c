"""The base class of all tools' shells."""

from abc import abstractmethod
from collections.abc import Generator
from typing import Any

from dify_plugin import Tool as AnyTool
from dify_plugin.entities.tool import ToolInvokeMessage

from cachecore.answer import Piece, split
from rag_cache.caller import Caller
from rag_cache.outcome import Outcome
from rag_cache.work import Work

type Messages = Generator[ToolInvokeMessage, None, None]


class Tool(AnyTool):
    """A tool of RAG Cache. Its subclass implements ``run``."""

    def _invoke(self, tool_parameters: dict[str, Any]) -> Messages:
        # Ids are empty where the host sends none.
        app_id, user_id = self.session.app_id or "", self.runtime.user_id or ""
        caller = Caller(self.runtime.credentials, app_id, user_id)
        return self.run(caller, tool_parameters)

    @abstractmethod
    def run(self, caller: Caller, asked: dict[str, Any]) -> Messages:
        """The tool's output for its parameters."""

    def variables(self, **values: Any) -> Messages:
        """One output variable per value; a declared one that is not sent is None."""
        for name, value in values.items():
            yield self.create_variable_message(name, value)

    def texts(self, text: str) -> Messages:
        """A text in pieces that the host accepts; no piece for an empty text."""
        for piece in split(Piece(text=text)):
            if piece.text:
                yield self.create_text_message(piece.text)

    def streamed(self, work: Work) -> Messages:
        """The text as it arrives, then its outcome."""
        for text in work.texts():
            yield self.create_text_message(text)
        yield from self.outcome(work.outcome)
        yield from self.variables(complete=work.uncut)

    def outcome(self, outcome: Outcome) -> Messages:
        """The outcome of an answer, in the outputs that all tools have."""
        yield from self.variables(
            hit=outcome.hit,
            reason=outcome.reason,
            age_seconds=outcome.age_seconds,
            cache_key=outcome.cache_key,
        )
