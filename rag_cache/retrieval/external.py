"""The External Knowledge API, served from the cache.

A native Knowledge Retrieval node asks it (dify services/external_knowledge_service.py);
``knowledge_id`` is the id of a dataset of this workspace, or several with commas.
"""

from collections.abc import Mapping
from typing import Any, Final

from werkzeug import Request, Response

from rag_cache import http, inputs
from rag_cache.caller import Caller
from rag_cache.errors import BadInput
from rag_cache.retrieval import asks, search
from rag_cache.retrieval.asks import Ask

_BAD_KEY: Final = 1002
_NO_KNOWLEDGE: Final = 2001


def answer(request: Request, settings: Mapping[str, Any]) -> Response:
    """Records for a query, or an error in the shape that Dify expects."""
    return http.answer(request, settings, lambda: _records(request, settings), _error)


def _error(status: int, sentence: str) -> Response:
    if status in (401, 403):
        # When the API is registered, Dify reports a 403 at once; it ignores other
        # codes.
        return http.reply(403, {"error_code": _BAD_KEY, "error_msg": sentence})
    return http.reply(status, {"error_code": _NO_KNOWLEDGE, "error_msg": sentence})


def _records(request: Request, settings: Mapping[str, Any]) -> Response:
    body = http.body_of(request)
    if not body:  # Dify's request when an external knowledge API is registered.
        return http.reply(200, {"records": []})
    found = search.retrieve(Caller(settings), _ask(body))
    records = [
        {
            "content": item["content"],
            "score": item["metadata"]["score"] or 0.0,
            "title": item["title"],
            "metadata": _about(item["metadata"]),
        }
        for item in found.result
    ]
    return http.reply(200, {"records": records})


def _ask(body: Mapping[str, Any]) -> Ask:
    datasets = inputs.ids(body, "knowledge_id", "knowledge_id")
    if not datasets:
        raise BadInput("knowledge_id is empty; it takes the id of a knowledge base.")
    setting = inputs.table(body, "retrieval_setting")
    query, cut = asks.shortened(inputs.required(body, "query").strip())
    top_k, threshold = asks.limits(setting)
    conditions = _filter(inputs.table(body, "metadata_condition"))
    return Ask(
        query=query,
        cut=cut,
        datasets=datasets,
        top_k=top_k,
        score_threshold=threshold,
        overrides=asks.overrides(top_k, threshold, conditions),
    )


def _filter(condition: Mapping[str, Any]) -> dict[str, Any]:
    """The condition as the knowledge API accepts it: one name each, not a list."""
    conditions = condition.get("conditions") or []
    if not isinstance(conditions, list) or not all(
        isinstance(one, dict) and one.get("name") for one in conditions
    ):
        raise BadInput("metadata_condition must have conditions with a name each.")
    if not conditions:
        return {}
    return {
        "logical_operator": condition.get("logical_operator") or "and",
        "conditions": [
            {
                "name": name,
                "comparison_operator": one.get("comparison_operator"),
                "value": one.get("value"),
            }
            for one in conditions
            for name in _names(one.get("name"))
        ],
    }


def _names(name: Any) -> list[str]:
    return [str(one) for one in name] if isinstance(name, list) else [str(name)]


def _about(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata that Dify shows of a document: its own, and its source."""
    own = metadata.get("doc_metadata")
    return {
        **(own if isinstance(own, dict) else {}),
        "dataset_id": metadata["dataset_id"],
        "dataset_name": metadata["dataset_name"],
        "document_id": metadata["document_id"],
        "document_name": metadata["document_name"],
    }
