"""A fake of Dify's service API, as far as a chat page needs it.

A test sets the stream, when the stream breaks, and the data that Dify still has then.
The formats are those of Dify 1.13 and later.
"""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

RUN, MESSAGE, CONVERSATION, TASK = ("1111-a", "2222-b", "3333-c", "4444-d")


@dataclass
class FakeDify:
    words: list[str] = field(default_factory=lambda: ["Parcels ", "take ", "two days."])
    pause: float = 0.05  # seconds before each word
    breaks_after: int | None = None  # words
    silent: float = 0.0  # seconds of silence before the first word
    workflow: bool = True
    running: int = 0  # requests to /messages before the answer is there
    posts: list[Any] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    url: str = ""

    @property
    def answer(self) -> str:
        return "".join(self.words)


class _Handler(BaseHTTPRequestHandler):
    dify: FakeDify
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
        self._note()
        if self.path.endswith("/stop"):
            self._json({"result": "success"})
            return
        self.dify.posts.append(body)
        self._begin()
        dify = self.dify
        if dify.workflow:
            self._event("workflow_started", workflow_run_id=RUN, data={"id": RUN})
        time.sleep(dify.silent)
        for number, word in enumerate(dify.words):
            if number == dify.breaks_after:
                time.sleep(0.3)  # The client has received the words so far.
                self.connection.shutdown(2)
                return
            time.sleep(dify.pause)
            self._event("message", answer=word, id=MESSAGE)
            self._raw(b"event: ping\n\n")
        self._event("message_end", id=MESSAGE, metadata={})
        if dify.workflow:
            self._event("workflow_finished", data=self._finish())
        self._raw(b"")

    def _finish(self) -> Any:
        return {"status": "succeeded", "outputs": {"answer": self.dify.answer}}

    def do_GET(self) -> None:
        self._note()
        parts = urlsplit(self.path)
        if parts.path.endswith("/events"):
            if not self.dify.workflow:
                self._json({"code": "not_workflow_app"}, 400)
                return
            self._begin()
            time.sleep(1)  # The run goes on without its reader for a while.
            self._event("workflow_finished", data=self._finish())
            self._raw(b"")
            return
        asked = parse_qs(parts.query)
        if asked.get("conversation_id") != [CONVERSATION] or "user" not in asked:
            self._json({"code": "not_found"}, 404)
            return
        self.dify.running -= 1
        answer = "" if self.dify.running >= 0 else self.dify.answer
        self._json({"data": [{"id": MESSAGE, "answer": answer, "status": "normal"}]})

    def _note(self) -> None:
        self.dify.paths.append(self.path)
        self.dify.headers.append(dict(self.headers))

    def _begin(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _event(self, name: str, **fields: Any) -> None:
        known = {
            "task_id": TASK,
            "message_id": MESSAGE,
            "conversation_id": CONVERSATION,
        }
        data = {"event": name, **known, **fields}
        self._raw(f"data: {json.dumps(data)}\n\n".encode())

    def _raw(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def _json(self, data: Any, status: int = 200) -> None:
        body = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def fake_dify() -> Iterator[FakeDify]:
    dify = FakeDify()
    handler = type("Handler", (_Handler,), {"dify": dify})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    dify.url = f"127.0.0.1:{server.server_port}"
    yield dify
    server.shutdown()
    server.server_close()
