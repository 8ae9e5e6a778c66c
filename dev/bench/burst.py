"""Many hits at one instant at one plugin process, against single hits.

The floor of ``host_hit`` is called in the same way, by turns. The difference is our
part: the key, the look-up and the entry, beside the SDK's work for a thousand requests.
"""

import statistics
import threading
import time
import uuid
from collections.abc import Iterator, Mapping

import redis

from bench.crowd import paced_upstream
from bench.host_hit import FLOOR
from bench.measure import Result, ratio
from bench.texts import prose
from bench.through_host import PLUGIN, ask
from devhost.host import Host

AT_ONCE = (100, 500, 1000)
IN_FLIGHT = 32


def run(host: Host, form: Mapping[str, str], *, rounds: int) -> Iterator[Result]:
    """The last answer and the median first text of a burst; no request goes upstream."""
    with paced_upstream() as (url, calls):
        namespace = f"bench-{uuid.uuid4().hex[:8]}"
        own = {**form, "endpoint_url": url, "cache_namespace": namespace}
        with redis.Redis.from_url(form["redis_url"]) as client:
            client.set(f"{namespace}:floor", prose(2048), px=3_600_000)
        for plugin in (PLUGIN, FLOOR):
            for _ in range(2):
                _take(host, own, plugin)
        calls.clear()
        for size in AT_ONCE:
            last: dict[str, list[float]] = {PLUGIN: [], FLOOR: []}
            first: dict[str, list[float]] = {PLUGIN: [], FLOOR: []}
            pace: list[float] = []
            for turn in range(rounds + 1):
                for plugin in (PLUGIN, FLOOR)[:: 1 if turn % 2 else -1]:
                    firsts, end = _burst(host, own, plugin, size, size)
                    first[plugin].append(statistics.median(firsts) * 1e6)
                    last[plugin].append(end * 1e6)
                _, end = _burst(host, own, PLUGIN, size, IN_FLIGHT)
                pace.append(end * 1e6)
            name = f"burst of {size:,} hits"
            limit = 1.3 if size == AT_ONCE[-1] else None
            yield ratio(
                f"{name}: last answer / same number, {IN_FLIGHT} in flight",
                *(last[PLUGIN][1:], pace[1:], limit),
            )
            yield ratio(
                f"{name}: last / floor", last[PLUGIN][1:], last[FLOOR][1:], None
            )
            yield ratio(
                f"{name}: first text, median / floor",
                *(first[PLUGIN][1:], first[FLOOR][1:], None),
            )
        if calls:
            raise AssertionError(f"{len(calls)} hits went upstream")


def _burst(
    host: Host, form: Mapping[str, str], plugin: str, size: int, in_flight: int
) -> tuple[list[float], float]:
    """Seconds to each first text, and to the end of the last of ``size`` answers."""
    firsts: list[float] = []
    barrier = threading.Barrier(in_flight + 1)

    def work(count: int) -> None:
        barrier.wait()
        firsts.extend(_take(host, form, plugin) for _ in range(count))

    counts = [len(range(n, size, in_flight)) for n in range(in_flight)]
    threads = [threading.Thread(target=work, args=(count,)) for count in counts]
    for thread in threads:
        thread.start()
    barrier.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    if len(firsts) != size:
        raise AssertionError(f"{len(firsts)} of {size} answered")
    return firsts, time.perf_counter() - began


def _take(host: Host, form: Mapping[str, str], plugin: str) -> float:
    """Seconds to the first text of one answer, which is read to its end."""
    began, first = time.perf_counter(), 0.0
    for chunk in ask(host, form, "m", "the same", plugin):
        if not first and chunk["delta"]["message"]["content"]:
            first = time.perf_counter() - began
    return first
