"""Server-sent events, as OpenAI-compatible servers write them.

The input is bytes in any pieces, the output is JSON objects, each as soon as its last byte
has arrived. Servers differ: CRLF, comments, several ``data`` lines in a frame, no blank line
between frames, no ``[DONE]``, no line end at the end, and errors as an event, a field or an
object.
"""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

import orjson

# A longer line is not an answer; it would fill the process's memory.
MAX_LINE: Final = 16 * 1024 * 1024
# A frame with more lines than this is parsed only at its end, not after each line.
_EAGER_LINES: Final = 16

DONE: Final = "[DONE]"
# The id of a frame of RAG Cache's: a name of the answer, and the frame's number in it.
_NUMBERED: Final = re.compile(rb"([0-9a-f]{8})/(\d{1,9})")


class NotEvents(ValueError):
    """The bytes are not a stream of JSON events."""


def events(chunks: Iterable[bytes]) -> Iterator[dict[str, Any] | str]:
    """Each event's JSON object, and DONE for ``[DONE]``.

    An error event of a server is returned as ``{"error": …}``. Raises NotEvents for a data
    line that does not become JSON, also at the end, and if the frames' numbers show that
    one is missing.
    """
    numbers = _Numbers()
    waiting: list[bytes] = []  # data lines of a frame that is not yet JSON
    size = 0  # of these lines
    name = b""
    for line in _lines(chunks):
        if not line:
            if any(part.strip() for part in waiting):
                # It is not empty, like the heartbeat of some servers, so it must be JSON.
                yield _marked(_whole(waiting), name)
            waiting.clear()
            size, name = 0, b""
            continue
        field, value = _field(line)
        if field == b"event":
            name = value
        if field == b"id":
            numbers.check(value)
        if field not in (b"data", b"error"):
            continue  # a comment, or a field without a meaning here
        waiting.append(value)
        size += len(value)
        if size > MAX_LINE:
            raise NotEvents("a frame without an end")
        event = _event(waiting) if len(waiting) <= _EAGER_LINES else None
        if event is None:
            continue
        waiting.clear()
        size = 0
        # llama.cpp writes "error: {…}"; other servers name the event error.
        yield _marked(event, name or field)
    if any(part.strip() for part in waiting):
        yield _marked(_whole(waiting), name)


class _Numbers:
    """The numbers of frames that have them: each one more than the last."""

    def __init__(self) -> None:
        self._answer = b""
        self._next = 0

    def check(self, value: bytes) -> None:
        """Take a frame's id; raises NotEvents if one before it is missing."""
        found = _NUMBERED.fullmatch(value)
        if found is None:
            return
        answer, number = found[1], int(found[2])
        if number != self._next or (number and answer != self._answer):
            raise NotEvents("a frame is missing")
        self._answer, self._next = answer, number + 1


def _field(line: bytes) -> tuple[bytes, bytes]:
    """A line's field and value."""
    if line.startswith(b"{"):  # JSON lines, from servers that know no fields
        return b"data", line
    field, _, value = line.partition(b":")
    return field, value.removeprefix(b" ")


def _whole(waiting: list[bytes]) -> dict[str, Any] | str:
    """A frame at its end: it must be JSON."""
    event = _event(waiting)
    if event is None:
        raise NotEvents("a frame that is not JSON")
    return event


def _marked(event: dict[str, Any] | str, name: bytes) -> dict[str, Any] | str:
    if name == b"error" and "error" not in event:
        return {"error": event}
    return event


def _event(waiting: list[bytes]) -> dict[str, Any] | str | None:
    """The value of the lines, or None if more lines are needed."""
    text = b"\n".join(waiting).strip()
    if text == b"[DONE]":
        return DONE
    event = parse(text)
    if not isinstance(event, dict | None):
        raise NotEvents("an event that is not a JSON object")
    return event


def parse(text: bytes) -> Any:
    """The JSON in ``text``, or None if it is not JSON (yet).

    orjson is strict. Text with an invalid byte or half an emoji, which servers that cut
    between tokens write, is read again with U+FFFD instead.
    """
    if not text:
        return None
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    try:
        lenient = json.dumps(json.loads(text.decode("utf-8", "replace")))
    except (ValueError, RecursionError):
        return None
    return _without_surrogates(json.loads(lenient))


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {key: _without_surrogates(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    return value


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    parts: list[bytes] = []  # of a line without its end yet
    size = 0
    first = True
    for chunk in chunks:
        if first:
            chunk, first = chunk.removeprefix(b"\xef\xbb\xbf"), False  # noqa: PLW2901
        parts.append(chunk)
        size += len(chunk)
        if size > MAX_LINE:
            raise NotEvents("a line without an end")
        if b"\n" not in chunk and b"\r" not in chunk:
            continue
        lines = b"".join(parts).splitlines(keepends=True)
        # The last one may be cut, and a CR at the end may belong to a CRLF.
        cut = b"" if lines[-1].endswith(b"\n") else lines.pop()
        parts, size = [cut], len(cut)
        for line in lines:
            yield line.rstrip(b"\r\n")
    yield from b"".join(parts).splitlines()
