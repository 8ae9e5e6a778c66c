"""Documents and knowledge bases of the fake knowledge API, as Dify shows them."""

import uuid
from dataclasses import dataclass, field
from typing import Any

type Json = dict[str, Any]


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
    """A dataset; ``settings`` is its ``retrieval_model``."""

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
    indexing_technique: str = "high_quality"
    updated_at: int = 1_790_000_000
    id: str = field(default_factory=lambda: str(uuid.uuid4()))

    def detail(self) -> Json:
        """The fields of fields/dataset_fields.py, DatasetDetailResponse, that we read.

        The counters are those of models/dataset.py: all documents, their words, and the
        documents that are completed, enabled and not archived. ``updated_at`` is that
        of the dataset's row: no change of a document changes it.
        """
        return {
            "id": self.id,
            "name": self.name,
            "provider": "vendor",
            "indexing_technique": self.indexing_technique,
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


def passes(document: Document, model: Json) -> bool:
    """hit_testing_service.py: metadata_filtering_conditions; here only ``is``."""
    filtering = model.get("metadata_filtering_conditions") or {}
    return all(
        document.metadata.get(one["name"]) == one["value"]
        for one in filtering.get("conditions") or ()
    )


def record(document: Document, score: float) -> Json:
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


def listed(document: Document) -> Json:
    """The fields of fields/document_fields.py, DocumentResponse, that we read."""
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
