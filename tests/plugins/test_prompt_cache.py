"""A provider's own prompt cache: its use is read, priced, counted, not disturbed."""

import json
import uuid
from typing import Any

import pytest
from dify_plugin.entities.model.message import (
    PromptMessage,
    SystemPromptMessage,
    UserPromptMessage,
)

from cachecore.answer import Usage
from cachecore.keep import cost_of
from cachecore.policy import Price
from cached_model.reader import _usage
from difykit.codec.answers import to_usage
from rag_cache import observe
from rag_cache.caller import Caller
from tests.fake_upstream import FakeUpstream, Script, delta, finish
from tests.plugins.helpers import ask

OPENAI = Price(0.15, 0.6, cached_input=0.075)
DEEPSEEK = Price(0.27, 1.1, cached_input=0.07)
ANTHROPIC = Price(3, 15, cached_input=0.3, cache_write=3.75)
GEMINI = Price(0.3, 2.5, cached_input=0.03)

# A usage as its server sends it, the price list, and the bill: (tokens, price of a million).
BILLS: dict[str, tuple[dict[str, Any], Price, list[tuple[int, float]]]] = {
    "OpenAI, most of it cached": (
        {
            "prompt_tokens": 2006,
            "completion_tokens": 300,
            "total_tokens": 2306,
            "prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": 0},
        },
        OPENAI,
        [(86, 0.15), (1920, 0.075), (300, 0.6)],
    ),
    "OpenAI, nothing cached": (
        {
            "prompt_tokens": 900,
            "completion_tokens": 20,
            "prompt_tokens_details": {"cached_tokens": 0},
        },
        OPENAI,
        [(900, 0.15), (20, 0.6)],
    ),
    "Azure, with reasoning": (
        {
            "prompt_tokens": 4096,
            "completion_tokens": 1200,
            "completion_tokens_details": {"reasoning_tokens": 1000},
            "prompt_tokens_details": {"cached_tokens": 3968},
        },
        Price(1.1, 4.4, cached_input=0.55),
        [(128, 1.1), (3968, 0.55), (1200, 4.4)],
    ),
    "vLLM, details off": (
        {"prompt_tokens": 512, "completion_tokens": 64, "prompt_tokens_details": None},
        Price(0.1, 0.1),
        [(512, 0.1), (64, 0.1)],
    ),
    "vLLM, prefix cached": (
        {
            "prompt_tokens": 1040,
            "completion_tokens": 16,
            "prompt_tokens_details": {"cached_tokens": 1024},
        },
        Price(0.1, 0.1, cached_input=0),
        [(16, 0.1), (16, 0.1)],
    ),
    "DeepSeek": (
        {
            "prompt_tokens": 1500,
            "completion_tokens": 250,
            "prompt_cache_hit_tokens": 1408,
            "prompt_cache_miss_tokens": 92,
        },
        DEEPSEEK,
        [(92, 0.27), (1408, 0.07), (250, 1.1)],
    ),
    "DeepSeek, cold": (
        {
            "prompt_tokens": 700,
            "completion_tokens": 9,
            "prompt_cache_hit_tokens": 0,
            "prompt_cache_miss_tokens": 700,
        },
        DEEPSEEK,
        [(700, 0.27), (9, 1.1)],
    ),
    "Anthropic, written": (
        {
            "input_tokens": 21,
            "cache_creation_input_tokens": 18_000,
            "cache_read_input_tokens": 0,
            "output_tokens": 393,
        },
        ANTHROPIC,
        [(21, 3), (18_000, 3.75), (393, 15)],
    ),
    "Anthropic, read": (
        {
            "input_tokens": 21,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 18_000,
            "output_tokens": 410,
        },
        ANTHROPIC,
        [(21, 3), (18_000, 0.3), (410, 15)],
    ),
    "Anthropic, through a gateway that counts all of it": (
        {
            "prompt_tokens": 2300,
            "completion_tokens": 100,
            "cache_creation_input_tokens": 200,
            "cache_read_input_tokens": 2000,
        },
        ANTHROPIC,
        [(100, 3), (200, 3.75), (2000, 0.3), (100, 15)],
    ),
    "Anthropic, through one that leaves the cached ones out": (
        {
            "prompt_tokens": 100,
            "completion_tokens": 100,
            "cache_creation_input_tokens": 200,
            "cache_read_input_tokens": 2000,
        },
        ANTHROPIC,
        [(100, 3), (200, 3.75), (2000, 0.3), (100, 15)],
    ),
    "Gemini, with thoughts": (
        {
            "promptTokenCount": 5000,
            "cachedContentTokenCount": 4000,
            "candidatesTokenCount": 120,
            "thoughtsTokenCount": 80,
            "totalTokenCount": 5200,
        },
        GEMINI,
        [(1000, 0.3), (4000, 0.03), (200, 2.5)],
    ),
}


@pytest.mark.parametrize("name", BILLS)
def test_a_hit_saves_the_amount_that_the_provider_billed(name: str) -> None:
    reported, price, lines = BILLS[name]
    usage = _usage(reported)
    assert usage is not None
    billed = sum(tokens * rate for tokens, rate in lines) / 1e6
    kept = cost_of(usage, 1, price)
    assert kept.price == pytest.approx(billed, rel=1e-9)
    # The host shows the same price.
    assert float(to_usage(usage, price).total_price) == pytest.approx(billed, abs=1e-7)


@pytest.mark.parametrize(
    "reported",
    [
        {"prompt_tokens": 10, "completion_tokens": 1, "prompt_tokens_details": "many"},
        {
            "prompt_tokens": 10,
            "completion_tokens": 1,
            "prompt_tokens_details": {"cached_tokens": -5},
        },
        {
            "prompt_tokens": 10,
            "completion_tokens": 1,
            "prompt_tokens_details": {"cached_tokens": 10**12},
        },
        {
            "prompt_tokens": 10,
            "completion_tokens": 1,
            "cache_read_input_tokens": "7",
        },
    ],
)
def test_counts_that_make_no_sense_are_no_counts(reported: dict[str, Any]) -> None:
    assert _usage(reported) == Usage(10, 1)


def test_no_more_is_cached_than_was_sent() -> None:
    reported = {
        "prompt_tokens": 10,
        "completion_tokens": 1,
        "prompt_tokens_details": {"cached_tokens": 99},
    }
    assert _usage(reported) == Usage(10, 1, cached_tokens=10)


@pytest.fixture
def reported(upstream: FakeUpstream) -> dict[str, str]:
    """A form with prices, for a server that reports the use of its prompt cache."""
    usage = {
        "prompt_tokens": 1000,
        "completion_tokens": 10,
        "prompt_tokens_details": {"cached_tokens": 900},
    }
    upstream.script = lambda _: Script(
        events=[
            delta(content="yes"),
            finish(),
            {"choices": [], "usage": usage},
            "[DONE]",
        ]
    )
    return {
        "endpoint_url": upstream.url,
        "context_size": "4096",
        "cache_secret": f"secret-{uuid.uuid4().hex}",
        "cache_options": "price: {input: 1, output: 2, cached_input: 0.1}",
    }


def asked_at(hour: int) -> list[PromptMessage]:
    system = SystemPromptMessage(content=f"It is {hour} o'clock.")
    return [system, UserPromptMessage(content=f"Question {hour}?")]


def test_the_summary_shows_what_the_providers_cache_did(
    reported: dict[str, str],
) -> None:
    for number in range(30):
        ask(reported, asked_at(number))
    ask(reported, asked_at(0))  # a hit, which sends no request upstream
    tools = {
        "cache_secret": reported["cache_secret"],
        "cache_options": reported["cache_options"],
    }
    found = observe.summary(Caller(tools), {})["provider_cache"]
    assert found["tokens"] == {"fresh": 3000, "cached": 27_000, "written": 0}
    assert found["share"] == 0.9
    # 27,000 tokens at 0.1 in place of 1 for a million.
    assert found["saved_money"] == {"USD": pytest.approx(0.0243)}
    assert found["broken_by"] == {"system": pytest.approx(1.0)}
    said = observe.summary_table(observe.summary(Caller(tools), {}))
    assert "at full price 3000, from the provider's cache 27.0k." in said
    assert "The provider's own cache saved: 0.024 USD" in said
    assert "The system prompt differed from one request to the next in 100%" in said


def test_requests_of_one_app_share_their_bytes_up_to_the_question(
    reported: dict[str, str], upstream: FakeUpstream
) -> None:
    """We put nothing that changes between calls before the question or in a header."""
    for question in ("When?", "Where to?"):
        system = SystemPromptMessage(content="You answer for a shop. " * 50)
        ask(reported, [system, UserPromptMessage(content=question)], user=question)
    one, other = (json.dumps(request) for request in upstream.requests)
    assert other.startswith(one[: one.index("When?")])
    first, second = upstream.headers
    assert first.pop("Content-Length") != second.pop("Content-Length")
    assert first == second
