"""Times to the first token through real plugin processes."""

import statistics
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.measure import Result, by_turns, difference, ratio
from bench.packages import changed
from devhost.host import Host

PLUGIN = "answercache/cached_model"
PLAIN = "answercache/plain_model"
IN_FLIGHT = 32
_SDKS_OWN = """from dify_plugin.interfaces.model.openai_compatible.llm import (
    OAICompatLargeLanguageModel,
)


class PlainLargeLanguageModel(OAICompatLargeLanguageModel):
    pass
"""


def ask(
    host: Host,
    form: Mapping[str, str],
    model: str,
    question: str,
    plugin: str = PLUGIN,
) -> Iterator[Any]:
    """The chunks of an answer, as the host yields them."""
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
    return host.plugin(plugin).process.invoke("model", "invoke_llm", request)


def first_token(
    host: Host,
    form: Mapping[str, str],
    model: str,
    question: str,
    plugin: str = PLUGIN,
) -> float:
    """Microseconds from the request to the first text; the whole answer is read."""
    started, first = time.perf_counter(), None
    for chunk in ask(host, form, model, question, plugin):
        if first is None and chunk["delta"]["message"]["content"]:
            first = time.perf_counter() - started
    if first is None:
        raise AssertionError("the answer had no text")
    return first * 1e6


def warm_against_cold(
    host: Host, form: Mapping[str, str], model: str, *, rounds: int
) -> Result:
    """The same question again, against the model's own first token."""
    # scripts/demo checks by the model's counters that the warm ones are hits.
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
    off = {**form, "cache_ttl": "off"}
    ours, reference = by_turns(
        lambda: first_token(host, form, model, uuid.uuid4().hex),
        lambda: first_token(host, off, model, uuid.uuid4().hex),
        rounds,
    )
    return difference("first token of a miss - cache off", ours, reference, limit)


def miss_in_pairs(
    pair: Callable[[], tuple[Host, Host]],
    form: Mapping[str, str],
    *,
    pairs: int,
    rounds: int,
    limit: float,
) -> Result:
    """The same between two processes, one with the cache on and one with it off.

    Two equal processes differ, so the median of several pairs counts.
    """
    off = {**form, "cache_ttl": "off"}
    ours: list[float] = []
    reference: list[float] = []
    for _ in range(pairs):
        on_host, off_host = pair()
        on, without = by_turns(
            lambda: first_token(on_host, form, "instant", uuid.uuid4().hex),  # noqa: B023
            lambda: first_token(off_host, off, "instant", uuid.uuid4().hex),  # noqa: B023
            rounds,
        )
        ours.append(statistics.median(on))
        reference.append(statistics.median(without))
    name = f"first token of a miss - cache off, {pairs} pairs of processes"
    return difference(name, ours, reference, limit)


def misses_at_once(
    host: Host, form: Mapping[str, str], model: str, *, rounds: int, limit: float
) -> Result:
    """The slowest hundredth of misses, 32 in flight, on against off.

    Each caller asks with the cache on and off by turns, so that both meet the same
    load.
    """
    off = {**form, "cache_ttl": "off"}
    taken: dict[bool, list[float]] = {True: [], False: []}

    def work(number: int) -> None:
        time.sleep(number / IN_FLIGHT)  # as callers arrive, not all at one instant
        for turn in range(2 * rounds):
            on = (turn + number) % 2 == 0
            asked = first_token(host, form if on else off, model, uuid.uuid4().hex)
            if turn > 3:
                taken[on].append(asked)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(IN_FLIGHT)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ours, reference = taken[True], taken[False]
    parts = [
        (_slowest(ours[part::5]) - _slowest(reference[part::5])) / 1e3
        for part in range(5)
    ]
    low, _, high = statistics.quantiles(parts, n=4)
    one, other = _slowest(ours), _slowest(reference)
    return Result(
        f"p99 of misses, {IN_FLIGHT} in flight - cache off",
        one,
        other,
        (one - other) / 1e3,
        (low, high),
        limit,
        "ms",
    )


def _slowest(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[-1]


def plain_package(package: Path, scratch: Path) -> Path:
    """The same package, whose model is the SDK's own OpenAI-compatible class."""
    own = {"models/llm/llm.py": _SDKS_OWN.encode()}
    return changed(package, scratch, "plain_model", own)


def miss_against_plain(
    host: Host, form: Mapping[str, str], model: str, *, rounds: int
) -> Result:
    """A miss, against the SDK's own class at the same model server."""
    plain = {**form, "mode": "chat"}
    ours, reference = by_turns(
        lambda: first_token(host, form, model, uuid.uuid4().hex),
        lambda: first_token(host, plain, model, uuid.uuid4().hex, PLAIN),
        rounds,
    )
    return ratio("first token of a miss / the SDK's class", ours, reference, 1.0)
