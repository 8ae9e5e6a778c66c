"""python -m bench: what scripts/bench runs. Prints a table and writes JSON."""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from servers import model, redis
from servers.knowledge import fake_knowledge_api

from bench import (
    core_hit,
    crowd,
    embeddings,
    key_cost,
    publishing,
    render,
    retrieve,
    through_host,
)
from bench.measure import Result
from bench.upstream import upstream
from devhost.host import Host
from packager.build import RECIPES, build

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).parent / "results"


def main() -> int:
    """Run every benchmark; 0 if every figure is within its limit."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, under 60 s")
    quick = parser.parse_args().quick
    results = []
    print(f"{'':40} {'ours':>10} {'reference':>10}   figure (quartiles)    limit")
    for result in _results(quick=quick):
        results.append(result)
        low, high = result.spread
        print(
            f"{result.name:40} {result.ours:7.0f} us {result.reference:7.0f} us "
            f"{result.figure:8.3f} {result.unit:2} ({low:.3f} to {high:.3f})  "
            f"{result.limit:g} {result.unit} {'' if result.held else 'MISSED'}",
            flush=True,
        )
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / time.strftime("%Y%m%d-%H%M%S.json")
    path.write_text(json.dumps([asdict(result) for result in results], indent=2))
    return 0 if all(result.held for result in results) else 1


def _results(*, quick: bool) -> Iterator[Result]:
    rounds = 7 if quick else 25
    with ExitStack() as stack:
        store = stack.enter_context(redis.redis_url())
        for size, limit in ((2048, 2.5), (20480, 3.5)):
            yield core_hit.run(store, size=size, limit=limit, rounds=rounds, times=500)
        yield from key_cost.run(rounds=rounds, times=500)
        yield render.run(rounds=rounds, times=200, limit=0.5)
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        host = stack.enter_context(Host(ROOT / ".cache" / "devhost"))
        host.install(build(ROOT, RECIPES[1], scratch))
        form = {
            "context_size": "4096",
            "redis_url": store,
            "cache_namespace": "bench",
            "cache_ttl": "60",
        }
        instant = stack.enter_context(upstream())
        yield through_host.miss_against_off(
            host,
            {**form, "endpoint_url": instant},
            "instant",
            rounds=20 * rounds,
            limit=0.5,
        )
        patient = {**form, "cache_options": "redis_timeout_ms: 1000"}
        if not quick:  # A hundredth needs many.
            # A second, so that 32 in flight do not fill this machine's processors.
            usual = {**patient, "endpoint_url": stack.enter_context(upstream(1.0))}
            yield through_host.misses_at_once(
                host, usual, "usual", rounds=rounds, limit=2
            )
        slow = {**patient, "endpoint_url": stack.enter_context(upstream(0.2))}
        cached = build(ROOT, RECIPES[1], scratch)
        host.install(through_host.plain_package(cached, scratch))
        yield through_host.miss_against_plain(host, slow, "slow", rounds=rounds)
        yield embeddings.run(host, patient, rounds=max(3, rounds // 4), limit=0.05)
        yield _told_against_untold(
            stack, scratch, {**patient, "endpoint_url": instant}, quick=quick
        )
        tools = build(ROOT, RECIPES[0], scratch)
        host.install(tools)
        api = stack.enter_context(fake_knowledge_api())
        yield retrieve.run(
            host, tools, form, api, scratch, rounds=10 * rounds, limit=5.0
        )
        other = stack.enter_context(Host(ROOT / ".cache" / "devhost"))
        other.install(build(ROOT, RECIPES[1], scratch))
        yield from crowd.run((host, other), patient, rounds=max(4, rounds // 2))
        real = stack.enter_context(model.model_server())
        yield through_host.warm_against_cold(
            host, {**form, "endpoint_url": real}, model.NAME, rounds=max(4, rounds // 2)
        )


def _told_against_untold(
    stack: ExitStack, scratch: Path, form: dict[str, str], *, quick: bool
) -> Result:
    package = build(ROOT, RECIPES[1], scratch)
    silent = publishing.silent_package(package, scratch, ROOT)
    pairs = []
    for _ in range(1 if quick else 4):
        host = stack.enter_context(Host(ROOT / ".cache" / "devhost"))
        host.install(package)
        host.install(silent)
        pairs.append(host)
    rounds = 2 if quick else 4
    return publishing.run(pairs, form, "instant", rounds=rounds, limit=1 / 0.97)


if __name__ == "__main__":
    sys.exit(main())
