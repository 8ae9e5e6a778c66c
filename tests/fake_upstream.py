"""A fake model server: it answers as a test scripts, and counts the requests.

The demo has a real server. This fake also does what a real server can't be made to do:
cut a stream, send an error in the middle, answer 429.
"""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

type Json = dict[str, Any]


@dataclass
class Script:
    """The answer to send: by default an echo of the last message, in pieces."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None  # in place of an answer
    events: list[Json | str | bytes] | None = None  # in place of the echo
    delay: float = 0.0  # seconds before each event
    cut: bool = False  # close without the last chunk
    framing: str = "chunked"  # or "close": no length, the body ends with the connection
    usage: bool = True


class _Server(ThreadingHTTPServer):
    request_queue_size = 512

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignored: in some tests callers leave in the middle of an answer."""


class FakeUpstream:
    """Its ``url``, the received ``requests``, and the ``script`` for new ones."""

    def __init__(self) -> None:
        self.connections = 0
        self.gets = 0
        self.requests: list[Json] = []
        self.headers: list[dict[str, str]] = []
        self.script: Script | Callable[[Json], Script] = Script()
        handler = type("Handler", (_Handler,), {"upstream": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        ).start()

    @property
    def calls(self) -> int:
        return len(self.requests)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def fake_upstream() -> Iterator[FakeUpstream]:
    upstream = FakeUpstream()
    try:
        yield upstream
    finally:
        upstream.close()


def delta(**fields: Any) -> Json:
    return {"choices": [{"index": 0, "delta": fields}]}


def finish(reason: str = "stop") -> Json:
    return {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}


def usage(prompt: int = 7, completion: int = 5) -> Json:
    return {
        "choices": [],
        "usage": {"prompt_tokens": prompt, "completion_tokens": completion},
    }


def echo(request: Json) -> list[Json | str | bytes]:
    if "prompt" in request:
        said = request["prompt"]
        return [
            {"choices": [{"text": f"echo: {said}", "finish_reason": "stop"}]},
            "[DONE]",
        ]
    said = request["messages"][-1]["content"]
    words = f"echo: {said}".split(" ")
    pieces = [delta(role="assistant", content="")]
    pieces += [
        delta(content=word if not n else " " + word) for n, word in enumerate(words)
    ]
    return [*pieces, finish()]


def vector(text: str, dimensions: int = 3) -> list[float]:
    """The vector of a text on this server."""
    seed = hashlib.sha256(text.encode()).digest()
    return [seed[place % 32] / 255 + place / 1000 for place in range(dimensions)]


def _embeddings(request: Json) -> Json:
    texts = request.get("input") or [json.dumps(request["messages"])]
    data = [{"index": n, "embedding": vector(text)} for n, text in enumerate(texts)]
    tokens = sum(map(len, texts))
    return {"data": data, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}


def score(query: str, document: Any) -> float:
    """The score of a document: from the letters that it shares, and its length."""
    text = document if isinstance(document, str) else json.dumps(document)
    return round(len(set(query) & set(text)) - len(text) / 1000, 4)


def _rerank(request: Json) -> Json:
    scores = [
        {"index": n, "relevance_score": score(request["query"], document)}
        for n, document in enumerate(request["documents"])
    ]
    scores.sort(key=lambda one: one["relevance_score"], reverse=True)
    return {"results": scores[: request.get("top_n")], "usage": {"total_tokens": 9}}


_ANSWERS: dict[str, Callable[[Json], Json]] = {
    "embeddings": _embeddings,
    "rerank": _rerank,
}


class _Handler(BaseHTTPRequestHandler):
    upstream: FakeUpstream
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None: ...

    def setup(self) -> None:
        super().setup()
        self.upstream.connections += 1

    def do_GET(self) -> None:
        self.upstream.gets += 1
        self.send_error(404)

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        request = json.loads(self.rfile.read(length))
        self.upstream.requests.append({**request, "path": self.path})
        self.upstream.headers.append(dict(self.headers))
        script = self.upstream.script
        script = script if isinstance(script, Script) else script(request)
        answer = _ANSWERS.get(self.path.rpartition("/")[2])
        if script.body is not None or script.status != 200:
            self._whole(script, script.body or b"{}", "application/json")
        elif answer is not None:
            time.sleep(script.delay)
            self._whole(
                script, json.dumps(answer(request)).encode(), "application/json"
            )
        elif request.get("stream"):
            self._stream(script, request)
        else:
            events = script.events if script.events is not None else echo(request)
            self._whole(
                script, json.dumps(_joined(events, script)).encode(), "application/json"
            )

    def _whole(self, script: Script, body: bytes, kind: str) -> None:
        self.send_response(script.status)
        for name, value in {"Content-Type": kind, **script.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, script: Script, request: Json) -> None:
        self.send_response(script.status)
        self.send_header("Content-Type", "text/event-stream")
        chunked = script.framing == "chunked"
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        for frame in self._frames(script, request):
            if script.delay:
                time.sleep(script.delay)
            self.wfile.write(
                b"%x\r\n%s\r\n" % (len(frame), frame) if chunked else frame
            )
            self.wfile.flush()
        if chunked and not script.cut:
            self.wfile.write(b"0\r\n\r\n")
        self.close_connection = self.close_connection or script.cut

    def _frames(self, script: Script, request: Json) -> Iterable[bytes]:
        events = script.events
        if events is None:
            events = echo(request)
            if script.usage and (request.get("stream_options") or {}).get(
                "include_usage"
            ):
                events = [*events, usage()]
            if "[DONE]" not in events:
                events = [*events, "[DONE]"]
        for event in events:
            if isinstance(event, bytes):
                yield event
            elif isinstance(event, str):
                yield f"data: {event}\n\n".encode()
            else:
                yield f"data: {json.dumps(event, ensure_ascii=False)}\n\n".encode()


def _joined(events: Iterable[Any], script: Script) -> Json:
    """The same answer as one JSON object."""
    message: Json = {"role": "assistant", "content": ""}
    choice: Json = {"index": 0, "finish_reason": None}
    for event in events:
        if not isinstance(event, dict):
            continue
        for part in event.get("choices", []):
            choice["finish_reason"] = (
                part.get("finish_reason") or choice["finish_reason"]
            )
            if "text" in part:
                choice["text"] = choice.get("text", "") + part["text"]
            piece = part.get("delta", {})
            message["content"] += piece.get("content") or ""
            for name in ("tool_calls", "reasoning_content"):
                if piece.get(name):
                    message[name] = piece[name]
    whole: Json = {
        "object": "chat.completion",
        "choices": [{**choice, "message": message}],
    }
    if script.usage:
        whole["usage"] = {"prompt_tokens": 7, "completion_tokens": 5}
    return whole
