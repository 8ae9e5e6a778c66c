"""Answers -> Dify's results."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Final

from dify_plugin.entities.model.llm import (
    LLMResultChunk,
    LLMResultChunkDelta,
    LLMUsage,
)
from dify_plugin.entities.model.message import AssistantPromptMessage
from dify_plugin.entities.model.text_embedding import (
    EmbeddingUsage,
    TextEmbeddingResult,
)

from cachecore.answer import Piece, Usage
from cachecore.policy import Price

_ZERO: Final = Decimal(0)
_SEVEN_PLACES: Final = Decimal("0.0000001")


@dataclass(frozen=True, slots=True)
class Embeddings:
    """The vectors of texts, in order, their tokens, and the price paid this time."""

    vectors: list[list[float]]
    tokens: int
    price: float


def to_chunks(
    model: str, pieces: Iterator[Piece], price: Price
) -> Generator[LLMResultChunk, None, None]:
    """The chunks of an answer; a generator, because the SDK requires one."""
    for index, piece in enumerate(pieces):
        yield to_chunk(model, index, piece, price)


def to_chunk(model: str, index: int, piece: Piece, price: Price) -> LLMResultChunk:
    """One chunk for the host.

    ``content`` is never None, because the daemon would then refuse the whole stream
    (host contract 3.6). Usage is priced here, once, on the last piece.
    """
    return LLMResultChunk(
        model=model,
        delta=LLMResultChunkDelta(
            index=index,
            message=AssistantPromptMessage(
                content=piece.text,
                tool_calls=[_tool_call(call) for call in piece.tool_calls],
                opaque_body=piece.data,
            ),
            usage=to_usage(piece.usage, price) if piece.usage else None,
            finish_reason=piece.finish_reason,
        ),
    )


def _tool_call(call: dict[str, str]) -> AssistantPromptMessage.ToolCall:
    return AssistantPromptMessage.ToolCall(
        id=call["id"],
        type=call["type"],
        function=AssistantPromptMessage.ToolCall.ToolCallFunction(
            name=call["name"], arguments=call["arguments"]
        ),
    )


def to_usage(usage: Usage, price: Price) -> LLMUsage:
    """The counted tokens and their price, which is zero if they are not billed.

    The host overwrites ``latency`` with its own measurement.
    """
    unit, rate_in, rate_out = _rates(price)
    if not usage.billed:
        rate_in = rate_out = _ZERO
    paid_in = usage.prompt_tokens * rate_in * unit
    if usage.billed and (usage.cached_tokens or usage.written_tokens):
        # The host has one price for input; the provider's prompt cache has other
        # prices.
        off = price.saved_by_provider(usage.cached_tokens, usage.written_tokens)
        paid_in -= Decimal(str(off))
    paid_in = paid_in.quantize(_SEVEN_PLACES)
    paid_out = (usage.completion_tokens * rate_out * unit).quantize(_SEVEN_PLACES)
    return LLMUsage(
        prompt_tokens=usage.prompt_tokens,
        prompt_unit_price=rate_in,
        prompt_price_unit=unit,
        prompt_price=paid_in,
        completion_tokens=usage.completion_tokens,
        completion_unit_price=rate_out,
        completion_price_unit=unit,
        completion_price=paid_out,
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
        total_price=paid_in + paid_out,
        currency=price.currency,
        latency=0.0,
    )


@lru_cache
def _rates(price: Price) -> tuple[Decimal, Decimal, Decimal]:
    """The unit, and the prices of input and output tokens, in the host's types."""
    unit = Decimal(1) / Decimal(price.per)
    return unit, Decimal(str(price.input)), Decimal(str(price.output))


def to_embeddings(model: str, made: Embeddings, price: Price) -> TextEmbeddingResult:
    """Vectors for the host. Known vectors cost nothing."""
    return TextEmbeddingResult(
        model=model,
        embeddings=made.vectors,
        usage=EmbeddingUsage(
            tokens=made.tokens,
            total_tokens=made.tokens,
            unit_price=Decimal(str(price.input)),
            price_unit=Decimal(1) / Decimal(price.per),
            total_price=Decimal(str(made.price)).quantize(_SEVEN_PLACES),
            currency=price.currency,
            latency=0.0,
        ),
    )
