"""A hit through the real plugin process, against the floor of the same SDK.

The floor is the same package with another model, which answers a constant after one raw
GET. The difference is our part: the key, the look-up and the entry.
"""

import statistics
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import redis

from bench.measure import Result, quartiles, ratio
from bench.packages import changed
from bench.publishing import processor
from bench.texts import prose
from bench.through_host import PLUGIN, ask
from devhost.host import Host

FLOOR = "answercache/floor_model"
_MAIN = """from dify_plugin import DifyPluginEnv, Plugin

plugin = Plugin(DifyPluginEnv(MAX_REQUEST_TIMEOUT=600))

if __name__ == "__main__":
    plugin.run()
"""
_MODEL = """from collections.abc import Generator
from typing import Any

import redis
from dify_plugin.entities import I18nObject
from dify_plugin.entities.model import (
    AIModelEntity,
    FetchFrom,
    ModelPropertyKey,
    ModelType,
    ParameterRule,
    ParameterType,
)
from dify_plugin.entities.model.llm import LLMResultChunk, LLMResultChunkDelta, LLMUsage
from dify_plugin.entities.model.message import AssistantPromptMessage
from dify_plugin.interfaces.model.large_language_model import LargeLanguageModel

_CLIENTS: dict[str, redis.Redis] = {}
_USAGE = LLMUsage.empty_usage()


_PARAMETERS = [
    ParameterRule(
        name=name, use_template=name, label=I18nObject(en_us=name), type=kind
    )
    for name, kind in (("temperature", ParameterType.FLOAT), ("max_tokens", ParameterType.INT))
]


class FloorLargeLanguageModel(LargeLanguageModel):
    def _invoke(
        self, model: str, credentials: dict[str, Any], *_: Any, **__: Any
    ) -> Generator[LLMResultChunk, None, None]:
        url = credentials["redis_url"]
        client = _CLIENTS.get(url)
        if client is None:
            client = _CLIENTS[url] = redis.Redis.from_url(url)
        text = client.get(credentials["cache_namespace"] + ":floor").decode()
        yield LLMResultChunk(
            model=model,
            delta=LLMResultChunkDelta(
                index=0,
                message=AssistantPromptMessage(content=text),
                usage=_USAGE,
                finish_reason="stop",
            ),
        )

    def get_customizable_model_schema(
        self, model: str, credentials: dict[str, Any]
    ) -> AIModelEntity:
        return AIModelEntity(
            model=model,
            label=I18nObject(en_us=model),
            model_type=ModelType.LLM,
            fetch_from=FetchFrom.CUSTOMIZABLE_MODEL,
            model_properties={ModelPropertyKey.CONTEXT_SIZE: 4096},
            parameter_rules=_PARAMETERS,
        )

    def get_num_tokens(self, *_: Any, **__: Any) -> int:
        return 0

    def validate_credentials(self, *_: Any, **__: Any) -> None: ...

    @property
    def _invoke_error_mapping(self) -> dict[Any, Any]:
        return {}
"""


def floor_package(package: Path, scratch: Path) -> Path:
    """The package whose model is the floor."""
    own = {"models/llm/llm.py": _MODEL.encode(), "main.py": _MAIN.encode()}
    return changed(package, scratch, "floor_model", own)


@dataclass
class Taken:
    """Microseconds to the first text and to the end; processor time; hits a second."""

    first: float
    end: float
    processor: float
    rate: float


def run(
    host: Host,
    form: Mapping[str, str],
    *,
    size: int,
    in_flight: int,
    rounds: int,
    seconds: float,
) -> Iterator[Result]:
    """First text, end, and hits a second; the model of ``form`` answers prose(size)."""
    own = {**form, "cache_namespace": f"bench-{uuid.uuid4().hex[:8]}"}
    client = redis.Redis.from_url(form["redis_url"])
    client.set(f"{own['cache_namespace']}:floor", prose(size), px=600_000)
    for plugin in (PLUGIN, FLOOR):
        for _ in range(2):
            said = "".join(
                chunk["delta"]["message"]["content"]
                for chunk in ask(host, own, "m", "the same", plugin)
            )
        if said != prose(size):
            raise AssertionError(f"{plugin} gives another answer")
    pairs = [
        tuple(turn(host, own, p, in_flight, seconds) for p in (PLUGIN, FLOOR))
        for _ in range(rounds + 1)
    ][1:]
    ours, floor = [a for a, _ in pairs], [b for _, b in pairs]
    what = f"{size // 1024} KB, {in_flight} in flight"
    for name, part in (("first text", "first"), ("end", "end")):
        yield ratio(
            f"host hit / floor, {name}, {what}",
            [getattr(taken, part) for taken in ours],
            [getattr(taken, part) for taken in floor],
            1.25,
        )
    rates = [a.rate / b.rate for a, b in zip(ours, floor, strict=True)]
    yield Result(
        f"hits a second / the floor's, {what}",
        statistics.median(taken.rate for taken in ours),
        statistics.median(taken.rate for taken in floor),
        statistics.median(rates),
        quartiles(rates),
        0.85,
        of="/s",
        least=True,
    )
    yield ratio(
        f"processor time of a host hit / floor, {what}",
        [taken.processor for taken in ours],
        [taken.processor for taken in floor],
        None,
    )


def turn(
    host: Host, form: Mapping[str, str], plugin: str, in_flight: int, seconds: float
) -> Taken:
    """One process, asked for hits for about ``seconds``."""
    ends = time.monotonic() + seconds
    firsts: list[float] = []
    lasts: list[float] = []
    pid = host.plugin(plugin).process.pid

    def work() -> None:
        while time.monotonic() < ends:
            began, first = time.perf_counter(), None
            for _ in ask(host, form, "m", "the same", plugin):
                first = first or time.perf_counter()
            lasts.append((time.perf_counter() - began) * 1e6)
            firsts.append(((first or began) - began) * 1e6)

    used, began = processor(pid), time.perf_counter()
    threads = [threading.Thread(target=work) for _ in range(in_flight)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - began
    return Taken(
        statistics.median(firsts),
        statistics.median(lasts),
        (processor(pid) - used) / len(lasts) * 1e6,
        len(lasts) / took,
    )
