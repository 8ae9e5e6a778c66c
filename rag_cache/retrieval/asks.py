"""The request for a retrieval, read from the tool's parameters."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from cachecore.policy import Control
from rag_cache import inputs
from rag_cache.errors import BadInput
from rag_cache.retrieval.knowledge import MAX_QUERY
from rag_cache.work import Reranker

MAX_TOP_K: Final = 100
_METHODS: Final = (
    "",
    *("semantic_search", "full_text_search", "hybrid_search", "keyword_search"),
)
FIELDS: Final[Mapping[str, str]] = {
    "more_datasets": "More Knowledge Bases (more_datasets)",
    "knowledge_bases": "Knowledge Bases (knowledge_bases)",
}
_SENTENCE_END: Final = re.compile(r".*(?:[.!?…](?=\s)|[。！？\n])", re.DOTALL)


type Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ask:
    """A request. ``query`` is the text that is sent; ``cut`` says that it was longer.

    ``overrides`` are the fields of ``retrieval_model`` that replace a dataset's own.
    """

    query: str
    datasets: tuple[str, ...]
    # Names or ids of further knowledge bases, as a person typed them.
    named: tuple[str, ...] = ()
    named_in: str = ""  # the field
    cut: bool = False
    top_k: int | None = None
    score_threshold: float | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    ttl: int | None = None
    control: Control = Control.DEFAULT
    reranker: Reranker | None = None


def read(
    parameters: Mapping[str, Any],
    reranker: Reranker | None = None,
    *,
    names: str = "more_datasets",
) -> Ask:
    """The tool's parameters; ``names`` is the parameter that names knowledge bases.

    Raises BadInput or ConfigError.
    """
    query, cut = shortened(inputs.required(parameters, "query").strip())
    datasets = inputs.ids(parameters, "datasets")
    more = read_names(parameters, names)
    if not datasets and not more:
        raise BadInput(
            "The parameter datasets is empty; choose a knowledge base, or name one in More "
            "Knowledge Bases (more_datasets)."
        )
    top_k, threshold = limits(parameters)
    settings = dict(inputs.table(parameters, "retrieval_settings"))
    method = _method(parameters)
    if method:
        settings["search_method"] = method
    conditions = inputs.table(parameters, "metadata_filter")
    return Ask(
        query=query,
        cut=cut,
        datasets=datasets,
        named=more,
        named_in=FIELDS[names],
        top_k=top_k,
        score_threshold=threshold,
        # A rerank model has other scores, so its threshold is not used for the search.
        overrides=overrides(
            top_k, None if reranker else threshold, conditions, settings
        ),
        tags=inputs.tags(parameters),
        ttl=inputs.lifetime(parameters),
        control=inputs.control(parameters),
        reranker=reranker,
    )


def limits(given: Mapping[str, Any]) -> tuple[int | None, float | None]:
    """``top_k`` and ``score_threshold``; Dify sends a threshold of 0 for none."""
    top_k = inputs.whole(given, "top_k", 1, MAX_TOP_K)
    return top_k, inputs.number(given, "score_threshold", 0, 1) or None


def overrides(
    top_k: int | None,
    threshold: float | None,
    conditions: Mapping[str, Any],
    settings: Mapping[str, Any] = MappingProxyType({}),
) -> Json:
    """The fields of ``retrieval_model`` that a caller has set."""
    given: Json = dict(settings)
    if top_k is not None:
        given["top_k"] = top_k
    if threshold is not None:
        given["score_threshold_enabled"] = True
        given["score_threshold"] = threshold
    if conditions:
        given["metadata_filtering_conditions"] = dict(conditions)
    return given


def read_names(parameters: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Names or ids of knowledge bases: a list, or text with commas."""
    given = parameters.get(name)
    words = (
        given if isinstance(given, list) else re.split(r"[,，;\n]", str(given or ""))
    )
    names = (str(word).strip().strip("[]'\"") for word in words)
    return tuple(dict.fromkeys(name for name in names if name))


def _method(parameters: Mapping[str, Any]) -> str:
    word = inputs.text(parameters, "search_method").strip()
    return (
        ""
        if word == "dataset"
        else inputs.choice(parameters, "search_method", *_METHODS)
    )


def shortened(query: str) -> tuple[str, bool]:
    """The query within the API's limit, and whether it was cut.

    It is cut after a sentence that ends in its second half, else between two words
    there, else at the limit.
    """
    if len(query) <= MAX_QUERY:
        return query, False
    head = query[:MAX_QUERY]
    sentences = _SENTENCE_END.match(query[: MAX_QUERY + 1])
    # Not after a short sentence such as a greeting: nearly all of the query would be
    # lost.
    if sentences and MAX_QUERY // 2 <= len(sentences[0]) <= MAX_QUERY:
        return sentences[0].strip(), True
    words = re.split(r"\s+\S*$", head)[0]
    return words if len(words) >= MAX_QUERY // 2 else head, True
