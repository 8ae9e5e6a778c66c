"""A fake of Elasticsearch, where no real one is available: its bulk API, read strictly.

It refuses the same protocol errors as the real one: another content type, a body that
does not end in a line break, an unknown action. It stores documents by id.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_TYPES = ("application/x-ndjson", "application/vnd.elasticsearch+x-ndjson")


class _Handler(BaseHTTPRequestHandler):
    documents: dict[str, dict[str, Any]]

    def do_GET(self) -> None:
        self._say(
            200,
            {
                "hits": {
                    "hits": [
                        {"_id": name, "_source": found}
                        for name, found in self.documents.items()
                    ]
                }
            },
        )

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        kind = self.headers["Content-Type"].partition(";")[0]
        if self.path.endswith("_bulk"):
            if kind not in _TYPES or not body.endswith(b"\n"):
                self._say(400, {"error": "not a bulk request"})
                return
            lines = body.rstrip(b"\n").split(b"\n")
            pairs = zip(lines[::2], lines[1::2], strict=True)
            self._say(
                200, {"errors": False, "items": [self._put(*pair) for pair in pairs]}
            )
            return
        self.do_GET()

    do_PUT = do_POST  # noqa: N815 - as the base class has it

    def _put(self, action: bytes, source: bytes) -> Any:
        ((verb, about),) = json.loads(action).items()
        if verb != "index" or set(about) != {"_index", "_id"}:
            return {
                verb: {"_id": about.get("_id"), "status": 400, "error": {"type": "bad"}}
            }
        self.documents[about["_id"]] = json.loads(source)
        return {verb: {"_id": about["_id"], "status": 201}}

    def _say(self, status: int, data: Any) -> None:
        body = json.dumps(data).encode()
        self.send_response(status)
        self.send_header(
            "Content-Type", "application/vnd.elasticsearch+json;compatible-with=8"
        )
        self.send_header("X-Elastic-Product", "Elasticsearch")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def fake_elasticsearch(port: int) -> Iterator[str]:
    handler = type("Handler", (_Handler,), {"documents": {}})
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{port}"
    server.shutdown()
    server.server_close()
