"""Models and apps of the workspace: asked through Dify, once for all who ask the same."""

from rag_cache.work.apps import ask
from rag_cache.work.cached import (
    AskModel,
    Work,
    app,
    begin,
    limits,
    model,
    request_of,
)
from rag_cache.work.models import Chat, Reranker, embed, llm, reranker
from rag_cache.work.reverse import Limits

__all__ = [
    "AskModel",
    "Chat",
    "Limits",
    "Reranker",
    "Work",
    "app",
    "ask",
    "begin",
    "embed",
    "limits",
    "llm",
    "model",
    "request_of",
    "reranker",
]
