"""A user's JSON schema, made harmless: it is run on answers in everyone's process.

Validation does not yield to other requests, so a schema must not be able to
take long, nor to fetch anything: references are put in place of themselves,
within a budget, and what can take forever is refused.
"""

from collections.abc import Mapping
from typing import Any, Final

MAX_NODES: Final = 2000
MAX_DEPTH: Final = 40
# Regular expressions can take exponential time, uniqueItems quadratic.
REFUSED: Final = frozenset({"pattern", "patternProperties", "uniqueItems", "$id", "id"})


class NotCheckable(ValueError):
    """The schema can't be checked within bounds; its answers are not kept."""


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
            # Its keys are names of an answer's, not words of the schema.
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
