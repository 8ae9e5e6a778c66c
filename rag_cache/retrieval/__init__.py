"""Knowledge retrieval through the cache: requests, versions of datasets, results."""

from rag_cache.retrieval.asks import read
from rag_cache.retrieval.external import answer
from rag_cache.retrieval.knowledge import check
from rag_cache.retrieval.search import (
    choices,
    longest_life,
    retrieve,
    versions_of,
)
from rag_cache.retrieval.versions import Dataset

__all__ = [
    "Dataset",
    "answer",
    "check",
    "choices",
    "longest_life",
    "read",
    "retrieve",
    "versions_of",
]
