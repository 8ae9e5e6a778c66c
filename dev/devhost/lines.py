"""Lines of a plugin's output, read as the daemon reads them."""

import json
from typing import Any

import orjson


def parsed(line: bytes) -> Any:
    """The JSON in a line, as Go reads it; None for anything else.

    orjson is quick, for vectors come in lines of megabytes; what it is stricter about
    than Go (bytes that are no UTF-8, halves of surrogate pairs) is read the slow way.
    """
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(line.decode("utf-8", "replace"), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None


def _no_constant(name: str) -> None:
    # Python reads NaN and Infinity, which are not JSON; Go refuses them.
    raise ValueError(name)
