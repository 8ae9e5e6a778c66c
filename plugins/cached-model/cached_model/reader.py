"""OpenAI's events -> pieces of an answer.

Reasoning is wrapped in ``<think>`` tags, as Dify's hosts expect it; tool calls
are put together and come whole, on the last piece, with finish_reason and
usage. What is not an answer to its end raises Incomplete.
"""

import uuid
from collections.abc import Iterable, Iterator
from typing import Any

from cachecore.streams import Piece, Usage
from cached_model.sse import DONE


class Incomplete(Exception):
    """The upstream stopped before its answer was whole."""


class UpstreamError(Exception):
    """The upstream reported an error inside its answer; ``code`` may say which."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Reader:
    """Collects what is only known at the end, and hands the text through."""

    def __init__(self, *, show_thoughts: bool) -> None:
        self._show_thoughts = show_thoughts
        self._thinking = False
        self._calls: dict[int | str, dict[str, str]] = {}
        self._finish_reason: str | None = None
        self._usage: Usage | None = None

    def pieces(self, events: Iterable[dict[str, Any] | str]) -> Iterator[Piece]:
        """The answer in pieces, each as it comes."""
        done = False
        for event in events:
            if event == DONE:
                done = True
                break
            text = self._take(event)
            if text:
                yield Piece(text=text)
        if not done and self._finish_reason is None:
            raise Incomplete
        yield self._last()

    def whole(self, response: dict[str, Any]) -> Piece:
        """The answer that came in one JSON object."""
        _raise_reported(response)
        choice = _first(response)
        message = choice.get("message")
        event = {**response, "choices": [{**choice, "delta": message or {}}]}
        text = self._take(event)
        if self._finish_reason is None:
            raise Incomplete
        last = self._last()
        return Piece(text + last.text, last.tool_calls, last.finish_reason, last.usage)

    def _take(self, event: Any) -> str:
        _raise_reported(event)
        usage = event.get("usage")
        if isinstance(usage, dict):
            self._usage = _usage(usage)
        choice = _first(event)
        self._finish_reason = choice.get("finish_reason") or self._finish_reason
        delta = choice.get("delta") or {}
        self._add_calls(delta)
        text = delta.get("content") or choice.get("text") or ""
        thought = delta.get("reasoning_content") or delta.get("reasoning") or ""
        if not isinstance(text, str) or not isinstance(thought, str):
            raise Incomplete
        return self._with_thought(thought, text)

    def _with_thought(self, thought: str, text: str) -> str:
        if not self._show_thoughts:
            return text
        if thought and not self._thinking:
            self._thinking = True
            thought = "<think>\n" + thought
        if text and self._thinking:
            self._thinking = False
            text = "\n</think>" + text
        return thought + text

    def _add_calls(self, delta: dict[str, Any]) -> None:
        function = delta.get("function_call")
        if isinstance(function, dict):
            # The older way has one call and no id: its name stands for it.
            call = self._calls.setdefault("function", _new_call())
            call["name"] += function.get("name") or ""
            call["arguments"] += function.get("arguments") or ""
            call["id"] = call["name"]
        for position, part in enumerate(delta.get("tool_calls") or []):
            function = part.get("function") or {}
            index = part.get("index", position)
            call = self._calls.setdefault(index, _new_call())
            call["id"] = call["id"] or part.get("id") or ""
            call["type"] = part.get("type") or call["type"]
            call["name"] = call["name"] or function.get("name") or ""
            call["arguments"] += function.get("arguments") or ""

    def _last(self) -> Piece:
        for call in self._calls.values():
            call["id"] = call["id"] or f"call_{uuid.uuid4().hex}"
        return Piece(
            text="\n</think>" if self._thinking else "",
            tool_calls=tuple(self._calls.values()),
            finish_reason=self._finish_reason,
            usage=self._usage,
        )


def _new_call() -> dict[str, str]:
    return {"id": "", "type": "function", "name": "", "arguments": ""}


def _first(event: dict[str, Any]) -> dict[str, Any]:
    choices = event.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        return choices[0]
    return {}


def _usage(data: dict[str, Any]) -> Usage | None:
    prompt, completion = data.get("prompt_tokens"), data.get("completion_tokens")
    if isinstance(prompt, int) and isinstance(completion, int | None):
        return Usage(prompt, completion or 0)
    return None


def _raise_reported(event: dict[str, Any]) -> None:
    error = event.get("error")
    if error and not event.get("choices"):
        code = error.get("code") or error.get("type") if isinstance(error, dict) else ""
        raise UpstreamError(str(code or ""))
