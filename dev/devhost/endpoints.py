"""The endpoints of installed plugins, over HTTP under ``/e/<hook>/…``.

How a request reaches a plugin, and which parts of its reply are lost:
internal/server/http_server.go:136-145, internal/service/endpoint.go:37-216 and
internal/core/io_tunnel/endpoint_service.go.
"""

import json
import queue
import secrets
import string
import threading
import uuid
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote, quote_plus, unquote_plus, unquote_to_bytes, urlsplit

from devhost.failures import PluginDied, PluginError
from devhost.process import PluginProcess

MAX_BODY = 10 * 1024 * 1024  # endpoint.go:48: cuts a longer body and reports no error
QUEUE_SIZE = 128  # endpoint_service.go:33
# Seconds. If the plugin has ended when the first piece of its reply is handled,
# endpoint_service.go:88-90 closes the reply, and the other pieces are lost.
FIRST_PIECE_HANDLED = 0.002
DROPPED_HEADERS = {  # endpoint.go:58-63
    *("x-forwarded-for", "x-real-ip", "x-forwarded", "x-original-forwarded-for"),
    *("x-original-url", "x-original-host", "dify-hook-id"),
    *("host", "content-length", "transfer-encoding", "trailer", "connection"),
}
WITHOUT_BODY = {101, 204, 304}


class Endpoints:
    """A server for hooks. ``port`` 0 takes a free one.

    ``handled``: the seconds until the first piece of a reply is handled. A plugin that
    ends within this time loses the other pieces.
    """

    def __init__(self, port: int = 0, handled: float = FIRST_PIECE_HANDLED) -> None:
        self._hooks: dict[str, tuple[PluginProcess, dict[str, Any], str]] = {}
        known = {"hooks": self._hooks, "handled": handled}
        handler = type("Handler", (_Handler,), known)
        self._server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        self._server.daemon_threads = True
        threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        ).start()

    def add(self, process: PluginProcess, settings: Mapping[str, Any]) -> str:
        """Register an endpoint group with settings; return its URL."""
        letters = string.ascii_lowercase + string.digits
        hook = "".join(secrets.choice(letters) for _ in range(16))
        self._hooks[hook] = (process, dict(settings), str(uuid.uuid4()))
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}/e/{hook}"

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


class _Failed(Exception):
    """The plugin failed before the first piece of its reply's body."""


class _Reply:
    """A plugin's reply, as endpoint_service.go passes it on.

    Its pieces are put into a second queue without waiting. A piece that does not fit is
    lost.
    """

    def __init__(self, chunks: Iterator[Any], handled: float) -> None:
        self._chunks = chunks
        self._ended = threading.Event()
        self._pieces: queue.Queue[bytes | None] = queue.Queue()
        self._room = threading.Semaphore(QUEUE_SIZE)
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.first = self._head()
        if self.first is None:
            return
        threading.Thread(target=self._drain, daemon=True).start()
        self.cut = self._ended.wait(handled)

    def _head(self) -> bytes | None:
        """Read up to the first piece of the body; None if there is no body."""
        try:
            for chunk in self._chunks:
                if chunk["status"] is not None:
                    self.status = chunk["status"]
                self.headers |= chunk["headers"] or {}
                if chunk["result"] is not None:
                    return bytes.fromhex(chunk["result"])
        except (PluginError, PluginDied, ValueError) as error:
            raise _Failed(str(error)) from error
        return None

    def _drain(self) -> None:
        try:
            for chunk in self._chunks:
                if chunk["result"] is None:
                    break  # :77 dereferences nil; all later pieces are lost
                self._offer(bytes.fromhex(chunk["result"]))
        except PluginError as error:
            # endpoint.go:208-216: appended to the body
            report = {"args": None, "error_type": error.error_type}
            self._offer(json.dumps({**report, "message": error.message}).encode())
        except (PluginDied, ValueError):
            pass
        self._ended.set()
        self._pieces.put(None)

    def _offer(self, piece: bytes) -> None:
        if self._room.acquire(blocking=False):
            self._pieces.put(piece)

    def pieces(self) -> Iterator[bytes]:
        """The body's pieces that arrive."""
        if self.first is None:
            return
        yield self.first
        if self.cut:
            return
        while (piece := self._pieces.get()) is not None:
            self._room.release()
            yield piece


class _Handler(BaseHTTPRequestHandler):
    hooks: Mapping[str, tuple[PluginProcess, dict[str, Any], str]]
    handled: float
    disable_nagle_algorithm = True  # as Go has it on each connection
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Log nothing: a test's output must not contain the server's lines."""

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        _, root, hook, *rest = [*parts.path.split("/", 3), "", ""][:5]
        if root != "e" or hook not in self.hooks:
            self._json(404, {"code": "not_found", "message": "route not found"})
            return
        process, settings, endpoint_id = self.hooks[hook]
        body = self._body()
        if body is None:
            self._json(400, {"code": "bad_request", "message": "bad body"})
            return
        raw = self._raw(hook, "/" + rest[0], parts.query, body)
        chunks = process.invoke(
            "endpoint",
            "invoke_endpoint",
            {"settings": settings, "raw_http_request": raw.hex()},
            endpoint_id=endpoint_id,
        )
        try:
            self._answer(_Reply(chunks, self.handled))
        except _Failed as error:  # endpoint.go:181-185
            report = {"message": str(error), "args": None}
            report["error_type"] = "PluginDaemonInternalServerError"
            self._json(500, {"code": -500, "message": json.dumps(report), "data": None})

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_OPTIONS = _serve

    def _json(self, status: int, body: Mapping[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _body(self) -> bytes | None:
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            return b"".join(self._chunked())[:MAX_BODY]
        length = self.headers.get("Content-Length") or "0"
        if not length.isdigit():
            return None
        return self.rfile.read(int(length))[:MAX_BODY]

    def _chunked(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline().split(b";")[0] or b"0", 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _raw(self, hook: str, path: str, query: str, body: bytes) -> bytes:
        """The request as Go's Request.Write writes it (endpoint.go:37-93)."""
        host = self.headers.get("X-Original-Host") or self.headers.get("Host", "")
        decoded = unquote_to_bytes(path)
        target = quote(decoded, safe="/$&+,:;=@")
        if query:
            target += "?" + _query(query)
        lines = [f"{self.command} {target} HTTP/1.1", f"Host: {host}"]
        agent = self.headers.get("User-Agent") or "Go-http-client/1.1"
        lines.append(f"User-Agent: {agent}")
        if body:
            lines.append(f"Content-Length: {len(body)}")
        elif self.command in ("POST", "PUT"):
            # A body that is present and empty: Go does not know its length and writes
            # it chunked. The SDK reads the line that ends the chunks as the body.
            lines.append("Transfer-Encoding: chunked")
            body = b"0\r\n\r\n"
        headers = {
            "-".join(part.capitalize() for part in name.split("-")): value.strip()
            for name, value in self.headers.items()
            if name.lower() not in DROPPED_HEADERS | {"user-agent"}
        }
        headers["Dify-Hook-Id"] = hook
        scheme = "https" if headers.get("X-Forwarded-Proto") == "https" else "http"
        shown = decoded.decode("utf-8", "replace")
        headers.setdefault("Dify-Hook-Url", f"{scheme}://{host}/e/{hook}{shown}")
        lines += [f"{name}: {headers[name]}" for name in sorted(headers)]
        return "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + body

    def _answer(self, reply: _Reply) -> None:
        self.send_response(200 if reply.status in (None, 0) else reply.status)
        own_length = False
        for name, value in reply.headers.items():
            own_length |= name.lower() == "content-length"
            self.send_header(name, " ".join(value.splitlines()))
        bodiless = self.command == "HEAD" or reply.status in WITHOUT_BODY
        chunked = not own_length and not bodiless
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in reply.pieces():
            if bodiless or not piece:
                continue
            data = b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece
            self.wfile.write(data)
            self.wfile.flush()
        if chunked:
            self.wfile.write(b"0\r\n\r\n")


def _query(query: str) -> str:
    """As url.Values.Encode: sorted by name, empty values kept, wrong pairs dropped."""
    pairs = []
    for pair in query.split("&"):
        if not pair or ";" in pair:
            continue
        name, _, value = pair.partition("=")
        pairs.append((unquote_plus(name), unquote_plus(value)))
    pairs.sort(key=lambda item: item[0])
    return "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in pairs)
