"""Server-sent events, as OpenAI-compatible servers write them.

Bytes in whatever pieces the network gives, JSON objects out, each as soon as
its last byte is there. Servers differ: CRLF, comments, several ``data`` lines a
frame, no blank line between frames, no ``[DONE]``, no line end at the end.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import orjson

# A line longer than this is not an answer; it would fill the process.
MAX_LINE: Final = 32 * 1024 * 1024

DONE: Final = "[DONE]"


class NotEvents(ValueError):
    """The bytes are not a stream of JSON events."""


def events(chunks: Iterable[bytes]) -> Iterator[dict[str, Any] | str]:
    """Each event's JSON object, and DONE for ``[DONE]``.

    Raises NotEvents for a data line that never becomes JSON, also at the end.
    """
    waiting: list[bytes] = []  # data lines of a frame that is not yet JSON
    for line in _lines(chunks):
        if not line:
            if waiting:
                raise NotEvents("a frame that is not JSON")
            continue
        field, _, value = line.partition(b":")
        if field != b"data":
            continue  # a comment, or a field that means nothing here
        waiting.append(value.removeprefix(b" "))
        text = b"\n".join(waiting).strip()
        if text == b"[DONE]":
            waiting.clear()
            yield DONE
        elif text:
            try:
                event = orjson.loads(text)
            except orjson.JSONDecodeError:
                continue
            waiting.clear()
            if not isinstance(event, dict):
                raise NotEvents("an event that is not a JSON object")
            yield event
    if any(part.strip() for part in waiting):
        raise NotEvents("a last frame that is not JSON")


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    buffer = bytearray()
    for chunk in chunks:
        buffer += chunk
        if len(buffer) > MAX_LINE:
            raise NotEvents("a line without an end")
        lines = bytes(buffer).splitlines(keepends=True)
        # The last one may be cut, and a CR at the end may belong to a CRLF.
        cut = lines.pop() if lines and not lines[-1].endswith(b"\n") else b""
        buffer[:] = cut
        for line in lines:
            yield line.rstrip(b"\r\n")
    if buffer:
        yield from bytes(buffer).splitlines()
