"""A fake of Dify's service API for one app: its kind, annotations, logs, and how it answers.

Shapes: Dify 1.13.2, api/controllers/service_api/app.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

KEY = "app-key"
PAGE = 2  # entries per page: few, so that there are several pages


@dataclass
class FakeDifyApp:
    mode: str = "chat"
    annotations: list[dict[str, Any]] = field(default_factory=list)
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    conversations: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    posts: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    fails: dict[str, str] = field(default_factory=dict)  # the kind, by question
    breaks: set[str] = field(default_factory=set)  # questions without an answer
    key: str = KEY
    busy: int = 0  # the number of requests that are answered with 429
    url: str = ""


class _Handler(BaseHTTPRequestHandler):
    app: FakeDifyApp
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query))
        path = parts.path.removeprefix("/v1")
        if self.headers.get("Authorization") != f"Bearer {self.app.key}":
            self._json({"message": "Access token is invalid"}, 401)
        elif path == "/info":
            self._json({"name": "Shop", "mode": self.app.mode})
        elif path == "/apps/annotations":
            self._page(self.app.annotations, query)
        elif path == "/workflows/logs":
            assert query["status"] == "succeeded"
            logs = [{"workflow_run": {"id": run}} for run in self.app.runs]
            self._page(logs, query)
        elif path.startswith("/workflows/run/"):
            self._json(self.app.runs[path.rpartition("/")[2]])
        elif path == "/conversations":
            found = [{"id": one} for one in self.app.conversations]
            self._after(found, query.get("last_id"))
        elif path == "/messages":
            self._before(
                self.app.conversations[query["conversation_id"]], query.get("first_id")
            )
        else:
            self._json({"message": "not found"}, 404)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        app = self.app
        if app.busy:
            app.busy -= 1
            self._json({"message": "Too many"}, 429, {"Retry-After": "0"})
            return
        app.posts.append((self.path.removeprefix("/v1"), body))
        question = body.get("query") or next(iter(body["inputs"].values()))
        if question in app.breaks:
            self.close_connection = True
            self.connection.shutdown(2)
            return
        how = app.fails.get(question, "")
        workflow = app.mode == "workflow"
        events = [{"event": "message", "answer": "Yes."}]
        if workflow:
            result = {"status": "failed" if how else "succeeded", "error": how or None}
            events.append({"event": "workflow_finished", "data": result})
        elif how == "cut":
            pass
        elif how:
            events.append({"event": "error", "message": how})
        else:
            events.append({"event": "message_end"})
        data = "".join(f"data: {json.dumps(one)}\n\n" for one in events).encode()
        self._send(data, 200, {"Content-Type": "text/event-stream"})

    def _page(self, rows: list[Any], query: dict[str, str]) -> None:
        first = (int(query["page"]) - 1) * PAGE
        found = rows[first : first + PAGE]
        self._json({"data": found, "has_more": first + PAGE < len(rows)})

    def _after(self, rows: list[Any], last: str | None) -> None:
        ids = [row["id"] for row in rows]
        first = ids.index(last) + 1 if last else 0
        found = rows[first : first + PAGE]
        self._json({"data": found, "has_more": first + PAGE < len(rows)})

    def _before(self, rows: list[Any], first: str | None) -> None:
        ids = [row["id"] for row in rows]
        end = ids.index(first) if first else len(rows)
        begin = max(0, end - PAGE)
        self._json({"data": rows[begin:end], "has_more": begin > 0})

    def _json(
        self, body: Any, status: int = 200, headers: dict[str, str] | None = None
    ) -> None:
        kind = {"Content-Type": "application/json"}
        self._send(json.dumps(body).encode(), status, kind | (headers or {}))

    def _send(self, data: bytes, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def fake_dify_app() -> Iterator[FakeDifyApp]:
    app = FakeDifyApp()
    handler = type("Handler", (_Handler,), {"app": app})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    app.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield app
    finally:
        server.shutdown()
        server.server_close()
