"""Renders prompt templates, in a separate process that may be killed at any moment.

``templates`` starts the process and exchanges messages with it over a socket, one JSON
object in each line. The kernel limits a template: ``ITIMER_PROF`` kills the process
after a fixed processor time, even inside one C call, and ``RLIMIT_AS`` bounds its
memory. Both count only this process's own use, so a busy machine makes no template
fail.

It imports none of our modules: it has no settings, no secrets and no connections.
"""

import json
import resource
import signal
import socket
import sys
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateSyntaxError, UndefinedError, meta
from jinja2.exceptions import SecurityError
from jinja2.sandbox import SandboxedEnvironment

# SECONDS is the processor time for one answer: to compile a new source, and to render
# it. About 150 expressions with a filter compile in this time. MEMORY is in bytes,
# above the memory of the process at rest. MAX_TEXT is the limit of Dify's own Template
# node (TEMPLATE_TRANSFORM_MAX_LENGTH).
SECONDS = 0.032
MEMORY = 64 * 1024 * 1024
MAX_TEXT = 400_000
_REMEMBERED = 256
_MAX_MESSAGE = 200  # characters of an error's own text


class TooLong(Exception):
    """The text is longer than a node may output."""


class Worker:
    """Compiles each template once, like Dify's node; but rejects undefined names."""

    def __init__(self) -> None:
        self._environment = SandboxedEnvironment(undefined=StrictUndefined)
        self._compiled: OrderedDict[str, tuple[Template, frozenset[str]]] = (
            OrderedDict()
        )

    def answer(self, source: str, values: dict[str, Any]) -> dict[str, Any]:
        """``text`` and ``hit``; or ``error``, ``message``, maybe ``missing`` names."""
        kept = self._compiled.get(source)
        try:
            with _within(SECONDS):
                template, names = kept or self._compile(source)
                missing = sorted(names - values.keys())
                return {"text": _rendered(template, values), "hit": kept is not None}
        except TemplateSyntaxError as error:
            return _error("syntax", error.message, line=error.lineno)
        except UndefinedError as error:
            return _error("undefined", error.message, missing=missing)
        except SecurityError as error:
            return _error("forbidden", str(error))
        except RecursionError:
            return _error("recursion")
        except (TooLong, MemoryError, OverflowError):
            return _error("size")
        except Exception as error:  # noqa: BLE001 - a template may raise any error
            return _error("failed", f"{type(error).__name__}: {error}")

    def _compile(self, source: str) -> tuple[Template, frozenset[str]]:
        tree = self._environment.parse(source)
        names = meta.find_undeclared_variables(tree)
        template = self._environment.from_string(tree)
        made = template, frozenset(names - self._environment.globals.keys())
        self._compiled[source] = made
        while len(self._compiled) > _REMEMBERED:
            self._compiled.popitem(last=False)
        return made


def _rendered(template: Template, values: dict[str, Any]) -> str:
    parts, size = [], 0
    for part in template.generate(values):
        size += len(part)
        if size > MAX_TEXT:
            raise TooLong
        parts.append(part)
    return "".join(parts).encode("utf-8", "replace").decode()


def _error(kind: str, message: object = "", **more: Any) -> dict[str, Any]:
    return {"error": kind, "message": str(message)[:_MAX_MESSAGE].rstrip("."), **more}


@contextmanager
def _within(seconds: float) -> Iterator[None]:
    """Limit the body's processor time; after that, the kernel kills this process."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _bound_memory() -> None:
    """Limit the memory to ``MEMORY`` above the present use.

    If the system can't do this, the time limit bounds the memory too.
    """
    with suppress(OSError, ValueError), open("/proc/self/statm") as facts:  # noqa: PTH123
        now = int(facts.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, now + MEMORY))


def main() -> None:
    """Answer until the other end closes the socket."""
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    worker = Worker()
    worker.answer("{{ 1 }}", {})  # Runs all late imports now.
    _bound_memory()
    place = socket.socket(fileno=int(sys.argv[1]))
    place.setblocking(True)  # gevent, at the other end, made both ends non-blocking
    with place, place.makefile("rwb") as pipe:
        for line in pipe:
            message = worker.answer(*json.loads(line))
            pipe.write(json.dumps(message).encode() + b"\n")
            pipe.flush()


if __name__ == "__main__":
    main()
