"""A model server that answers at once, or after a set time, in a process of its own.

Not a model: for what a cache adds to a miss, a real one's own noise is in the way.
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

ANSWER: list[Any] = [
    {"choices": [{"delta": {"content": word}}]} for word in ("The", " answer", ".")
] + [
    {"choices": [{"delta": {}, "finish_reason": "stop"}]},
    {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 3}},
]


def frame(event: Any) -> bytes:
    """One server-sent event."""
    text = event if isinstance(event, str) else json.dumps(event)
    return b"data: " + text.encode() + b"\n\n"


_FRAMES = b"".join(map(frame, [*ANSWER, "[DONE]"]))


class _Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    delay = 0.0  # seconds before the first token
    wbufsize = -1  # headers and body in one packet, or Nagle's delay is measured

    def log_message(self, *_: Any) -> None: ...

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = _FRAMES
        time.sleep(self.delay)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def upstream(delay: float = 0.0) -> Iterator[str]:
    """Its base URL. ``delay`` is in seconds."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.upstream", str(port), str(delay)]
    )
    try:
        wait_for_port(port)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    _Handler.delay = float(sys.argv[2])
    _Server(("127.0.0.1", int(sys.argv[1])), _Handler).serve_forever()
