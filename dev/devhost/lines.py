"""Lines of a plugin's output, read as the daemon reads them."""

import json
from typing import Any

import orjson


def parsed(line: bytes) -> Any:
    """The JSON in a line, as Go reads it; None for anything else.

    orjson is fast, and a line of vectors has megabytes. Where orjson is stricter than
    Go (bytes that are not UTF-8, half surrogate pairs), the standard library reads the
    line.
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
    # Python accepts NaN and Infinity, which are not JSON; Go refuses them.
    raise ValueError(name)
