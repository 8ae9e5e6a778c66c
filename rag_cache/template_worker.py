"""Renders prompt templates, in a process of its own that may be killed at any moment.

``templates`` starts it and speaks with it over a socket, one JSON object a line each
way. The kernel bounds what a template can do: ``ITIMER_PROF`` kills the process after so
much processor time, even inside one call of C, and ``RLIMIT_AS`` bounds its memory. Both
count what this process really used, so that a busy machine refuses nothing.

It imports nothing of ours: it has no settings, no secrets and no connections.
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

# Seconds of processor time for one answer: to compile its source, if that is new, and to
# render it. Some 150 expressions with a filter compile in that time. Bytes of memory
# beyond what the process has at rest; and what Dify's own Template node gives out at most
# (TEMPLATE_TRANSFORM_MAX_LENGTH).
SECONDS = 0.032
MEMORY = 64 * 1024 * 1024
MAX_TEXT = 400_000
_REMEMBERED = 256
_MAX_MESSAGE = 200  # characters of an error's own text


class TooLong(Exception):
    """The text has become longer than a node may put out."""


class Worker:
    """Templates, compiled once. As Dify's Template node has them, but for undefined names."""

    def __init__(self) -> None:
        self._environment = SandboxedEnvironment(undefined=StrictUndefined)
        self._compiled: OrderedDict[str, tuple[Template, frozenset[str]]] = (
            OrderedDict()
        )

    def answer(self, source: str, values: dict[str, Any]) -> dict[str, Any]:
        """``text`` and ``hit``; or ``error``, with ``missing`` names or its own ``message``."""
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
        except Exception as error:  # noqa: BLE001 - what a template provokes is its author's
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
    """Processor time for the body; past it this process is no more."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _bound_memory() -> None:
    """So much more than it has now; where the system can't, the time bounds it too."""
    with suppress(OSError, ValueError), open("/proc/self/statm") as facts:  # noqa: PTH123
        now = int(facts.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, now + MEMORY))


def main() -> None:
    """Answer until the other end is gone."""
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    worker = Worker()
    worker.answer("{{ 1 }}", {})  # What is imported late is imported now.
    _bound_memory()
    place = socket.socket(fileno=int(sys.argv[1]))
    place.setblocking(True)  # gevent, at the other end, has made both ends otherwise
    with place, place.makefile("rwb") as pipe:
        for line in pipe:
            message = worker.answer(*json.loads(line))
            pipe.write(json.dumps(message).encode() + b"\n")
            pipe.flush()


if __name__ == "__main__":
    main()
