"""Models of the workspace under OpenAI's API: chat, embeddings, and the list of models."""

from rag_cache.openai.gateway import chat, embeddings, list_models
from rag_cache.openai.served import refused

__all__ = ["chat", "embeddings", "list_models", "refused"]
