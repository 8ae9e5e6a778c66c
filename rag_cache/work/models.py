"""Models of the workspace, by reverse invocation; see ``reverse``."""

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from dify_plugin.core.runtime import Session
from dify_plugin.entities.model import EmbeddingInputType
from dify_plugin.entities.model.llm import LLMModelConfig, LLMResultChunk, LLMUsage
from dify_plugin.entities.model.message import (
    AssistantPromptMessage,
    PromptMessage,
    PromptMessageTool,
    TextPromptMessageContent,
)
from dify_plugin.entities.model.rerank import RerankModelConfig
from dify_plugin.entities.model.text_embedding import (
    TextEmbeddingModelConfig,
    TextEmbeddingResult,
)
from pydantic import ValidationError

from cachecore.answer import Piece, Usage
from rag_cache import inputs, settings
from rag_cache.caller import Caller
from rag_cache.errors import BadInput, ReverseError
from rag_cache.work.reverse import HOST_QUEUE, UNPROVEN, Limits, bounded

# The finish reasons of some plugins (Anthropic's, Gemini's, Hugging Face's), and
# OpenAI's names for them.
_REASONS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("end_turn", "stop_sequence", "STOP", "eos_token", "eos"), "stop"),
    "FinishReason.STOP": "stop",
    "FinishReason.MAX_TOKENS": "length",
    **dict.fromkeys(("max_tokens", "MAX_TOKENS"), "length"),
    "tool_use": "tool_calls",
}


@dataclass(frozen=True, slots=True)
class Chat:
    """A request to a chat model."""

    config: LLMModelConfig
    messages: list[PromptMessage]
    stop: list[str] = field(default_factory=list)
    tools: list[PromptMessageTool] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Reranker:
    """A rerank model of the workspace.

    ``choose(query, texts, top_n, threshold)`` returns the places of the best texts and
    their scores, best first; it raises ReverseError. ``form`` distinguishes the model
    from others in a key.
    """

    choose: Callable[[str, list[str], int, float], list[tuple[int, float]]]
    form: Mapping[str, Any]


def model_config(selector: Mapping[str, Any], name: str) -> LLMModelConfig:
    """A model selector's value, as Dify hands it over. Raises BadInput."""
    if not selector:
        raise BadInput(f"The parameter {name} is empty; choose a model.")
    try:
        return LLMModelConfig.model_validate(
            {
                **selector,
                "mode": selector.get("mode") or "chat",
                "completion_params": selector.get("completion_params") or {},
            }
        )
    except ValidationError as error:
        raise BadInput(
            f"The parameter {name} is not a model; choose one from the list."
        ) from error


def _check_count(model: str, count: int, *, ended: bool) -> None:
    if not count:
        raise ReverseError(f"The model {model} gave no answer.")
    if count >= HOST_QUEUE and not ended:
        # The end is missing, so other chunks may be missing too.
        raise ReverseError(
            f"The answer of the model {model} lost parts on its way through Dify; "
            "ask for a shorter one."
        )


def _uncached(config: LLMModelConfig) -> LLMModelConfig:
    """The model; if it is one of Cached Model's, with its cache turned off.

    Cached Model would keep a second answer, which no invalidation of the first reaches.
    """
    if config.provider.rpartition("/")[2] != "cached_model":
        return config
    parameters = {**config.completion_params, "cache_control": "never"}
    return config.model_copy(update={"completion_params": parameters})


def llm(session: Session, chat: Chat, limits: Limits) -> Iterator[Piece]:
    """A model's answer in pieces. Raises ReverseError.

    It is complete if usage and finish reason came, and no chunk can have been lost.
    """
    config = _uncached(chat.config)

    def ask() -> Iterable[LLMResultChunk]:
        return session.model.llm.invoke(
            config, chat.messages, tools=chat.tools, stop=chat.stop, stream=True
        )

    numbers: list[int] = []
    calls = _Calls()
    pure = True
    usage: Usage | None = None
    finish_reason: str | None = None
    for chunk in bounded(f"model {config.model}", ask, limits):
        delta = chunk.delta
        numbers.append(delta.index)
        calls.add(delta.message.tool_calls)
        finish_reason = _REASONS.get(
            delta.finish_reason or "", delta.finish_reason or finish_reason
        )
        usage = _usage(delta.usage) or usage
        pure = pure and _is_text(delta.message.content)
        # Also for a chunk without text: it shows that the model is alive.
        yield Piece(text=delta.message.get_text_content())
    ended = usage is not None and finish_reason is not None
    _check_count(config.model, len(numbers), ended=ended)
    whole = pure and _are_all(numbers) and ended
    yield Piece(
        tool_calls=calls.whole(),
        finish_reason=finish_reason if whole else UNPROVEN,
        usage=usage,
    )


class _Calls:
    """The tool calls of an answer, assembled as Dify does it.

    A part without an id belongs to the call before it, unless the part has a name: then
    it begins a new call (graphon, merge_tool_call_deltas).
    """

    def __init__(self) -> None:
        self._calls: list[dict[str, str]] = []

    def add(self, parts: Iterable[AssistantPromptMessage.ToolCall]) -> None:
        """Take the parts of a chunk."""
        for part in parts:
            call = self._of(part)
            call["type"] = part.type or call["type"]
            call["name"] = part.function.name or call["name"]
            call["arguments"] += part.function.arguments

    def _of(self, part: AssistantPromptMessage.ToolCall) -> dict[str, str]:
        for call in self._calls:
            if part.id and call["id"] == part.id:
                return call
        if not part.id and not part.function.name and self._calls:
            return self._calls[-1]
        name = part.id or f"call_{uuid.uuid4().hex}"
        call = {"id": name, "type": "function", "name": "", "arguments": ""}
        self._calls.append(call)
        return call

    def whole(self) -> tuple[dict[str, str], ...]:
        """All calls, assembled."""
        return tuple(self._calls)


def _is_text(content: Any) -> bool:
    """Whether a message has only text: other content is not kept."""
    if not isinstance(content, list):
        return True
    return all(isinstance(part, TextPromptMessageContent) for part in content)


def _are_all(numbers: Sequence[int]) -> bool:
    """Whether the numbers of a stream's chunks prove that no chunk is missing.

    Plugins number in different ways: by one, by two and sometimes one (the SDK's
    OpenAI-compatible class), by parts, or not at all. So a gap proves nothing. But if
    the numbers count by one without a gap, no chunk is missing.
    """
    if len(numbers) < HOST_QUEUE:
        return True
    first = numbers[0]
    return first in (0, 1) and numbers == list(range(first, first + len(numbers)))


def _usage(usage: LLMUsage | None) -> Usage | None:
    if usage is None:
        return None
    return Usage(
        max(0, usage.prompt_tokens),
        max(0, usage.completion_tokens),
        price=float(usage.total_price),
        currency=usage.currency,
    )


def embed(
    session: Session,
    selector: Mapping[str, Any],
    texts: Sequence[str],
    input_type: str,
    limits: Limits,
) -> tuple[list[list[float]], int]:
    """The vectors of texts, and their tokens in total. Raises ReverseError."""

    def ask() -> Iterable[TextEmbeddingResult]:
        config = TextEmbeddingModelConfig(
            provider=str(selector.get("provider") or ""),
            model=str(selector.get("model") or ""),
        )
        yield session.model.text_embedding.invoke(
            config, list(texts), EmbeddingInputType(input_type)
        )

    what = f"embedding model {selector.get('model')}"
    for result in bounded(what, ask, limits):
        if len(result.embeddings) != len(texts):
            break
        return result.embeddings, max(0, result.usage.total_tokens)
    raise ReverseError(f"The {what} did not answer with one vector for each text.")


def reranker(
    session: Session, caller: Caller, parameters: Mapping[str, Any]
) -> Reranker | None:
    """The rerank model that the parameters choose, if any. Raises BadInput."""
    selector = inputs.table(parameters, "rerank_model")
    if not selector.get("model"):
        return None
    options = settings.read(caller.credentials).cache.options
    limits = Limits(options.work_deadline_seconds, options.work_silence_seconds)
    return Reranker(
        partial(rerank, session, selector, limits),
        {name: selector.get(name) for name in ("provider", "model")},
    )


def rerank(
    session: Session,
    selector: Mapping[str, Any],
    limits: Limits,
    query: str,
    texts: list[str],
    top_n: int,
    threshold: float,
) -> list[tuple[int, float]]:
    """Places and scores of the best texts, best first. Raises ReverseError."""

    def ask() -> Iterable[Any]:
        config = RerankModelConfig(
            provider=str(selector.get("provider") or ""),
            model=str(selector.get("model") or ""),
            score_threshold=threshold,
            top_n=top_n,
        )
        yield session.model.rerank.invoke(config, texts, query)

    what = f"rerank model {selector.get('model')}"
    for result in bounded(what, ask, limits):
        chosen = [(doc.index, doc.score) for doc in result.docs]
        places = {place for place, _ in chosen}
        if len(places) < len(chosen) or not places <= set(range(len(texts))):
            raise ReverseError(f"The {what} chose texts that it was not given.")
        # The host sends zero for null: a threshold might not have reached the model.
        kept = [(p, s) for p, s in chosen if s >= threshold]
        return sorted(kept, key=lambda one: one[1], reverse=True)[:top_n]
    raise ReverseError(f"The {what} gave no answer.")
