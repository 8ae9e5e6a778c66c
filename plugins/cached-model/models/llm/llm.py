from collections.abc import Generator, Iterator
from typing import Any

from dify_plugin.core.session_context import get_current_session
from dify_plugin.entities.model import AIModelEntity
from dify_plugin.entities.model.llm import LLMResultChunk
from dify_plugin.entities.model.message import PromptMessage, PromptMessageTool
from dify_plugin.errors.model import InvokeBadRequestError, InvokeError
from dify_plugin.interfaces.model.large_language_model import LargeLanguageModel

from cachecore.errors import ConfigError
from cachecore.streams import Piece
from cached_model import chat, check, form, schema, tokens
from difycodec import answers, messages


class CachedModelLargeLanguageModel(LargeLanguageModel):
    def _invoke(
        self,
        model: str,
        credentials: dict[str, Any],
        prompt_messages: list[PromptMessage],
        model_parameters: dict[str, Any],
        tools: list[PromptMessageTool] | None = None,
        stop: list[str] | None = None,
        stream: bool = True,
        user: str | None = None,
    ) -> Generator[LLMResultChunk, None, None]:
        read = _read(credentials)
        session = get_current_session()
        pieces = chat.answer(
            read,
            model,
            prompt_messages,
            model_parameters,
            tools or [],
            stop or [],
            stream=stream,
            user=user or "",
            app_id=(session and session.app_id) or "",
        )
        return _chunks(model, pieces, read)

    def get_num_tokens(
        self,
        model: str,
        credentials: dict[str, Any],
        prompt_messages: list[PromptMessage],
        tools: list[PromptMessageTool] | None = None,
    ) -> int:
        return tokens.estimate(messages.text_of(prompt_messages))

    def validate_credentials(self, model: str, credentials: dict[str, Any]) -> None:
        check.check(model, credentials)

    def get_customizable_model_schema(
        self, model: str, credentials: dict[str, Any]
    ) -> AIModelEntity:
        return schema.model_schema(model, _read(credentials))

    def _transform_invoke_error(self, error: Exception) -> InvokeError:
        # The SDK's own would hide the sentence and often the class.
        return error if isinstance(error, InvokeError) else InvokeError(str(error))

    @property
    def _invoke_error_mapping(self) -> dict[type[InvokeError], list[type[Exception]]]:
        return {}


def _chunks(
    model: str, pieces: Iterator[Piece], read: form.Form
) -> Generator[LLMResultChunk, None, None]:
    for index, piece in enumerate(pieces):
        yield answers.to_chunk(model, index, piece, read.settings.rules.price)


def _read(credentials: dict[str, Any]) -> form.Form:
    try:
        return form.read(credentials)
    except ConfigError as error:
        raise InvokeBadRequestError(str(error)) from error
