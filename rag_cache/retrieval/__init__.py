"""Knowledge retrieval: what is asked, of which version of which knowledge base, and kept."""

from rag_cache.retrieval.asks import read
from rag_cache.retrieval.external import answer
from rag_cache.retrieval.knowledge import check
from rag_cache.retrieval.search import choices, retrieve

__all__ = ["answer", "check", "choices", "read", "retrieve"]
