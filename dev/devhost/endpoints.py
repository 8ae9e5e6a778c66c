"""The endpoints of installed plugins, over HTTP under ``/e/<hook>/…``.

internal/server/http_server.go:136-145 and internal/service/endpoint.go:37-93.
"""

import secrets
import string
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from devhost.process import PluginDied, PluginError, PluginProcess

MAX_BODY = 10 * 1024 * 1024  # endpoint.go:48: what is longer is cut without a word
DROPPED_HEADERS = {  # endpoint.go:58-63
    "x-forwarded-for",
    "x-real-ip",
    "x-forwarded",
    "x-original-forwarded-for",
    "x-original-url",
    "x-original-host",
    "dify-hook-id",
}


class Endpoints:
    """A server for hooks. ``port`` 0 takes a free one."""

    def __init__(self, port: int = 0) -> None:
        self._hooks: dict[str, tuple[PluginProcess, dict[str, Any]]] = {}
        handler = type("Handler", (_Handler,), {"hooks": self._hooks})
        self._server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        self._server.daemon_threads = True
        threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        ).start()

    def add(self, process: PluginProcess, settings: Mapping[str, Any]) -> str:
        """Register an endpoint group with settings; return its URL."""
        # internal/service/install_service/endpoint.go:23
        hook = "".join(secrets.choice(string.ascii_lowercase) for _ in range(16))
        self._hooks[hook] = (process, dict(settings))
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}/e/{hook}"

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hooks: Mapping[str, tuple[PluginProcess, dict[str, Any]]]
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing: a test's output is its own."""

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        _, root, hook, *rest = [*parts.path.split("/", 3), "", ""][:5]
        if root != "e" or hook not in self.hooks:
            self.send_error(404)
            return
        process, settings = self.hooks[hook]
        raw = self._raw(hook, "/" + rest[0], parts.query)
        chunks = process.invoke(
            "endpoint",
            "invoke_endpoint",
            {"settings": settings, "raw_http_request": raw.hex()},
        )
        self._answer(chunks)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_OPTIONS = _serve

    def _raw(self, hook: str, path: str, query: str) -> bytes:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)[:MAX_BODY]
        host = self.headers.get("Host", "")
        target = path + ("?" + urlencode(sorted(parse_qsl(query))) if query else "")
        lines = [f"{self.command} {target} HTTP/1.1", f"Host: {host}"]
        for name, value in self.headers.items():
            if name.lower() not in DROPPED_HEADERS | {"host", "content-length"}:
                lines.append(f"{name}: {value}")
        lines += [f"Content-Length: {len(body)}", f"Dify-Hook-Id: {hook}"]
        if not self.headers.get("Dify-Hook-Url"):
            lines.append(f"Dify-Hook-Url: http://{host}/e/{hook}{path}")
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body

    def _answer(self, chunks: Any) -> None:
        started = False
        try:
            for chunk in chunks:
                if not started:
                    started = True
                    self.send_response(int(chunk.get("status") or 100))
                    for name, value in (chunk.get("headers") or {}).items():
                        if name.lower() not in ("content-length", "transfer-encoding"):
                            self.send_header(name, value)
                    self.send_header("Transfer-Encoding", "chunked")
                    self.end_headers()
                self._write(bytes.fromhex(chunk.get("result") or ""))
        except (PluginError, PluginDied) as error:
            if not started:
                self.send_error(500, explain=str(error))
            return
        self.wfile.write(b"0\r\n\r\n")

    def _write(self, data: bytes) -> None:
        if data:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()
