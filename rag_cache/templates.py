"""Prompt templates: rendered by Jinja within limits, as in Dify's own Template node.

A template is an untrusted program. It runs in a separate process (``template_worker``).
The kernel ends this process if it takes too much time or memory, so that nobody else
waits for it. Another process starts at once, for the next template.
"""

import json
import logging
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rag_cache import inputs
from rag_cache.errors import BadInput

logger = logging.getLogger(__name__)

MAX_SOURCE: Final = 20_000
_WORKER: Final = Path(__file__).with_name("template_worker.py")
# Seconds after which a silent worker is stuck or starved; it limits its own time.
_PATIENCE: Final = 20.0
_NAMES: Final = 20
_SENTENCES: Final[Mapping[str, str]] = {
    "syntax": "The parameter template is not Jinja in line {line}: {message}.",
    "undefined": "The template uses a value that does not exist: {message}.",
    "forbidden": "The template is not allowed to do this: {message}.",
    "recursion": "The template calls itself too deeply.",
    "size": "The template's text or values are too large; give it less input.",
    "failed": "The template failed: {message}.",
    "gone": (
        "The template took too much time or memory and was stopped; give its loops less "
        "to do, or render it in parts."
    ),
}
# Parameters of the tool that a template can use under their own names.
_FIELDS: Final = {"query": "Query (query)", "context": "Context (context)"}


@dataclass(frozen=True, slots=True)
class Rendered:
    """``hit`` says that the template had been compiled before."""

    text: str
    hit: bool


class _Gone(Exception):
    """The worker ended, or was killed, before it answered."""


class _Worker:
    """The process that renders; started when it is needed. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards all below: one template at a time
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    def ask(self, source: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """The worker's answer. Raises _Gone."""
        line = json.dumps([source, values]).encode() + b"\n"
        with self._lock:
            try:
                place = self._socket or self._start()
                place.sendall(line)
                return self._read(place)
            except (OSError, _Gone):
                self._stop()
                # Start the next worker while nobody waits for it. If this fails, the
                # next caller tries again.
                with suppress(OSError):
                    self._start()
                raise _Gone from None

    def _start(self) -> socket.socket:
        here, there = socket.socketpair()
        with there:
            self._process = subprocess.Popen(  # noqa: S603 - our own file
                [sys.executable, "-I", str(_WORKER), str(there.fileno())],
                pass_fds=[there.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={},  # No settings and no keys.
            )
        here.settimeout(_PATIENCE)
        self._socket = here
        return here

    @staticmethod
    def _read(place: socket.socket) -> dict[str, Any]:
        with place.makefile("rb") as lines:
            line = lines.readline()
        if not line.endswith(b"\n"):
            raise _Gone
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _stop(self) -> None:
        process, self._process = self._process, None
        place, self._socket = self._socket, None
        if place is not None:
            place.close()
        if process is not None:
            process.kill()
            if process.wait() not in (-signal.SIGPROF, -signal.SIGKILL):
                logger.warning("a template ended its process (%s)", process.returncode)

    def close(self) -> None:
        """End the process, if there is one."""
        with self._lock, suppress(OSError):
            self._stop()


worker = _Worker()


def render(parameters: Mapping[str, Any]) -> Rendered:
    """The rendered template. Raises BadInput."""
    source = inputs.required(parameters, "template")
    if len(source) > MAX_SOURCE:
        raise BadInput(
            f"The parameter template may have at most {MAX_SOURCE} characters."
        )
    values = _values(parameters)
    try:
        message = worker.ask(source, values)
    except _Gone:
        raise BadInput(_SENTENCES["gone"]) from None
    kind = message.get("error")
    if kind is None:
        return Rendered(message["text"], message["hit"])
    missing = message.get("missing") or []
    if missing:
        raise BadInput(_missing(missing))
    sentence = _SENTENCES[kind]
    raise BadInput(
        sentence.format(message=message["message"], line=message.get("line", 1))
    )


def _values(parameters: Mapping[str, Any]) -> dict[str, Any]:
    values = inputs.table(parameters, "variables")
    for name in _FIELDS:
        value = parameters.get(name)
        # Dify passes None for a field that is not connected; "" is an empty value.
        if value is not None:
            values = {
                **values,
                name: inputs.data(value) if name == "context" else value,
            }
    passages = inputs.data(parameters.get("context_list"))
    if isinstance(passages, list) and passages:
        values = {**values, "context": passages}
    return values


def _missing(names: list[str]) -> str:
    empty = [_FIELDS[name] for name in names if name in _FIELDS]
    others = [name[:80] for name in names if name not in _FIELDS][:_NAMES]
    advice = []
    if empty:
        advice.append(f"fill in {' and '.join(empty)}")
    if others:
        advice.append(f"add {', '.join(others)} to Variables (variables)")
    return f"The template uses missing values: {'; '.join(advice)}."
