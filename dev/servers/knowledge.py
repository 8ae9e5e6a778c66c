"""A fake of Dify's knowledge API: Dify itself can't run here.

Rules cite langgenius/dify, under api/. What it finds is by words in common, which
no rule is about.
"""

import json
import re
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

type Json = dict[str, Any]

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


@dataclass
class Document:
    """A document of one segment."""

    name: str
    text: str
    answer: str | None = None  # of a question-and-answer document
    enabled: bool = True
    metadata: Json = field(default_factory=dict)
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    segment_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    hit_count: int = 0

    @property
    def word_count(self) -> int:
        # models/dataset.py: the count of characters, in spite of its name
        return len(self.text) + len(self.answer or "")


@dataclass
class Dataset:
    """A dataset; ``settings`` is its own ``retrieval_model``."""

    name: str
    documents: list[Document] = field(default_factory=list)
    settings: Json = field(
        default_factory=lambda: {
            "search_method": "semantic_search",
            "reranking_enable": False,
            "reranking_mode": None,
            "reranking_model": {
                "reranking_provider_name": "",
                "reranking_model_name": "",
            },
            "weights": None,
            "top_k": 3,
            "score_threshold_enabled": False,
            "score_threshold": None,
        }
    )
    enable_api: bool = True
    updated_at: int = 1_790_000_000
    id: str = field(default_factory=lambda: str(uuid.uuid4()))

    def detail(self) -> Json:
        """fields/dataset_fields.py: DatasetDetailResponse, what matters of it.

        The counters are those of models/dataset.py: all documents, their words,
        and those that are completed, enabled and not archived. ``updated_at`` is
        the dataset row's own: no change of a document moves it.
        """
        return {
            "id": self.id,
            "name": self.name,
            "provider": "vendor",
            "indexing_technique": "high_quality",
            "app_count": 1,
            "document_count": len(self.documents),
            "total_documents": len(self.documents),
            "total_available_documents": sum(d.enabled for d in self.documents),
            "word_count": sum(d.word_count for d in self.documents),
            "created_at": 1_780_000_000,
            "updated_at": self.updated_at,
            "embedding_model": "embed",
            "embedding_model_provider": "tester/embed/embed",
            "embedding_available": True,
            "retrieval_model_dict": self.settings,
            "doc_form": "text_model",
            "enable_api": self.enable_api,
            "doc_metadata": [],
            "built_in_field_enabled": False,
        }


class FakeKnowledgeApi:
    """``url`` ends in /v1. ``asked`` has the path of each request that came."""

    def __init__(self) -> None:
        self.datasets: dict[str, Dataset] = {}
        self.asked: list[str] = []
        self.bodies: list[Json] = []
        self.failing: dict[str, int] = {}  # a dataset's retrievals answer this status
        self.hidden: set[str] = set()  # datasets that say nothing of themselves
        self.redirect = ""  # where every request is sent
        self.down: int = 0  # and every request this one
        self.delay = 0.0  # seconds that a retrieval takes
        handler = type("Handler", (_Handler,), {"api": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        ).start()

    def add(self, name: str, *documents: Document) -> Dataset:
        """A new dataset."""
        dataset = Dataset(name, list(documents))
        self.datasets[dataset.id] = dataset
        return dataset

    @property
    def retrievals(self) -> int:
        """How many there were."""
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
            return 200, _page([_listed(d) for d in dataset.documents], query)
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
        wanted = set(_WORD.findall(query.lower()))
        scored = []
        for document in dataset.documents:
            words = set(_WORD.findall(document.text.lower()))
            score = len(wanted & words) / len(wanted) if wanted else 0.0
            if document.enabled and score and _passes(document, model):
                scored.append((score, document))
        if model["score_threshold_enabled"]:
            least = model.get("score_threshold") or 0
            scored = [one for one in scored if one[0] >= least]
        scored.sort(key=lambda one: one[0], reverse=True)
        records = [_record(d, score) for score, d in scored[: model["top_k"]]]
        return 200, {"query": {"content": query}, "records": records}


def _is_model(model: Json) -> bool:
    return (
        all(name in model for name in _NEEDED)
        and model["search_method"] in _METHODS
        and isinstance(model["top_k"], int)
    )


def _passes(document: Document, model: Json) -> bool:
    """hit_testing_service.py: metadata_filtering_conditions; only ``is`` here."""
    filtering = model.get("metadata_filtering_conditions") or {}
    return all(
        document.metadata.get(one["name"]) == one["value"]
        for one in filtering.get("conditions") or ()
    )


def _record(document: Document, score: float) -> Json:
    """hit_testing_service.py: _dump_retrieval_records; hit_testing_base.py fills in."""
    document.hit_count += 1
    return {
        "segment": {
            "id": document.segment_id,
            "position": 1,
            "document_id": document.id,
            "content": document.text,
            "sign_content": document.text,
            "answer": document.answer,
            "word_count": document.word_count,
            "tokens": document.word_count // 4,
            "keywords": [],
            "index_node_id": document.segment_id,
            "index_node_hash": f"hash-of-{document.name}",
            "hit_count": document.hit_count,
            "enabled": True,
            "status": "completed",
            "document": {
                "id": document.id,
                "data_source_type": "upload_file",
                "name": document.name,
                "doc_type": None,
                "doc_metadata": document.metadata or None,
            },
        },
        "child_chunks": [],
        "score": score,
        "tsne_position": None,
        "files": [],
        "summary": None,
    }


def _listed(document: Document) -> Json:
    """fields/document_fields.py: DocumentResponse, what matters of it."""
    return {
        "id": document.id,
        "name": document.name,
        "enabled": document.enabled,
        "archived": False,
        "indexing_status": "completed",
        "display_status": "available" if document.enabled else "disabled",
        "word_count": document.word_count,
        "tokens": document.word_count // 4,
        "hit_count": document.hit_count,
        "doc_metadata": [],
        "created_at": 1_785_000_000,
    }


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
    """libs/external_api.py: the shape of every error."""
    return status, {"code": code, "message": "said so by the fake", "status": status}
