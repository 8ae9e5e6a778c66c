"""Safe checks with a user's JSON schema, in a process that all users share.

A schema must not fetch anything, take for ever, or delay other requests. References are
replaced by their targets, within a budget. Keywords that can take for ever are refused. The
check counts its steps, lets other requests run between them, and stops at a limit.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, Final

from jsonschema import Draft7Validator
from jsonschema.validators import extend

MAX_NODES: Final = 2000
MAX_DEPTH: Final = 40
# The most steps of a check (a keyword applied to a value, about 10 us), and the number of
# steps after which other requests run.
MAX_STEPS: Final = 30_000
_TURN: Final = 100
# Regular expressions can take exponential time, uniqueItems quadratic.
REFUSED: Final = frozenset({"pattern", "patternProperties", "uniqueItems", "$id", "id"})


class NotCheckable(ValueError):
    """The schema can't be checked within the limits; its answers are not kept."""


_steps: ContextVar[list[int]] = ContextVar("steps")


def is_valid(schema: Mapping[str, Any], answer: Any) -> bool:
    """Whether ``answer`` is valid under Draft 7, which the host uses too.

    Raises NotCheckable if that can't be decided within the limits.
    """
    flattened = flat(schema)
    _steps.set([0])
    if not _Checked(Draft7Validator.META_SCHEMA).is_valid(flattened):
        raise NotCheckable
    return bool(_Checked(flattened).is_valid(answer))


def _counted(keyword: Callable[..., Any]) -> Callable[..., Iterator[Any]]:
    """The keyword's check, which counts itself as a step."""

    def check(*arguments: Any) -> Iterator[Any]:
        steps = _steps.get()
        steps[0] += 1
        if steps[0] > MAX_STEPS:
            raise NotCheckable
        if steps[0] % _TURN == 0:
            time.sleep(0)
        yield from keyword(*arguments) or ()

    return check


_Checked: Final = extend(  # type: ignore[no-untyped-call]
    Draft7Validator,
    {name: _counted(check) for name, check in Draft7Validator.VALIDATORS.items()},
)


def flat(schema: Mapping[str, Any]) -> Any:
    """The schema without references. Raises NotCheckable."""
    return _Flattening(schema).of(schema, 0)


class _Flattening:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._left = MAX_NODES

    def of(self, node: Any, depth: int) -> Any:
        self._left -= 1
        if self._left < 0 or depth > MAX_DEPTH:
            raise NotCheckable
        if isinstance(node, list):
            return [self.of(item, depth + 1) for item in node]
        if not isinstance(node, Mapping):
            return node
        if isinstance(node.get("$ref"), str):
            return self.of(self._named(node["$ref"]), depth + 1)
        inner = {key: node[key] for key in node if key not in ("$defs", "definitions")}
        return {key: self._value(key, inner[key], depth) for key in inner}

    def _value(self, key: str, value: Any, depth: int) -> Any:
        if key == "properties" and isinstance(value, Mapping):
            # Its keys are names of properties, not keywords.
            return {name: self.of(value[name], depth + 1) for name in value}
        if key in REFUSED:
            raise NotCheckable
        return self.of(value, depth + 1)

    def _named(self, reference: str) -> Any:
        if not reference.startswith("#"):
            raise NotCheckable
        node: Any = self._root
        for part in reference.removeprefix("#").strip("/").split("/"):
            if part and not isinstance(node, Mapping):
                raise NotCheckable
            if part:
                node = node.get(part.replace("~1", "/").replace("~0", "~"))
        if node is None:
            raise NotCheckable
        return node
