from collections.abc import Sequence
from typing import Any

from dify_plugin.entities.model import AIModelEntity, ModelType
from dify_plugin.entities.model.rerank import (
    MultiModalRerankResult,
    RerankDocument,
    RerankResult,
)
from dify_plugin.entities.model.text_embedding import MultiModalContent
from dify_plugin.interfaces.model.rerank_model import RerankModel

from cached_model import caching, check, reranking, schema


class CachedModelRerank(caching.TypedErrors, RerankModel):
    def _invoke(
        self,
        model: str,
        credentials: dict[str, Any],
        query: str,
        docs: list[str],
        score_threshold: float | None = None,
        top_n: int | None = None,
        user: str | None = None,
    ) -> RerankResult:
        wanted = reranking.Wanted(score_threshold, top_n)
        form, caller = caching.read(credentials), caching.caller(user)
        best = reranking.rerank(form, model, query, docs, wanted, caller)
        chosen = [RerankDocument(index=i, text=docs[i], score=s) for i, s in best]
        return RerankResult(model=model, docs=chosen)

    def _invoke_multimodal(
        self,
        model: str,
        credentials: dict[str, Any],
        query: MultiModalContent,
        docs: Sequence[MultiModalContent],
        score_threshold: float | None = None,
        top_n: int | None = None,
        user: str | None = None,
    ) -> MultiModalRerankResult:
        wanted = reranking.Wanted(score_threshold, top_n)
        form, caller = caching.read(credentials), caching.caller(user)
        asked, documents = reranking.query_of(query), reranking.of_documents(docs)
        best = reranking.rerank(form, model, asked, documents, wanted, caller)
        chosen = [
            RerankDocument(index=i, text=docs[i].content, score=s) for i, s in best
        ]
        return MultiModalRerankResult(model=model, docs=chosen)

    def validate_credentials(self, model: str, credentials: dict[str, Any]) -> None:
        check.check(model, credentials, reranking.ping)

    def get_customizable_model_schema(
        self, model: str, credentials: dict[str, Any]
    ) -> AIModelEntity:
        return schema.model_schema(model, caching.read(credentials), ModelType.RERANK)
