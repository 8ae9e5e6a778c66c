"""The first token of a stale answer that is served instead of a model that hangs."""

import json
import statistics
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from bench.measure import Result, quartiles
from bench.through_host import first_token
from bench.upstream import events, frame
from devhost.host import Host

_BUDGET = 800  # milliseconds
_HANGS = 3.0  # seconds: longer than the limit for any answer
_AT_ONCE = 4


class _Server(ThreadingHTTPServer):
    hangs = threading.Event()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.hangs.is_set():
            time.sleep(_HANGS)
        data = b"".join(map(frame, events())) + b"data: [DONE]\n\n"
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def _upstream() -> Iterator[tuple[str, threading.Event]]:
    """A model server that answers at once until its event is set, and then hangs."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.hangs = threading.Event()
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", server.hangs
    finally:
        server.shutdown()
        server.server_close()


def run(host: Host, form: Mapping[str, str], *, questions: int, limit: float) -> Result:
    """The 99th percentile in ms, with a budget of 800; a few questions at a time."""
    options = (
        f"ttl_seconds: 1, stale_if_error_seconds: 600, first_token_budget_ms: {_BUDGET}, "
        "redis_timeout_ms: 1000"
    )
    with _upstream() as (url, hangs):
        own = {**form, "endpoint_url": url, "cache_options": options}
        asked = [json.dumps([time.time(), number]) for number in range(questions)]
        for question in asked:
            first_token(host, own, "late", question)
        time.sleep(1.3)
        hangs.set()
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            taken = list(
                pool.map(lambda one: first_token(host, own, "late", one), asked)
            )
    times = sorted(one / 1e3 for one in taken)
    last = times[int(0.99 * len(times))]
    middle = statistics.median(times)
    name = f"first token of a stale answer, p99, budget {_BUDGET} ms"
    return Result(
        name, last * 1e3, _BUDGET * 1e3, last, quartiles([middle, *times]), limit, "ms"
    )
