"""A batch of known texts, against the same batch at the model server."""

import json
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from bench.measure import Result, by_turns, ratio
from bench.through_host import PLUGIN
from devhost.host import Host

TEXTS = 64
DIMENSIONS = 1536
# The model server's seconds for a call, and for each text of it.
CALL, TEXT = 0.005, 0.02


@contextmanager
def embedding_server() -> Iterator[tuple[str, list[int]]]:
    """A fake model server: its base URL, and the number of texts of each call."""
    calls: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def log_message(self, *_: Any) -> None: ...

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            texts = json.loads(self.rfile.read(length))["input"]
            calls.append(len(texts))
            time.sleep(CALL + TEXT * len(texts))
            data = [
                {
                    "index": n,
                    "embedding": [len(text) / (k + 3) for k in range(DIMENSIONS)],
                }
                for n, text in enumerate(texts)
            ]
            usage = {"prompt_tokens": 9 * len(texts), "total_tokens": 9 * len(texts)}
            body = json.dumps({"data": data, "usage": usage}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", calls
    finally:
        server.shutdown()
        server.server_close()


def embed(host: Host, form: Mapping[str, str], texts: list[str]) -> float:
    """Microseconds for a batch."""
    request = {
        "provider": "cached_model",
        "model_type": "text-embedding",
        "model": "vectors",
        "credentials": form,
        "texts": texts,
        "input_type": "document",
    }
    process = host.plugin(PLUGIN).process
    started = time.perf_counter()
    (answer,) = process.invoke("model", "invoke_text_embedding", request)
    taken = (time.perf_counter() - started) * 1e6
    if len(answer["embeddings"]) != len(texts):
        raise AssertionError("the vectors are not one for each text")
    return taken


def run(host: Host, form: Mapping[str, str], *, rounds: int, limit: float) -> Result:
    """All texts known, against none; and if one is new, exactly that one is sent."""
    texts = [f"{uuid.uuid4().hex} and what follows it" for _ in range(TEXTS)]
    with embedding_server() as (url, calls):
        given = {**form, "endpoint_url": url, "max_chunks": str(TEXTS)}
        embed(host, given, texts)
        calls.clear()
        embed(host, given, [*texts[1:], "a new one"])
        if calls != [1]:
            raise AssertionError(f"one text was new, and {calls} were sent")
        off = {**given, "cache_ttl": "off"}
        ours, reference = by_turns(
            lambda: embed(host, given, texts), lambda: embed(host, off, texts), rounds
        )
        if sum(calls) != 1 + TEXTS * (rounds + 1):
            raise AssertionError("known texts were sent")
    return ratio(f"{TEXTS} known embeddings / unknown", ours, reference, limit)
