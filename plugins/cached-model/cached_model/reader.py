"""OpenAI's events -> pieces of an answer.

Reasoning is put into ``<think>`` tags, as Dify expects it. Tool calls are joined, and are
complete on the last piece, with finish_reason and usage. An answer that is not complete
raises Incomplete, in whatever way it ended.
"""

import json
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, Final

from cachecore.answer import Piece, Usage
from cached_model.sse import DONE
from difykit import web
from difykit.codec.messages import OPAQUE

# A longer text is not an answer; every follower of its flight would keep it in memory.
MAX_TEXT: Final = 8 * 1024 * 1024
# Tool calls are sent to the host in one line of at most 5 MiB after escaping.
MAX_ARGUMENTS: Final = 512 * 1024
_CALL_OVERHEAD: Final = 150  # characters of JSON around each
_MAX_REASON: Final = 64
_MAX_TOKENS: Final = 10**9
_LONGEST_SPACE: Final = 1000  # before a model's reasoning
OPENING: Final = "<think>"
CLOSING: Final = "</think>"


class Incomplete(Exception):
    """The upstream stopped before its answer was complete."""


class TooLong(Exception):
    """The upstream's answer is longer than a host accepts."""


class UpstreamError(Exception):
    """The upstream reported an error inside its answer, maybe with a ``code``."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Reader:
    """Passes the text on, and collects the data that is only known at the end."""

    def __init__(self, *, show_thoughts: bool) -> None:
        self._show_thoughts = show_thoughts
        self._hider = _Hider()
        self._thinking = False
        self._size = 0
        self._calls: list[dict[str, str]] = []
        self._by_index: dict[int, dict[str, str]] = {}
        self._finish_reason: str | None = None
        self._went_on = False  # whether more of the answer came after the finish reason
        self._usage: Usage | None = None
        self._spoke = False
        self._opaque = _Opaque()

    def pieces(self, events: Iterable[dict[str, Any] | str]) -> Iterator[Piece]:
        """The answer in pieces, each when it arrives.

        An answer is complete if it ends with ``[DONE]``, or with a finish reason that only
        usage follows. An answer that sent ``stop``, went on and was then cut is passed on
        without a finish reason, so that it is not kept.
        """
        done = False
        for event in events:
            if event == DONE:
                done = True
                break
            text = self._take(event)
            if text:
                yield Piece(text=text)
        if self._finish_reason is None and not (done and self._has_content):
            raise Incomplete
        if self._went_on and not done and self._finish_reason == "stop":
            self._finish_reason = None
        yield self._last()

    def whole(self, response: dict[str, Any]) -> Piece:
        """The answer from one JSON object."""
        choice = _first(response)
        message = _mapping(choice.get("message"))
        if _text(message.get("content")).lstrip().startswith(OPENING):
            # The reasoning is there twice.
            message = {**message, "reasoning": None, "reasoning_content": None}
        text = self._take({**response, "choices": [{**choice, "delta": message}]})
        if self._finish_reason is None and not self._has_content:
            raise Incomplete
        last = self._last()
        return replace(last, text=text + last.text)

    @property
    def _has_content(self) -> bool:
        return bool(self._size or self._calls)

    def _take(self, event: Any) -> str:
        choice = _first(event)
        _raise_reported(event, choice)
        usage = event.get("usage") or event.get("usageMetadata")
        self._usage = _usage(usage) or self._usage
        delta = _mapping(choice.get("delta"))
        ended = self._finish_reason is not None
        self._judge(choice.get("finish_reason"))
        self._add_calls(delta)
        thought = _text(delta.get("reasoning_content")) or _text(delta.get("reasoning"))
        text = _text(delta.get("content")) or _text(choice.get("text"))
        if ended and (text or thought or delta.get("tool_calls")):
            self._went_on = True
        self._opaque.take(delta)
        self._spoke = self._spoke or bool(text)
        self._size += len(text) + len(thought)
        if self._size > MAX_TEXT:
            raise TooLong
        return self._with_thought(thought, text)

    def _judge(self, finish_reason: Any) -> None:
        """Take a finish reason: the first counts, but another reason replaces ``stop``.

        Some servers send ``stop`` in each chunk; a later reason is then the true one.
        """
        if not isinstance(finish_reason, str) or not finish_reason:
            return
        if len(finish_reason) > _MAX_REASON:
            raise TooLong
        if self._finish_reason in (None, "stop"):
            self._finish_reason = finish_reason

    def _with_thought(self, thought: str, text: str) -> str:
        if not self._show_thoughts:
            return self._hider.add(text)
        if thought and not self._thinking:
            self._thinking = True
            thought = f"{OPENING}\n{thought}"
        if text and self._thinking:
            self._thinking = False
            text = f"\n{CLOSING}{text}"
        return thought + text

    def _add_calls(self, delta: dict[str, Any]) -> None:
        older = _mapping(delta.get("function_call"))
        if older:
            # The older format has one call without an id: its name replaces the id.
            call = self._call_for({"index": 0})
            call["name"] = call["name"] or _text(older.get("name"))
            call["arguments"] += _arguments(older.get("arguments"))
            call["id"] = call["name"]
        parts = delta.get("tool_calls")
        for part in parts if isinstance(parts, list) else ():
            part = _mapping(part)  # noqa: PLW2901
            function = _mapping(part.get("function"))
            call = self._call_for(part)
            call["id"] = call["id"] or _text(part.get("id"))
            call["type"] = _text(part.get("type")) or call["type"]
            call["name"] = call["name"] or _text(function.get("name"))
            call["arguments"] += _arguments(function.get("arguments"))
            self._opaque.take_of_call(call, part)
        size = sum(len(part) for call in self._calls for part in call.values())
        if size + _CALL_OVERHEAD * len(self._calls) > MAX_ARGUMENTS:
            raise TooLong

    def _call_for(self, part: dict[str, Any]) -> dict[str, str]:
        """The call to which a part belongs.

        The index decides, but a new id is a new call, because some servers number every
        call 0, and some send no number.
        """
        index, name = part.get("index"), _text(part.get("id"))
        function = _mapping(part.get("function"))
        call: dict[str, str] | None = None
        if isinstance(index, int):
            call = self._by_index.get(index)
        elif name:
            call = next((c for c in self._calls if c["id"] == name), None)
        elif self._calls and not function.get("name"):
            call = self._calls[-1]
        if call is not None and not name and _text(function.get("name")):
            # Two complete calls with one number: neither is a part of the other.
            call = None if _is_whole(call["arguments"]) else call
        if call is None or (name and call["id"] and call["id"] != name):
            call = {"id": "", "type": "function", "name": "", "arguments": ""}
            self._calls.append(call)
            if isinstance(index, int):
                self._by_index[index] = call
        return call

    def _last(self) -> Piece:
        # A call without a name can't be made.
        calls = [call for call in self._calls if call["name"]]
        for call in calls:
            call["id"] = call["id"] or f"call_{uuid.uuid4().hex}"
        return Piece(
            text=f"\n{CLOSING}" if self._thinking else self._hider.end(),
            tool_calls=tuple(calls),
            finish_reason=self._finish_reason,
            usage=self._usage,
            # It belongs to an answer; alone it is not an answer.
            data=self._opaque.body() if self._spoke or calls else None,
        )


class _Opaque:
    """Data that a server sends for its next turn, such as signatures of the reasoning.

    These are OpenRouter's ``reasoning_details``, and ``extra_content`` of Google's
    OpenAI-compatible API, on a message or on one of its calls. Only the server reads the
    data, and it refuses the next turn without them.
    """

    def __init__(self) -> None:
        self._details: list[Any] = []
        self._extra: dict[str, Any] = {}
        self._of_calls: list[tuple[dict[str, str], dict[str, Any]]] = []

    def take(self, delta: dict[str, Any]) -> None:
        """Take the data of a delta."""
        details = delta.get("reasoning_details")
        if isinstance(details, list):
            self._details += details
        self._extra |= _mapping(delta.get("extra_content"))

    def take_of_call(self, call: dict[str, str], part: dict[str, Any]) -> None:
        """Take the data of a part of a tool call."""
        extra = _mapping(part.get("extra_content"))
        if extra:
            self._of_calls.append((call, extra))

    def body(self) -> dict[str, Any] | None:
        """All data as JSON (``messages.OPAQUE``); None if there are none."""
        found: dict[str, Any] = {}
        if self._details:
            found["reasoning_details"] = self._details
        if self._extra:
            found["extra_content"] = self._extra
        if self._of_calls:
            found["tool_calls"] = {call["id"]: extra for call, extra in self._of_calls}
        if not found:
            return None
        if len(json.dumps(found)) > MAX_ARGUMENTS:
            raise TooLong
        return {OPAQUE: found}


class _Hider:
    """Removes reasoning that a model writes into its text, before the answer.

    Such a model has no switch for it, so the text itself must be examined.
    """

    def __init__(self) -> None:
        self._held = ""  # text that may be reasoning, or the beginning of its tags
        self._passing = False

    def add(self, text: str) -> str:
        """The part of the text so far that can be shown now."""
        if self._passing:
            return text
        held, begun = self._held + text, (self._held + text).lstrip()
        shown = ""
        if begun.startswith(OPENING):
            _, closed, rest = held.partition(CLOSING)
            shown = rest.lstrip()
            # Only as much of it as is needed to find its end.
            held = OPENING + (CLOSING if closed else held[1 - len(CLOSING) :])
        elif not OPENING.startswith(begun) or len(held) > _LONGEST_SPACE:
            shown = held
        self._passing = bool(shown)
        self._held = "" if shown else held
        return shown

    def end(self) -> str:
        """The held text that is not reasoning."""
        return "" if self._held.lstrip().startswith(OPENING) else self._held


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    """Text, or the text parts of a list (Mistral's reasoning models write one)."""
    if isinstance(value, list):
        return "".join(_text(_mapping(part).get("text")) for part in value)
    return value if isinstance(value, str) else ""


def _is_whole(arguments: str) -> bool:
    """Whether arguments are complete: a JSON object."""
    try:
        return isinstance(json.loads(arguments), dict)
    except (ValueError, RecursionError):
        return False


def _arguments(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False)


def _first(event: Any) -> dict[str, Any]:
    """Choice 0: the one with this number, or the first one without a number."""
    choices = _mapping(event).get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if _mapping(choice).get("index") in (0, None):
            return _mapping(choice)
    return {}


def _usage(value: Any) -> Usage | None:
    """The tokens that a server counted; None if there are no counts.

    Providers report their own prompt cache in four ways: OpenAI, Azure and vLLM in
    ``prompt_tokens_details``, DeepSeek as ``prompt_cache_hit_tokens``, Anthropic as
    ``cache_read_input_tokens`` and ``cache_creation_input_tokens`` beside ``input_tokens``,
    Gemini as ``cachedContentTokenCount``.
    """
    data = _mapping(value)
    read = _count(data, "cache_read_input_tokens")
    written = _count(data, "cache_creation_input_tokens")
    prompt, completion = data.get("prompt_tokens"), data.get("completion_tokens")
    if prompt is None and _is_count(data.get("input_tokens")):
        # Anthropic's own count lacks the tokens that its cache read and wrote.
        prompt = data["input_tokens"] + read + written
        completion = data.get("output_tokens")
    elif prompt is None and _is_count(data.get("promptTokenCount")):
        prompt = data["promptTokenCount"]
        thoughts = _count(data, "thoughtsTokenCount")
        completion = _count(data, "candidatesTokenCount") + thoughts
    elif _is_count(prompt) and read + written > (prompt or 0):
        prompt = (prompt or 0) + read + written
    if completion is None and _is_count(prompt) and _is_count(data.get("total_tokens")):
        completion = max(0, data["total_tokens"] - (prompt or 0))
    if not (_is_count(prompt) and _is_count(completion)):
        return None
    details = _mapping(data.get("prompt_tokens_details"))
    cached = (
        read
        or _count(details, "cached_tokens")
        or _count(data, "prompt_cache_hit_tokens")
        or _count(data, "cachedContentTokenCount")
    )
    prompt, completion = int(prompt or 0), int(completion or 0)
    cached = min(cached, prompt)
    written = min(written, prompt - cached)
    return Usage(prompt, completion, cached_tokens=cached, written_tokens=written)


def _count(data: dict[str, Any], name: str) -> int:
    return int(data[name]) if _is_count(data.get(name)) else 0


def _is_count(value: Any) -> bool:
    return isinstance(value, int | float) and 0 <= value <= _MAX_TOKENS


def _raise_reported(event: dict[str, Any], choice: dict[str, Any]) -> None:
    """Raise an error from any of the places in which servers report one."""
    error = event.get("error") or choice.get("error")
    # FastChat's two own ways.
    if not error and (event.get("object") == "error" or event.get("error_code")):
        error = {"code": event.get("error_code") or event.get("code")}
    if not error and choice.get("finish_reason") == "error":
        error = {"code": "error"}
    if error:
        data = _mapping(error)
        named = data.get("code") or data.get("type")
        # Only a word: the rest may repeat the question.
        raise UpstreamError(
            web.word(str(named)) if isinstance(named, str | int) else ""
        )
