"""The benchmarks, their limits, and the servers and packages that they share."""

import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path

from servers import model, redis
from servers.knowledge import fake_knowledge_api

from bench import (
    apart,
    burst,
    crowd,
    embeddings,
    growth,
    host_hit,
    key_cost,
    late,
    meaning,
    memory,
    publishing,
    render,
    replay,
    retrieve,
    through_host,
    traffic,
    warming,
)
from bench.measure import Result
from bench.peers import installing
from bench.upstream import upstream
from devhost.host import Host
from packager.build import RECIPES, build

ROOT = Path(__file__).resolve().parents[2]
TOOLS, MODELS = RECIPES[:2]
_LIMITS = {2048: 2.0, 20480: 3.5}
# The required multiple of others' hits, and the hits in a round.
_PEERS: Mapping[str, tuple[float | None, int]] = {
    "dogpile.cache": (None, 200),
    "LangChain RedisCache": (3.0, 60),
    "BetterDB agent-cache": (3.0, 100),
    "LiteLLM SDK": (40.0, 10),
}


class Bench:
    """The shared parts of benchmarks: a Redis, packages, hosts, model servers."""

    def __init__(self, stack: ExitStack, *, quick: bool) -> None:
        self.stack, self.quick = stack, quick
        self.rounds = 7 if quick else 25

    @cached_property
    def redis(self) -> str:
        return self.stack.enter_context(redis.redis_url())

    @cached_property
    def scratch(self) -> Path:
        return Path(self.stack.enter_context(tempfile.TemporaryDirectory()))

    @cached_property
    def package(self) -> Path:
        return build(ROOT, MODELS, self.scratch)

    @cached_property
    def host(self) -> Host:
        """A host with our models, the SDK's own and the floor."""
        host = self.new_host()
        host.install(self.package)
        host.install(through_host.plain_package(self.package, self.scratch))
        host.install(host_hit.floor_package(self.package, self.scratch))
        return host

    def new_host(self) -> Host:
        return self.stack.enter_context(Host(ROOT / ".cache" / "devhost"))

    def pair(self) -> tuple[Host, Host]:
        """Two new hosts with our models."""
        hosts = self.new_host(), self.new_host()
        for host in hosts:
            host.install(self.package)
        return hosts

    def upstream(self, delay: float = 0.0, size: int = 0) -> str:
        return self.stack.enter_context(upstream(delay, size))

    @property
    def form(self) -> dict[str, str]:
        """A model's form without its endpoint; a machine that was idle may be slow."""
        return {
            "context_size": "4096",
            "redis_url": self.redis,
            "cache_namespace": "bench",
            "cache_ttl": "600",
            "cache_options": "redis_timeout_ms: 1000",
        }


def _core(bench: Bench) -> Iterator[Result]:
    ways = (
        [(1, False)]
        if bench.quick
        else [(1, False), (32, False), (1, True), (32, True)]
    )
    for size, limit in _LIMITS.items():
        for callers, gevent in ways:
            yield from apart.run(
                "bench.core_hit",
                "run",
                gevent=gevent,
                redis_url=bench.redis,
                size=size,
                limit=limit if callers == 1 and not gevent else None,
                rounds=bench.rounds,
                times=300,
                callers=callers,
            )
    yield from key_cost.run(rounds=bench.rounds, times=300)


def _peers(bench: Bench) -> Iterator[Result]:
    if bench.quick:
        return
    python = installing.python()
    if python is None:
        print("  the other caches can't be installed here: left out", file=sys.stderr)
        return
    for size in _LIMITS:
        url = bench.upstream(size=size)
        for peer, (limit, times) in _PEERS.items():
            for callers in (1, 32):
                yield from apart.run(
                    "bench.peers.hits",
                    "run",
                    python=python,
                    peer=peer,
                    redis_url=bench.redis,
                    upstream=url,
                    size=size,
                    callers=callers,
                    rounds=9,
                    times=max(times, callers),
                    limit=limit if callers == 1 else None,
                )


def _host(bench: Bench) -> Iterator[Result]:
    for size in (2048,) if bench.quick else (2048, 20480):
        form = {**bench.form, "endpoint_url": bench.upstream(size=size)}
        for in_flight in (1, 32):
            yield from host_hit.run(
                bench.host,
                form,
                size=size,
                in_flight=in_flight,
                rounds=3 if bench.quick else 15,
                seconds=0.4 if bench.quick else 1.0,
            )


def _miss(bench: Bench) -> Iterator[Result]:
    instant = {**bench.form, "endpoint_url": bench.upstream()}
    yield through_host.miss_against_off(
        bench.host, instant, "instant", rounds=20 * bench.rounds, limit=0.5
    )
    if not bench.quick:
        yield through_host.miss_in_pairs(
            bench.pair, instant, pairs=10, rounds=60, limit=0.5
        )
    slow = {**bench.form, "endpoint_url": bench.upstream(0.2)}
    yield through_host.miss_against_plain(bench.host, slow, "slow", rounds=bench.rounds)
    if not bench.quick:
        # A second, so that 32 in flight do not take all of this machine's processors.
        usual = {**bench.form, "endpoint_url": bench.upstream(1.0)}
        yield through_host.misses_at_once(
            bench.host, usual, "usual", rounds=bench.rounds, limit=2
        )


def _crowd(bench: Bench) -> Iterator[Result]:
    other = bench.new_host()
    other.install(bench.package)
    rounds = max(4, bench.rounds // 2)
    yield from crowd.run((bench.host, other), bench.form, rounds=rounds)


def _burst(bench: Bench) -> Iterator[Result]:
    yield from burst.run(bench.host, bench.form, rounds=3 if bench.quick else 5)


def _replay(bench: Bench) -> Iterator[Result]:
    python = installing.python()
    if python is not None and not bench.quick:
        url = bench.upstream(size=20480)
        form = {**bench.form, "endpoint_url": url}
        yield replay.run(bench.host, form, python, bench.redis, url, limit=50.0)


def _knowledge(bench: Bench) -> Iterator[Result]:
    tools = build(ROOT, TOOLS, bench.scratch)
    host = bench.new_host()
    host.install(tools)
    api = bench.stack.enter_context(fake_knowledge_api())
    yield retrieve.run(
        host, tools, bench.form, api, bench.scratch, rounds=10 * bench.rounds, limit=5.0
    )
    if not bench.quick:
        yield retrieve.after_a_while(host, bench.form, api, rounds=5)
    yield render.run(rounds=bench.rounds, times=200, limit=0.5)
    rounds = max(3, bench.rounds // 4)
    yield embeddings.run(bench.host, bench.form, rounds=rounds, limit=0.05)


def _warming(bench: Bench) -> Iterator[Result]:
    form = {**bench.form, "endpoint_url": bench.upstream(size=2048)}
    yield warming.audited(
        bench.host, form, rounds=200 if bench.quick else 2000, limit=1.01
    )
    if bench.quick:
        return
    yield late.run(bench.host, bench.form, questions=100, limit=820)
    host = bench.new_host()
    host.install(build(ROOT, TOOLS, bench.scratch))
    yield from warming.run(host, bench.form, bench.scratch, pairs=10_000, limit=60)


def _publishing(bench: Bench) -> Iterator[Result]:
    if bench.quick:
        return
    unpublished = publishing.unpublished_package(bench.package, bench.scratch, ROOT)
    pairs = []
    for _ in range(4):
        host = bench.new_host()
        host.install(bench.package)
        host.install(unpublished)
        pairs.append(host)
    form = {**bench.form, "endpoint_url": bench.upstream()}
    for events in ("sizes", "off"):
        limit = 1 / 0.97 if events == "sizes" else None
        yield publishing.run(pairs, form, events=events, rounds=4, limit=limit)


def _memory(bench: Bench) -> Iterator[Result]:
    if not bench.quick:
        yield from memory.run()


def _traffic(bench: Bench) -> Iterator[Result]:
    if bench.quick:
        yield from traffic.run(requests=2_000, laws=(1.1,), quick=True)
    else:
        yield from traffic.run(requests=20_000)


def _growth(bench: Bench) -> Iterator[Result]:
    if bench.quick:
        return
    yield from growth.entries(rounds=9, times=300, most=10**6)
    yield from growth.values(bench.redis, rounds=9, times=300)
    yield from growth.tags(bench.redis, rounds=9, times=300)
    yield from apart.run(
        "bench.growth",
        "callers",
        gevent=True,
        redis_url=bench.redis,
        rounds=9,
        times=600,
    )


def _real_model(bench: Bench) -> Iterator[Result]:
    if bench.quick:
        return
    real = bench.stack.enter_context(model.model_server())
    form = {**bench.form, "endpoint_url": real}
    rounds = max(4, bench.rounds // 2)
    yield through_host.warm_against_cold(bench.host, form, model.NAME, rounds=rounds)


GROUPS: Mapping[str, Callable[[Bench], Iterator[Result]]] = {
    "core": _core,
    "peers": _peers,
    "host": _host,
    "miss": _miss,
    "crowd": _crowd,
    "burst": _burst,
    "replay": _replay,
    "knowledge": _knowledge,
    "warming": _warming,
    "meaning": lambda bench: iter(()) if bench.quick else meaning.run(),
    "publishing": _publishing,
    "memory": _memory,
    "traffic": _traffic,
    "growth": _growth,
    "model": _real_model,
}
