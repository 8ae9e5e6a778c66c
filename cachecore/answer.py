"""Answers in pieces: record a stream while it passes, split a kept answer.

A recorded stream is complete only after the upstream's own end. A stream that fails, is
closed early or becomes longer than its limit is never kept: a part of an answer must not
be served as a complete one.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

# Dify's daemon kills a plugin that writes a line over 5 MiB, and JSON may write one
# character as six bytes. A piece of this size is well below the limit.
PIECE_CHARACTERS: Final = 128 * 1024
_NO_LIMIT: Final = 2**62


@dataclass(frozen=True, slots=True)
class Usage:
    """The upstream's counts of tokens.

    ``billed`` is false for an answer that was not paid for again: a kept answer, or an
    answer from another caller's load. ``price`` is the paid amount in ``currency``, if
    the upstream reports it; else None. Of the prompt's tokens, ``cached_tokens`` were
    read from the provider's own prompt cache, and ``written_tokens`` written to it.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    billed: bool = True
    price: float | None = None
    currency: str = "USD"
    cached_tokens: int = 0
    written_tokens: int = 0

    @property
    def tokens(self) -> tuple[int, int, int, int]:
        """Prompt, completion, and the prompt's cached and written tokens."""
        prompt, completion = self.prompt_tokens, self.completion_tokens
        return prompt, completion, self.cached_tokens, self.written_tokens


@dataclass(frozen=True, slots=True)
class Piece:
    """One step of a streamed answer, or all of it.

    ``text`` is the text that the host shows, with reasoning inside ``<think>`` tags.
    ``tool_calls`` are complete: ``{"id", "type", "name", "arguments"}`` each.
    ``finish_reason`` and ``usage`` come once, on the last piece, and so does
    ``data``: JSON data that is the answer, or goes with its text.
    """

    text: str = ""
    tool_calls: tuple[dict[str, str], ...] = ()
    finish_reason: str | None = None
    usage: Usage | None = None
    data: Any = None

    @property
    def billed(self) -> bool:
        """Whether the caller's own call paid for its tokens."""
        return self.usage is None or self.usage.billed

    def payload(self) -> dict[str, Any]:
        """The piece as JSON data, for an entry or for another process."""
        beside = {} if self.data is None else {"data": self.data}
        return {
            **beside,
            "text": self.text,
            "tool_calls": list(self.tool_calls),
            "finish_reason": self.finish_reason,
            "usage": [self.usage.prompt_tokens, self.usage.completion_tokens]
            if self.usage
            else None,
        }

    @classmethod
    def from_payload(cls, payload: Any) -> "Piece":
        """The piece from which ``payload`` was made; raises ValueError otherwise.

        Its tokens are not billed: the load that made the payload paid for them.
        """
        try:
            text, usage = payload["text"], payload["usage"]
            finish_reason, data = payload["finish_reason"], payload.get("data")
            calls = tuple(_tool_call(call) for call in payload["tool_calls"])
            tokens = (
                None
                if usage is None
                else Usage(int(usage[0]), int(usage[1]), billed=False)
            )
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            msg = "the payload is not an answer"
            raise ValueError(msg) from error
        if not isinstance(text, str) or not isinstance(finish_reason, str | None):
            msg = "the payload is not an answer"
            raise ValueError(msg)  # noqa: TRY004 - a caller handles one error
        return cls(text, calls, finish_reason, tokens, data)


# The tags around the reasoning that may precede a model's text.
_THOUGHT: Final = "<think>", "</think>"
_SPACE: Final = re.compile(r"\s*")


def spoken(text: str) -> str:
    """The text without the reasoning before it: reasoning alone is not an answer."""
    opening, closing = _THOUGHT
    at = 0
    while True:
        space = _SPACE.match(text, at)
        begun = space.end() if space else at
        if not text.startswith(opening, begun):
            return text[begun:] if at else text
        end = text.find(closing, begun)
        if end < 0:
            return ""
        at = end + len(closing)


def _tool_call(call: Any) -> dict[str, str]:
    return {name: str(call[name]) for name in ("id", "type", "name", "arguments")}


class Recorder:
    """Joins pieces again, up to ``max_bytes`` of text and arguments.

    Above this limit it drops all pieces; the caller still gets everything.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._texts: list[str] = []
        self._tool_calls: list[dict[str, str]] = []
        self._finish_reason: str | None = None
        self._usage: Usage | None = None
        self._data: Any = None
        self.size = 0

    @property
    def usage(self) -> Usage | None:
        """The tokens, after the upstream has reported them."""
        return self._usage

    @property
    def overflowed(self) -> bool:
        """Whether the answer is longer than the limit."""
        return self.size > self._max_bytes

    def add(self, piece: Piece) -> None:
        """Add the next piece, in the caller's order."""
        self._finish_reason = piece.finish_reason or self._finish_reason
        self._usage = piece.usage or self._usage
        if piece.data is not None:
            self._data = piece.data
        if not piece.text and not piece.tool_calls:
            return
        self.size += len(piece.text.encode("utf-8", "surrogatepass"))
        self.size += sum(len(call["arguments"]) for call in piece.tool_calls)
        if self.overflowed:
            self._texts.clear()
            self._tool_calls.clear()
            return
        self._texts.append(piece.text)
        self._tool_calls.extend(piece.tool_calls)

    def answer(self) -> Piece:
        """The whole answer. Valid only after the upstream's own end."""
        return Piece(
            "".join(self._texts),
            tuple(self._tool_calls),
            self._finish_reason,
            self._usage,
            self._data,
        )


def split(piece: Piece) -> Iterator[Piece]:
    """The answer in as few pieces as the host's line limit allows; its end comes last.

    Each chunk costs the plugin and its host more time than Redis does. So a kept answer
    does not repeat the upstream's chunks.
    """
    text = piece.text
    if len(text) <= PIECE_CHARACTERS:
        yield piece
        return
    while len(text) > PIECE_CHARACTERS:
        yield Piece(text=text[:PIECE_CHARACTERS])
        text = text[PIECE_CHARACTERS:]
    yield replace(piece, text=text)


def merge(pieces: Iterable[Piece]) -> Piece:
    """Several pieces as one, for a caller that does not stream or is slow."""
    recorder = Recorder(max_bytes=_NO_LIMIT)
    for piece in pieces:
        recorder.add(piece)
    return recorder.answer()


def data_of(pieces: Iterable[Piece]) -> Any:
    """The data of an answer. It reads all pieces, so that the answer is kept."""
    return merge(pieces).data


def unbilled(piece: Piece) -> Piece:
    """The same piece, with tokens that another call paid for."""
    paid = piece.usage
    if paid is None or not paid.billed:
        return piece
    prompt, completion, *_ = paid.tokens
    usage = Usage(prompt, completion, billed=False, currency=paid.currency)
    return replace(piece, usage=usage)
