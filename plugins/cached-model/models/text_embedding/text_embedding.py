from typing import Any

from dify_plugin.entities.model import AIModelEntity, EmbeddingInputType, ModelType
from dify_plugin.entities.model.text_embedding import (
    MultiModalContent,
    MultiModalEmbeddingResult,
    TextEmbeddingResult,
)
from dify_plugin.interfaces.model.text_embedding_model import TextEmbeddingModel

from cached_model import caching, check, embeddings, schema, tokens
from difykit.codec import answers


class CachedModelTextEmbedding(caching.TypedErrors, TextEmbeddingModel):
    def _invoke(
        self,
        model: str,
        credentials: dict[str, Any],
        texts: list[str],
        user: str | None = None,
        input_type: EmbeddingInputType = EmbeddingInputType.DOCUMENT,
    ) -> TextEmbeddingResult:
        form = caching.read(credentials)
        inputs = embeddings.prefixed(form, texts, input_type.value)
        made = embeddings.embed(form, model, inputs, caching.caller(user))
        return answers.to_embeddings(model, made, form.settings.rules.price)

    def _invoke_multimodal(
        self,
        model: str,
        credentials: dict[str, Any],
        documents: list[MultiModalContent],
        user: str | None = None,
        input_type: EmbeddingInputType = EmbeddingInputType.DOCUMENT,
    ) -> MultiModalEmbeddingResult:
        form = caching.read(credentials)
        inputs = embeddings.of_documents(form, documents, input_type.value)
        made = embeddings.embed(form, model, inputs, caching.caller(user))
        result = answers.to_embeddings(model, made, form.settings.rules.price)
        return MultiModalEmbeddingResult(**dict(result))

    def get_num_tokens(
        self, model: str, credentials: dict[str, Any], texts: list[str]
    ) -> list[int]:
        return [tokens.estimate(text) for text in texts]

    def validate_credentials(self, model: str, credentials: dict[str, Any]) -> None:
        check.check(model, credentials, embeddings.ping)

    def get_customizable_model_schema(
        self, model: str, credentials: dict[str, Any]
    ) -> AIModelEntity:
        form = caching.read(credentials)
        return schema.model_schema(model, form, ModelType.TEXT_EMBEDDING)
