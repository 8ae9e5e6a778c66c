"""Records of the knowledge API -> the items of a Knowledge Retrieval node.

An LLM node takes these items as its context and cites them. Every field is as Dify's
own node outputs it (host contract 7.3, core/workflow/nodes/knowledge_retrieval).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

type Json = dict[str, Any]


def items(
    records: Iterable[Mapping[str, Any]], dataset_id: str, dataset_name: str
) -> list[Json]:
    """One item for each record, without its position."""
    return [
        _segment(record, dataset_id, dataset_name)
        if isinstance(record.get("segment"), dict)
        else _external(record, dataset_id, dataset_name)
        for record in records
    ]


def ranked(found: Sequence[Json], top_k: int | None = None) -> list[Json]:
    """The best ``top_k``, best first, with their positions. None means all."""
    best = sorted(found, key=_score, reverse=True)[:top_k]
    for position, item in enumerate(best, 1):
        item["metadata"]["position"] = position
    return best


def rescored(found: Sequence[Json], scores: Sequence[tuple[int, float]]) -> list[Json]:
    """The items that a rerank model chose, by their place, with its scores."""
    for place, score in scores:
        found[place]["metadata"]["score"] = score
    return [found[place] for place, _ in scores]


def _score(item: Json) -> float:
    score = item["metadata"]["score"]
    return score if isinstance(score, int | float) else 0.0


def _segment(record: Mapping[str, Any], dataset_id: str, dataset_name: str) -> Json:
    segment = record["segment"]
    document = _table(segment.get("document"))
    name = str(document.get("name") or "")
    item: Json = {
        "metadata": {
            "_source": "knowledge",
            "dataset_id": dataset_id,
            "dataset_name": dataset_name,
            "document_id": document.get("id") or segment.get("document_id"),
            "document_name": name,
            "data_source_type": document.get("data_source_type"),
            "segment_id": segment.get("id"),
            "retriever_from": "workflow",
            "score": record.get("score"),
            "child_chunks": [
                {
                    "id": chunk.get("id"),
                    "content": chunk.get("content"),
                    "position": chunk.get("position"),
                    "score": chunk.get("score"),
                }
                for chunk in map(_table, _list(record.get("child_chunks")))
            ],
            "segment_hit_count": segment.get("hit_count"),
            "segment_word_count": segment.get("word_count"),
            "segment_position": segment.get("position"),
            "segment_index_node_hash": segment.get("index_node_hash"),
            "doc_metadata": document.get("doc_metadata"),
        },
        "title": name,
        "files": _list(record.get("files")) or None,
        "content": _content(segment),
    }
    if record.get("summary"):
        item["summary"] = record["summary"]
    return item


def _content(segment: Mapping[str, Any]) -> str:
    content = str(segment.get("sign_content") or segment.get("content") or "")
    if segment.get("answer"):
        return f"question:{content} \nanswer:{segment['answer']}"
    return content


def _table(value: Any) -> Json:
    """The value if it is an object, else an empty one: a record may hold anything."""
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _external(record: Mapping[str, Any], dataset_id: str, dataset_name: str) -> Json:
    """A record of a knowledge base outside Dify."""
    about = _table(record.get("metadata"))
    title = str(record.get("title") or "")
    return {
        "metadata": {
            "_source": "knowledge",
            "dataset_id": dataset_id,
            "dataset_name": dataset_name,
            "document_id": about.get("document_id") or title,
            "document_name": title,
            "data_source_type": "external",
            "retriever_from": "workflow",
            "score": record.get("score"),
            "doc_metadata": about,
        },
        "title": title,
        "files": None,
        "content": str(record.get("content") or ""),
    }
