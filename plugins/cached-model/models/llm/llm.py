from collections.abc import Generator
from typing import Any

from dify_plugin.entities.model import AIModelEntity
from dify_plugin.entities.model.llm import LLMResultChunk
from dify_plugin.entities.model.message import PromptMessage, PromptMessageTool
from dify_plugin.interfaces.model.large_language_model import LargeLanguageModel

from cached_model import caching, chat, check, schema, tokens
from difykit.codec import answers, messages


class CachedModelLargeLanguageModel(caching.TypedErrors, LargeLanguageModel):
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
        form = caching.read(credentials)
        pieces = chat.answer(
            form,
            model,
            prompt_messages,
            model_parameters,
            tools or [],
            stop or [],
            caching.caller(user),
            stream=stream,
        )
        return answers.to_chunks(model, pieces, form.settings.rules.price)

    def get_num_tokens(
        self,
        model: str,
        credentials: dict[str, Any],
        prompt_messages: list[PromptMessage],
        tools: list[PromptMessageTool] | None = None,
    ) -> int:
        offered = messages.tools_to_openai(tools or [])
        return tokens.estimate_chat(messages.text_of(prompt_messages), offered)

    def validate_credentials(self, model: str, credentials: dict[str, Any]) -> None:
        check.check(model, credentials, chat.ping)

    def get_customizable_model_schema(
        self, model: str, credentials: dict[str, Any]
    ) -> AIModelEntity:
        return schema.model_schema(model, caching.read(credentials))
