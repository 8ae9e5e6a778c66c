"""What the workspace does for us: its models and apps, by reverse invocation.

What comes back crosses queues of the host that drop what they have no room for, and
of a caller that has left nothing comes back at all (host contract 3.5, 8). So every
wait has a limit of its own, and an answer has to prove itself whole to be kept.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import gevent
from dify_plugin.core.runtime import Session
from dify_plugin.entities.model.llm import LLMModelConfig, LLMResultChunk, LLMUsage
from dify_plugin.entities.model.message import (
    PromptMessage,
    TextPromptMessageContent,
)
from dify_plugin.entities.model.rerank import RerankModelConfig
from pydantic import ValidationError

from cachecore.streams import Piece, Usage
from rag_cache import inputs, settings
from rag_cache.caller import Caller
from rag_cache.inputs import BadInput

# The finish reason of an answer that was served and may lack something.
UNPROVEN: Final = "unproven"
# A queue of the host drops an item only while it holds so many, which then arrive
# (D/internal/core/dify_invocation/calldify/http_request.go:112, pkg/utils/stream):
# who got fewer items has got them all.
HOST_QUEUE: Final = 1024
LONGEST_MESSAGE: Final = 500
# How plugins spell the ends that OpenAI calls stop and length: Anthropic's, Gemini's,
# Hugging Face's.
_REASONS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("end_turn", "stop_sequence", "STOP", "eos_token", "eos"), "stop"),
    "FinishReason.STOP": "stop",
    "FinishReason.MAX_TOKENS": "length",
    **dict.fromkeys(("max_tokens", "MAX_TOKENS"), "length"),
}


@dataclass(frozen=True, slots=True)
class Reranker:
    """A rerank model of the workspace.

    ``choose(query, texts, top_n, threshold)`` gives the places of the best texts and
    their scores, best first; it raises ReverseError. ``form`` is what tells it from
    others, for the key.
    """

    choose: Callable[[str, list[str], int, float], list[tuple[int, float]]]
    form: Mapping[str, Any]


class ReverseError(Exception):
    """The workspace did not do what it was asked; ``str`` is one sentence."""


class _Silent(BaseException):
    """Nothing came for too long. Not an Exception: the SDK takes those for an end."""


@dataclass(frozen=True, slots=True)
class Limits:
    """``deadline`` bounds the whole in seconds, ``silence`` the wait for each item."""

    deadline: float = 240.0
    silence: float = 120.0


def bounded[T](
    what: str, ask: Callable[[], Iterable[T]], limits: Limits
) -> Iterator[T]:
    """What ``ask`` gives, each item within the limits. Raises ReverseError."""
    ends = time.monotonic() + limits.deadline
    try:
        items = iter(ask())
        while True:
            left = min(limits.silence, ends - time.monotonic())
            # Around this one wait: across a yield it would strike the caller.
            with gevent.Timeout(max(0.0, left), _Silent()):
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield item
    except _Silent:
        raise ReverseError(f"The {what} did not answer in time.") from None
    except GeneratorExit:
        raise
    except Exception as error:  # the SDK raises plain Exception for all of them
        said = str(error).strip()[:LONGEST_MESSAGE] or type(error).__name__
        raise ReverseError(f"The {what} could not be asked: {said}") from error


# --- models ---------------------------------------------------------------


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


def llm(
    session: Session,
    config: LLMModelConfig,
    messages: list[PromptMessage],
    stop: list[str],
    limits: Limits,
) -> Iterator[Piece]:
    """A model's answer in pieces. Raises ReverseError.

    It is whole if usage and finish reason came, and no chunk can have been lost.
    """

    def ask() -> Iterable[LLMResultChunk]:
        return session.model.llm.invoke(config, messages, stop=stop, stream=True)

    numbers = _Numbers()
    pure = True
    usage: Usage | None = None
    finish_reason: str | None = None
    for chunk in bounded(f"model {config.model}", ask, limits):
        delta = chunk.delta
        numbers.add(delta.index)
        finish_reason = _REASONS.get(
            delta.finish_reason or "", delta.finish_reason or finish_reason
        )
        usage = _usage(delta.usage) or usage
        pure = pure and _is_text(delta.message.content)
        # One without text too: it shows that the model is alive.
        yield Piece(text=delta.message.get_text_content())
    if not numbers.count:
        raise ReverseError(f"The model {config.model} gave no answer.")
    whole = pure and numbers.proven and usage is not None and finish_reason is not None
    yield Piece(finish_reason=finish_reason if whole else UNPROVEN, usage=usage)


def _is_text(content: Any) -> bool:
    """Whether there is nothing but text in a message: no more is kept of it."""
    if not isinstance(content, list):
        return True
    return all(isinstance(part, TextPromptMessageContent) for part in content)


class _Numbers:
    """Whether the chunks of a stream are all of them, by their count or numbers.

    Plugins number as they like: by one, by two and sometimes one (the SDK's
    OpenAI-compatible class), by parts, or not at all. So a gap says nothing; but
    where there is none among numbers that count by one, nothing is missing.
    """

    def __init__(self) -> None:
        self.count = 0
        self._first = 0
        self._gapless = True
        self._last = 0

    def add(self, number: int) -> None:
        """Take a chunk's number, in order."""
        if self.count:
            self._gapless = self._gapless and number == self._last + 1
        else:
            self._first = number
        self._last = number
        self.count += 1

    @property
    def proven(self) -> bool:
        """Whether none can be missing."""
        return self.count < HOST_QUEUE or (self._gapless and self._first in (0, 1))


def _usage(usage: LLMUsage | None) -> Usage | None:
    if usage is None:
        return None
    return Usage(
        usage.prompt_tokens,
        usage.completion_tokens,
        price=float(usage.total_price),
        currency=usage.currency,
    )


def reranker(
    session: Session, caller: Caller, parameters: Mapping[str, Any]
) -> Reranker | None:
    """The rerank model that the parameters choose, if they do. Raises BadInput."""
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
        # The host's null is zero: a threshold may not have reached the model.
        kept = [(p, s) for p, s in chosen if s >= threshold]
        return sorted(kept, key=lambda one: one[1], reverse=True)[:top_n]
    raise ReverseError(f"The {what} gave no answer.")
