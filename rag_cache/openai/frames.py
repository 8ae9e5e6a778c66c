"""Answers as OpenAI's clients read them: one JSON object, or server-sent events.

Between an endpoint and its caller is a queue of the host. If the queue is full, it
drops pieces without an error (D/internal/core/io_tunnel/endpoint_service.go). So a
stream has few pieces, its end is held back until the host has handled the first piece,
and every frame has a number, by which a reader notices a gap.
"""

import json
import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

# The host's second queue holds this many pieces, so this many always fit.
MAX_PIECES: Final = 128
# At first, pieces are sent as they are made, then at longer and longer intervals, so
# that there is room for a whole answer of 240 s. In seconds.
_FIRST_INTERVAL: Final = 0.04
_GROWTH: Final = 1.054
# Seconds without a piece before a comment is sent, for clients that take silence for an
# end.
_SILENCE: Final = 15.0
# If a reply ends before the host has handled its first piece, the host cuts the reply
# to this piece. Handling took up to 20 ms in measurements; a throttled container may
# sleep three times 100 ms.
_HELD: Final = 0.3
# Bytes in a piece, which goes to the host as a line in hexadecimal, of at most 5 MiB.
_LONGEST: Final = 1024 * 1024
_RESERVED: Final = 16
# Only one line end: a reader that remembers the last id, such as OpenAI's client, would
# take a blank line after the comment for an event without data.
_KEEPALIVE: Final = b": waiting\n"


@dataclass(slots=True)
class Frames:
    """The frames of one answer, numbered; ``model`` is the id that was asked for."""

    model: str
    made: int = field(default_factory=lambda: int(time.time()))
    _name: str = field(default_factory=lambda: secrets.token_hex(4))
    _count: int = 0

    def _object(self, kind: str, **more: Any) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{self._name}",
            "object": kind,
            "created": self.made,
            "model": self.model,
            **more,
        }

    def whole(self, message: Mapping[str, Any], end: str | None, usage: Any) -> Any:
        """An answer in one object."""
        choice = {"index": 0, "message": message, "logprobs": None}
        return self._object(
            "chat.completion", choices=[{**choice, "finish_reason": end}], usage=usage
        )

    def delta(self, delta: Mapping[str, Any], end: str | None = None) -> bytes:
        """A step of an answer."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": end}
        return self._frame(self._object("chat.completion.chunk", choices=[choice]))

    def usage(self, usage: Mapping[str, Any]) -> bytes:
        """The tokens of an answer, after its end."""
        return self._frame(
            self._object("chat.completion.chunk", choices=[], usage=usage)
        )

    def error(self, error: Mapping[str, Any]) -> bytes:
        """An error in the middle of an answer, which ends it."""
        return self._frame({"error": error})

    def done(self) -> bytes:
        """The end of the stream."""
        return self._numbered("[DONE]")

    def _frame(self, data: Any) -> bytes:
        return self._numbered(json.dumps(data, ensure_ascii=False))

    def _numbered(self, text: str) -> bytes:
        # SSE's own field for the number; clients that do not know the field ignore it.
        number, self._count = self._count, self._count + 1
        frame = f"id: {self._name}/{number}\ndata: {text}\n\n"
        return frame.encode("utf-8", "replace")


def paced(
    frames: Iterable[bytes],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[bytes]:
    """The frames in few enough pieces, with a late enough end, so that none is lost.

    ``frames`` must not raise; a separate thread reads them.
    """
    waiting: queue.Queue[bytes | None] = queue.Queue()

    def take() -> None:
        try:
            for frame in frames:
                waiting.put(frame)
        finally:
            waiting.put(None)

    threading.Thread(target=take, name="gateway", daemon=True).start()
    pieces = _Pieces(clock)
    while True:
        try:
            frame = waiting.get(timeout=pieces.patience())
            if frame is None:
                break
            pieces.add(frame)
        except queue.Empty:
            pieces.add_keepalive()
        yield from pieces.due()
    yield from pieces.rest()
    sleep(pieces.hold())


class _Pieces:
    """Frames that wait to be sent together."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._held: list[bytes] = []
        self._count = 0
        self._began: float | None = None
        self._next = 0.0

    def patience(self) -> float:
        """How long to wait for more."""
        if not self._held or self._full:
            return _SILENCE
        return max(0.0, self._next - self._clock())

    @property
    def _full(self) -> bool:
        """Whether the room that is left is reserved for the end."""
        return self._count >= MAX_PIECES - _RESERVED

    def add(self, frame: bytes) -> None:
        """Take a frame."""
        self._held.append(frame)

    def add_keepalive(self) -> None:
        """Add a comment after a silence, unless frames are waiting."""
        self._held = self._held or [_KEEPALIVE]

    def due(self) -> Iterator[bytes]:
        """The pieces to send now."""
        if self._clock() >= self._next and not self._full:
            yield from self.rest()
            self._next = self._clock() + _FIRST_INTERVAL * _GROWTH**self._count

    def rest(self) -> Iterator[bytes]:
        """All waiting frames, in pieces that the host accepts."""
        held, self._held = b"".join(self._held), []
        for start in range(0, len(held), _LONGEST):
            if self._began is None:
                self._began = self._clock()
            self._count += 1
            yield held[start : start + _LONGEST]

    def hold(self) -> float:
        """How many seconds the end must still be held back."""
        if self._began is None:
            return 0.0
        return max(0.0, self._began + _HELD - self._clock())
