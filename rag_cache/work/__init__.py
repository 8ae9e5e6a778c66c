"""Models and apps of the workspace, through Dify; equal requests share a load."""

from rag_cache.work.apps import ask
from rag_cache.work.cached import (
    Work,
    app,
    begin,
    limits,
    model,
    request_of,
)
from rag_cache.work.meaning import AskModel, Chosen, Models, chosen, matched
from rag_cache.work.models import Chat, Reranker, embed, llm, reranker
from rag_cache.work.reverse import Limits
from rag_cache.work.vectors import AskVectors, vectors_of

__all__ = [
    "AskModel",
    "AskVectors",
    "Chat",
    "Chosen",
    "Limits",
    "Models",
    "Reranker",
    "Work",
    "app",
    "ask",
    "begin",
    "chosen",
    "embed",
    "limits",
    "llm",
    "matched",
    "model",
    "request_of",
    "reranker",
    "vectors_of",
]
