"""T1, T3, P7: the package in an environment that has only its requirements."""

import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from itertools import product
from pathlib import Path

from servers.redis import free_port

from devhost.environment import find_uv
from packager.checks.package import Built

START_LIMIT = 5.0  # seconds; the marketplace allows 20
_SOON = 0.05
_STARTED = b"Serving Flask app"
_LOADS = """
import socket, sys
def refuse(*_): raise OSError("no network while loading")
socket.socket.connect = refuse
socket.getaddrinfo = refuse
import main
found = main.plugin.registration
print("loaded", found.configuration.name)
"""
# The daemon's version, and the next one, which the SDK allows.
VERSIONS = ("3.12", "3.13")
_PLATFORMS = ("x86_64-manylinux_2_28", "aarch64-manylinux_2_28")


def wheels(built: Built) -> Iterator[str]:
    """Whether all requirements have wheels, on both processors, for each Python."""
    for version, platform in product(VERSIONS, _PLATFORMS):
        done = subprocess.run(
            [
                *(find_uv(), "pip", "compile", "--quiet", "--only-binary", ":all:"),
                *("--python-version", version, "--python-platform", platform),
                str(built.folder / "requirements.txt"),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            yield f"{version}, {platform}: {done.stderr.strip()[-300:]}"


@cache
def interpreter(version: str) -> str | None:
    """A Python of this version on this machine, or None."""
    pyenv = Path.home() / ".pyenv" / "versions"
    found = sorted(pyenv.glob(f"{version}.*/bin/python"))
    for candidate in (shutil.which(f"python{version}"), *map(str, found)):
        if candidate is None:
            continue
        call = [candidate, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        done = subprocess.run(call, capture_output=True, text=True, check=False)
        if done.stdout.strip() == version:
            return candidate
    return None


def installs(built: Built, version: str, resolution: str) -> Iterator[str]:
    """Whether it starts in serverless mode, with this ``resolution`` of its requirements."""
    base = interpreter(version)
    assert base is not None, version
    made = built.folder.parent / f"{built.folder.name}-{version}-{resolution}"
    python = made / "bin" / "python"
    own = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "VIRTUAL_ENV"))
    }
    for command in (
        [find_uv(), "venv", "--quiet", "--python", base, str(made)],
        [
            *(find_uv(), "pip", "install", "--quiet", "--python", str(python)),
            *("--only-binary", ":all:", "--resolution", resolution),
            *("--requirement", str(built.folder / "requirements.txt")),
        ],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            yield f"does not install: {done.stderr.strip()[-300:]}"
            return
    yield from _loads(built, python, own)
    yield from _serves(built, python, own)


def _loads(built: Built, python: Path, environ: Mapping[str, str]) -> Iterator[str]:
    done = subprocess.run(
        [str(python), "-c", _LOADS],
        cwd=built.folder,
        env={**environ, "INSTALL_METHOD": "local"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if f"loaded {built.manifest['name']}" not in done.stdout:
        yield f"does not load without a network: {done.stderr.strip()[-500:]}"


def _serves(built: Built, python: Path, environ: Mapping[str, str]) -> Iterator[str]:
    port = free_port()
    own = {
        **environ,
        "INSTALL_METHOD": "serverless",
        "SERVERLESS_HOST": "127.0.0.1",
        "SERVERLESS_PORT": str(port),
        "PYTHONUNBUFFERED": "1",
    }
    started = time.monotonic()
    process = subprocess.Popen(
        [str(python), "-m", "main"],
        cwd=built.folder,
        env=own,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        while not _answers(port):
            if process.poll() is not None or time.monotonic() - started > START_LIMIT:
                yield f"did not answer within {START_LIMIT:g} s"
                break
            time.sleep(_SOON)
    finally:
        process.kill()
        said = process.communicate()[0]
    if _STARTED not in said:
        yield f"did not say {_STARTED.decode()!r}: {said.decode()[-300:]}"


def _answers(port: int) -> bool:
    with suppress(OSError):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=1).close()
        except urllib.error.HTTPError as error:
            return error.code == 404
        return True
    return False
