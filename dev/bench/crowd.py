"""A hundred equal questions at two plugin processes: the upstream calls, and the lag."""

import statistics
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from bench.measure import Result
from bench.through_host import ask
from bench.upstream import events, frame
from devhost.host import Host

CROWD = 100
FIRST_TOKEN, BETWEEN = 0.2, 0.03  # seconds


@contextmanager
def paced_upstream() -> Iterator[tuple[str, list[float]]]:
    """A fake model server with the pace of a model: its base URL, and the times of its calls."""
    calls: list[float] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None: ...

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            calls.append(time.perf_counter())
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            time.sleep(FIRST_TOKEN)
            for event in [*events(), "[DONE]"]:
                self.wfile.write(frame(event))
                self.wfile.flush()
                time.sleep(BETWEEN)
            self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", calls
    finally:
        server.shutdown()
        server.server_close()


def run(
    hosts: tuple[Host, Host], form: Mapping[str, str], *, rounds: int
) -> Iterator[Result]:
    """The followers' first token after the leader's: the median, and the 99th of 100."""
    medians: list[float] = []
    tails: list[float] = []
    with paced_upstream() as (url, calls):
        for _ in range(rounds + 1):
            own = {**form, "endpoint_url": url, "cache_namespace": uuid.uuid4().hex}
            # work that a process does once: reading the form, connecting
            for host in hosts:
                _ask(host, own, "warm", [])
            calls.clear()
            times: list[float] = []
            crowd = [
                threading.Thread(
                    target=_ask, args=(hosts[n % 2], own, "the same", times)
                )
                for n in range(CROWD)
            ]
            for caller in crowd:
                caller.start()
            for caller in crowd:
                caller.join()
            if len(calls) != 1 or len(times) != CROWD:
                raise AssertionError(f"{len(calls)} calls, {len(times)} answers")
            delays = sorted((t - min(times)) * 1e6 for t in times)[1:]
            medians.append(statistics.median(delays))
            tails.append(delays[int(len(delays) * 0.99)])
    for name, values, limit in (
        ("median", medians[1:], 20.0),
        ("p99", tails[1:], 100.0),
    ):
        low, _, high = statistics.quantiles(values, n=4)
        figure = statistics.median(values)
        yield Result(
            f"crowd of {CROWD}: follower - leader, {name}",
            figure,
            0.0,
            figure / 1e3,
            (low / 1e3, high / 1e3),
            limit,
            "ms",
        )


def _ask(
    host: Host, form: Mapping[str, str], question: str, times: list[float]
) -> None:
    first = None
    for _ in ask(host, form, "m", question):
        first = first or time.perf_counter()
    if first is not None:
        times.append(first)
