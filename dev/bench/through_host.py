"""Times to the first token through real plugin processes."""

import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from bench.measure import Result, by_turns, difference, ratio
from devhost.host import Host

PLUGIN = "answercache/cached_model"


def ask(
    host: Host, form: Mapping[str, str], model: str, question: str
) -> Iterator[Any]:
    """The chunks of an answer, as the host gives them."""
    request: dict[str, Any] = {
        "provider": "cached_model",
        "model_type": "llm",
        "model": model,
        "credentials": form,
        "model_parameters": {"temperature": 0, "max_tokens": 24},
        "prompt_messages": [
            {
                "role": "system",
                "content": "You are the assistant of a lamp shop. " * 20,
            },
            {"role": "user", "content": question},
        ],
        "tools": None,
        "stop": ["."],
        "stream": True,
    }
    return host.plugin(PLUGIN).process.invoke("model", "invoke_llm", request)


def first_token(
    host: Host, form: Mapping[str, str], model: str, question: str
) -> float:
    """Microseconds from the request to the first text, all of the answer read."""
    started, first = time.perf_counter(), None
    for chunk in ask(host, form, model, question):
        if first is None and chunk["delta"]["message"]["content"]:
            first = time.perf_counter() - started
    if first is None:
        raise AssertionError("the answer had no text")
    return first * 1e6


def warm_against_cold(
    host: Host, form: Mapping[str, str], model: str, *, rounds: int
) -> Result:
    """The same question again, against the model's own first token."""
    # That the warm ones are hits is what scripts/demo checks by the model's counters.
    cold: list[float] = []
    warm: list[float] = []
    for number in range(rounds):
        question = f"Question {number}: how long does delivery take?"
        always = {**form, "cache_namespace": f"bench-{uuid.uuid4().hex[:8]}"}
        cold.append(first_token(host, always, model, question))
        warm.append(first_token(host, always, model, question))
    return ratio("first token, warm / cold, real model", warm, cold, 0.05)


def miss_against_off(
    host: Host, form: Mapping[str, str], model: str, *, rounds: int, limit: float
) -> Result:
    """A miss with the cache on, against the same plugin with the cache off."""
    off = {**form, "cache_mode": "off"}
    ours, reference = by_turns(
        lambda: first_token(host, form, model, uuid.uuid4().hex),
        lambda: first_token(host, off, model, uuid.uuid4().hex),
        rounds,
    )
    return difference("first token of a miss - cache off", ours, reference, limit)
