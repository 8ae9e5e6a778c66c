"""scripts/warm against a model that answers at once, and hits while some are audited."""

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import redis

from bench.measure import Result, ratio
from bench.texts import prose
from bench.through_host import ask
from devhost.endpoints import Endpoints
from devhost.host import Host

ROOT = Path(__file__).resolve().parents[2]
TOOLS = "answercache/rag_cache"
_TOKEN = "a-long-random-text"
_CHAT = {"provider": "langgenius/openai/openai", "model": "instant", "mode": "chat"}


def run(
    host: Host, form: Mapping[str, str], scratch: Path, *, pairs: int, limit: float
) -> Iterator[Result]:
    """Pairs stored by ``scripts/warm``, and as many questions asked; in seconds for all."""
    rows = scratch / "pairs.csv"
    said = prose(500).replace('"', "'")
    lines = [f'"Question {number}?","{number} {said}"' for number in range(pairs)]
    rows.write_text("question,answer\n" + "\n".join(lines), encoding="utf-8")
    host.serve("llm", "instant", _instant)
    raw = _raw(form["redis_url"], said, pairs)
    endpoints = Endpoints()
    try:
        for name, path, more, most in (
            ("stored", "", ["store"], limit),
            ("asked through the gateway", "/v1", ["ask", "--model", "instant"], None),
        ):
            settings = {
                **{name: form[name] for name in ("redis_url", "cache_options")},
                "cache_namespace": f"bench-{uuid.uuid4().hex[:8]}",
                "access_token": _TOKEN,
                "chat_model_1": _CHAT,
            }
            url = endpoints.add(host.plugin(TOOLS).process, settings) + path
            taken = _warm([*more, "--rows", str(rows), "--to", url, "--again"])
            what = f"{pairs:,} pairs {name} / SET by redis-py"
            each = taken / pairs * 1e6
            yield Result(what, each, raw, taken, (taken, taken), most, "s")
    finally:
        endpoints.close()


def _warm(arguments: list[str]) -> float:
    command, *rest = arguments
    call = [
        sys.executable,
        "-m",
        "answer_warm",
        command,
        "--key-env",
        "TOKEN",
        "--at-once",
        "16",
        *rest,
    ]
    path = os.pathsep.join([str(ROOT), str(ROOT / "ops" / "warm")])
    began = time.perf_counter()
    subprocess.run(
        call, check=True, env={**os.environ, "PYTHONPATH": path, "TOKEN": _TOKEN}
    )
    return time.perf_counter() - began


def _raw(url: str, said: str, pairs: int) -> float:
    client, name = redis.Redis.from_url(url), f"bench-{uuid.uuid4().hex[:8]}"
    began = time.perf_counter()
    for number in range(pairs):
        client.set(f"{name}:{number}", f"{number} {said}", px=60_000)
    return (time.perf_counter() - began) / pairs * 1e6


def _instant(_: dict[str, Any]) -> Iterator[dict[str, Any]]:
    message = {"role": "assistant", "content": "The answer.", "tool_calls": []}
    usage = {
        **dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens"), 1),
        **dict.fromkeys(
            (
                f"{of}_{what}"
                for of in ("prompt", "completion")
                for what in ("unit_price", "price_unit", "price")
            ),
            "0",
        ),
        "total_price": "0",
        "currency": "USD",
        "latency": 0,
    }
    delta = {"index": 0, "message": message, "finish_reason": "stop", "usage": usage}
    yield {"model": "instant", "delta": delta}


def audited(
    host: Host, form: Mapping[str, str], *, rounds: int, limit: float
) -> Result:
    """A hit's median with five of a hundred audited, against none."""
    some = {**form, "cache_options": form["cache_options"] + ", audit_percent: 5"}

    def hit(how: Mapping[str, str]) -> float:
        began = time.perf_counter()
        for _ in ask(host, how, "instant", "the same"):
            pass
        return (time.perf_counter() - began) * 1e6

    for how in (some, form):
        hit(how)
    ours, reference = [], []
    for number in range(rounds):
        # The first one gets a warmer processor.
        for how in (some, form) if number % 2 else (form, some):
            (ours if how is some else reference).append(hit(how))
    middle = _medians(ours), _medians(reference)
    return ratio("hit with audit_percent: 5 / without", *middle, limit)


def _medians(times: list[float]) -> list[float]:
    size = max(1, len(times) // 20)
    parts = [sorted(times[n : n + size]) for n in range(0, len(times) - size + 1, size)]
    return [part[len(part) // 2] for part in parts]
