"""Real programs for tests: find them, start them, wait, stop them by their id."""

import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http import HTTPStatus
from pathlib import Path

# The packages of Debian and its derivatives that contain them.
PACKAGES = {
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "nginx": "nginx-light",
    "rabbitmq-server": "rabbitmq-server",
    "epmd": "erlang-base",
    "chromium": "chromium",
    "java": "default-jdk-headless",
    "mvn": "maven",
}
_PLACES = ("/usr/sbin", "/usr/local/sbin", "/usr/lib/rabbitmq/bin")


class Missing(Exception):
    """A program is not installed; ``str`` says how to install it."""


def find(name: str, *, before: tuple[str, ...] = ()) -> str:
    """The path of a program; looks in ``before`` first. Raises Missing."""
    path = os.pathsep.join((*before, os.environ.get("PATH", ""), *_PLACES))
    found = shutil.which(name, path=path)
    if found is None:
        package = PACKAGES.get(name, name)
        raise Missing(
            f"{name} is not installed; with Debian: apt-get install {package}"
        )
    return found


@contextmanager
def running(
    *argv: str,
    ready: Callable[[], bool],
    within: float = 20.0,
    env: Mapping[str, str] | None = None,
    log: Path | None = None,
) -> Iterator["subprocess.Popen[bytes]"]:
    """A running program: enters when ``ready`` is true, stops it at the end."""
    output = (log or Path(os.devnull)).open("wb")
    process = subprocess.Popen(
        argv,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=None if env is None else {**os.environ, **env},
        start_new_session=True,
    )
    try:
        wait(ready, within, lambda: _ended(process, argv[0], log))
        yield process
    finally:
        stop(process)
        output.close()


def listens(port: int) -> bool:
    """Whether a server listens at a port."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def answers(url: str) -> bool:
    """Whether a GET gets status 200."""
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:
            return bool(reply.status == HTTPStatus.OK)
    except OSError:
        return False


def wait(
    ready: Callable[[], bool], within: float, check: Callable[[], None] = lambda: None
) -> None:
    """Return when ``ready`` is true; raises TimeoutError after ``within`` seconds."""
    ends = time.monotonic() + within
    while not ready():
        check()
        if time.monotonic() > ends:
            raise TimeoutError(f"not ready within {within:g} s")
        time.sleep(0.05)


def stop(process: "subprocess.Popen[bytes]", within: float = 10.0) -> None:
    """End a program and the programs that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(within)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _ended(process: "subprocess.Popen[bytes]", name: str, log: Path | None) -> None:
    if process.poll() is not None:
        said = log.read_text(errors="replace")[-2000:] if log else ""
        raise RuntimeError(f"{name} ended with {process.returncode}: {said}")
