"""A model server that answers at once, or after a set time, in a separate process.

It is not a model, because a real one's noise would hide the time that a cache adds.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from servers.redis import free_port, wait_for_port

from bench.texts import prose

_SHORT = "The answer."


def answer(size: int) -> str:
    """Its answer: a short one, or prose of ``size`` characters."""
    if not size:
        return _SHORT
    return prose(size)


def events(size: int = 0) -> list[Any]:
    """The same as a stream: a chunk for each word, as models send them."""
    words = answer(size).replace(" ", "\0 ").split("\0")
    return [
        *({"choices": [{"delta": {"content": word}}]} for word in words),
        {"choices": [{"delta": {}, "finish_reason": "stop"}]},
        {"choices": [], "usage": _USAGE},
    ]


def frame(event: Any) -> bytes:
    """One server-sent event."""
    text = event if isinstance(event, str) else json.dumps(event)
    return b"data: " + text.encode() + b"\n\n"


_USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}


class _Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    delay = 0.0  # seconds before the first token
    streamed = whole = b""
    calls = 0
    wbufsize = -1  # headers and body in one packet, else Nagle's delay is measured

    def log_message(self, *_: Any) -> None: ...

    def do_GET(self) -> None:
        self._send(str(_Handler.calls).encode(), "text/plain")

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        # exact enough: a caller that counts sends one request at a time
        _Handler.calls += 1
        time.sleep(self.delay)
        if asked.get("stream"):
            self._send(self.streamed, "text/event-stream")
        else:
            self._send(self.whole, "application/json")

    def _send(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def upstream(delay: float = 0.0, size: int = 0) -> Iterator[str]:
    """Its base URL. ``delay`` is in seconds, ``size`` in characters of the answer."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.upstream", str(port), str(delay), str(size)]
    )
    try:
        wait_for_port(port)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.wait()


def _serve(port: int, delay: float, size: int) -> None:
    message = {"role": "assistant", "content": answer(size)}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    named = {"id": "chatcmpl-1", "created": 1, "model": "m"}
    whole = {**named, "object": "chat.completion", "choices": [choice], "usage": _USAGE}
    _Handler.whole = json.dumps(whole).encode()
    chunk = {**named, "object": "chat.completion.chunk"}
    streamed = [{**chunk, **event} for event in events(size)]
    for event in streamed:
        for part in event["choices"]:
            part["index"] = 0
    _Handler.streamed = b"".join(map(frame, [*streamed, "[DONE]"]))
    _Handler.delay = delay
    _Server(("127.0.0.1", port), _Handler).serve_forever()


if __name__ == "__main__":
    _serve(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
