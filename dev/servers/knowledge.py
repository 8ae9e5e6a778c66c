"""A fake of Dify's knowledge API: Dify can't run in this checkout.

Rules cite langgenius/dify, under api/. Documents are found by the words that they share
with the query; no rule of Dify says this.
"""

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from servers.documents import Dataset, Document, Json, listed, passes, record

KEY = "dataset-the-key"
MAX_QUERY = 250  # services/hit_testing_service.py: hit_testing_args_check
MAX_PAGE = 100  # controllers/service_api/dataset/document.py
_PATH = re.compile(r"/v1/datasets/([0-9a-f-]{36})(/documents|/retrieve|/hit-testing)?")
_WORD = re.compile(r"\w+")
_NEEDED = ("search_method", "reranking_enable", "top_k", "score_threshold_enabled")
_METHODS = (
    *("semantic_search", "full_text_search", "hybrid_search"),
    *("keyword_search", "sparse_search"),
)


class FakeKnowledgeApi:
    """``url`` ends in /v1. ``asked`` has the path of each request."""

    def __init__(self) -> None:
        self.datasets: dict[str, Dataset] = {}
        self.asked: list[str] = []
        self.bodies: list[Json] = []
        self.failing: dict[str, int] = {}  # datasets whose retrievals get this status
        self.hidden: set[str] = set()  # datasets that Dify does not describe
        self.redirect = ""  # the address to which every request is redirected
        self.down: int = 0  # the status of every request
        self.delay = 0.0  # seconds for each retrieval
        handler = type("Handler", (_Handler,), {"api": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        ).start()

    def add(self, name: str, *documents: Document) -> Dataset:
        """Add a dataset and return it."""
        dataset = Dataset(name, list(documents))
        self.datasets[dataset.id] = dataset
        return dataset

    @property
    def retrievals(self) -> int:
        """The number of retrievals."""
        return sum(path.endswith("/retrieve") for path in self.asked)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def fake_knowledge_api() -> Iterator[FakeKnowledgeApi]:
    api = FakeKnowledgeApi()
    try:
        yield api
    finally:
        api.close()


class _Handler(BaseHTTPRequestHandler):
    api: FakeKnowledgeApi
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None: ...

    def do_GET(self) -> None:
        self._serve(b"")

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self._serve(self.rfile.read(length))

    def _serve(self, body: bytes) -> None:
        parts = urlsplit(self.path)
        self.api.asked.append(f"{self.command} {parts.path}")
        if self.api.redirect:
            self.send_response(302)
            self.send_header("Location", self.api.redirect)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        status, data = self._answer(parts.path, parse_qs(parts.query), body)
        text = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _answer(self, path: str, query: Json, body: bytes) -> tuple[int, Json]:
        if self.api.down:
            return _error(self.api.down, "internal_server_error")
        if self.headers.get("Authorization") != f"Bearer {KEY}":
            # controllers/service_api/wraps.py: validate_and_get_api_token
            return _error(401, "unauthorized")
        if not path.startswith("/v1/"):
            return 404, {}  # nginx and Dify's web return a page with this status
        if path == "/v1/datasets":
            return 200, _page([d.detail() for d in self.api.datasets.values()], query)
        found = _PATH.fullmatch(path)
        dataset = self.api.datasets.get(found[1]) if found else None
        if found is None or dataset is None:
            return _error(404, "not_found")
        if not dataset.enable_api:
            # controllers/service_api/wraps.py: validate_dataset_token
            return _error(403, "forbidden")
        if found[2] == "/documents":
            return 200, _page([listed(d) for d in dataset.documents], query)
        if found[2]:
            return self._retrieve(dataset, json.loads(body))
        if dataset.id in self.api.hidden:
            return _error(502, "bad_gateway")
        return 200, dataset.detail()

    def _retrieve(self, dataset: Dataset, body: Json) -> tuple[int, Json]:
        self.api.bodies.append(body)
        time.sleep(self.api.delay)
        if dataset.id in self.api.failing:
            return _error(self.api.failing[dataset.id], "internal_server_error")
        query, model = body.get("query"), body.get("retrieval_model")
        if not query or len(query) > MAX_QUERY:
            return _error(400, "invalid_param")
        if model is not None and not _is_model(model):
            # services/entities/knowledge_entities: RetrievalModel's required fields
            return _error(400, "invalid_param")
        model = model or dataset.settings  # hit_testing_service.py: retrieve
        by_keywords = model["search_method"] == "keyword_search"
        if dataset.indexing_technique == "economy" and not by_keywords:
            return _error(400, "invalid_param")  # seen in 1.14.0: it has no vectors
        wanted = set(_WORD.findall(query.lower()))
        scored = []
        for document in dataset.documents:
            words = set(_WORD.findall(document.text.lower()))
            score = len(wanted & words) / len(wanted) if wanted else 0.0
            if document.enabled and score and passes(document, model):
                scored.append((score, document))
        if model["score_threshold_enabled"]:
            least = model.get("score_threshold") or 0
            scored = [one for one in scored if one[0] >= least]
        scored.sort(key=lambda one: one[0], reverse=True)
        records = [record(d, score) for score, d in scored[: model["top_k"]]]
        return 200, {"query": {"content": query}, "records": records}


def _is_model(model: Json) -> bool:
    return (
        all(name in model for name in _NEEDED)
        and model["search_method"] in _METHODS
        and isinstance(model["top_k"], int)
    )


def _page(items: list[Json], query: Json) -> Json:
    page = int(query.get("page", ["1"])[0])
    limit = min(MAX_PAGE, int(query.get("limit", ["20"])[0]))
    shown = items[(page - 1) * limit : page * limit]
    more = page * limit < len(items)
    return {
        "data": shown,
        "has_more": more,
        "limit": limit,
        "total": len(items),
        "page": page,
    }


def _error(status: int, code: str) -> tuple[int, Json]:
    """libs/external_api.py: the form of every error."""
    return status, {"code": code, "message": "said so by the fake", "status": status}
