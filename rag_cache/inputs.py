"""Tool parameters, as Dify hands them over: constants arrive as strings.

See host contract 7.1. An invalid parameter raises BadInput, with one English sentence
that names the parameter.
"""

import ast
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from math import isfinite
from typing import Any, Final

from cachecore import config
from cachecore.policy import Control
from rag_cache.errors import BadInput

_ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# Characters around and between ids: a list may arrive as its text.
_BETWEEN: Final = re.compile(r"[\s,;\[\]'\"]+")
MAX_IDS: Final = 20
# An object with one text field, and the beginning of a next field in an object.
_ONE_TEXT: Final = re.compile(r'\s*\{\s*"(\w+)"\s*:\s*"(.*)"\s*\}\s*', re.DOTALL)
_NEXT_FIELD: Final = re.compile(r'"\s*,\s*"[^"]*"\s*:')
# Longer texts are not parsed: parsing blocks all requests, up to 0.16 s for this many
# characters.
_MAX_LITERAL: Final = 65_536


def text(parameters: Mapping[str, Any], name: str) -> str:
    """The parameter as text: empty if absent, JSON if it is not a string."""
    value = parameters.get(name)
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def data(value: Any) -> Any:
    """The object or list that the text ``value`` holds; else ``value`` itself.

    Into a text parameter, Dify writes an object as JSON and a list as Python does
    (1.13.2: core/workflow/nodes/tool, ``str(value)``).
    """
    if not isinstance(value, str) or value.strip()[:1] not in ("{", "["):
        return value
    with suppress(ValueError, RecursionError):
        return json.loads(value)
    if len(value) <= _MAX_LITERAL:
        with suppress(ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            found = ast.literal_eval(value.strip())
            # A literal that JSON can't express is not a list of Dify's: it stays text.
            return json.loads(json.dumps(found, allow_nan=False))
    return value


def required(parameters: Mapping[str, Any], name: str) -> str:
    """The parameter as text that is not empty."""
    value = text(parameters, name)
    if not value.strip():
        msg = f"The parameter {name} is empty; give it a value or a variable."
        raise BadInput(msg)
    return value


def choice(parameters: Mapping[str, Any], name: str, *choices: str) -> str:
    """One of ``choices``; the first is the default."""
    value = text(parameters, name).strip() or choices[0]
    if value not in choices:
        msg = f"The parameter {name} must be one of {', '.join(filter(None, choices))}."
        raise BadInput(msg)
    return value


def yes(parameters: Mapping[str, Any], name: str) -> bool:
    """A boolean, which may arrive as a string."""
    word = text(parameters, name).strip().lower()
    if word in ("true", "1", "yes", "on"):
        return True
    if word in ("", "false", "0", "no", "off"):
        return False
    msg = f"The parameter {name} must be true or false."
    raise BadInput(msg)


def number(
    parameters: Mapping[str, Any], name: str, low: float, high: float
) -> float | None:
    """A number within bounds; None if it is absent or empty."""
    word = text(parameters, name).strip()
    if not word:
        return None
    try:
        value = float(word)
    except ValueError:
        value = float("nan")
    if not isfinite(value) or not low <= value <= high:
        msg = f"The parameter {name} must be a number from {low:g} to {high:g}."
        raise BadInput(msg)
    return value


def whole(parameters: Mapping[str, Any], name: str, low: int, high: int) -> int | None:
    """A whole number within bounds; None if it is absent or empty."""
    value = number(parameters, name, low, high)
    if value is not None and not value.is_integer():
        msg = f"The parameter {name} must be a whole number from {low} to {high}."
        raise BadInput(msg)
    return None if value is None else int(value)


def table(parameters: Mapping[str, Any], name: str) -> dict[str, Any]:
    """An object, or its JSON text; empty if absent.

    Dify inserts variables into a text unchanged. So line breaks in them are accepted.
    Quotation marks are accepted too in an object with one text field, whose end is
    clear.
    """
    value = parameters.get(name)
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value, parse_constant=_refuse, strict=False)
        except (ValueError, RecursionError):
            one = _ONE_TEXT.fullmatch(value)
            clear = one is not None and not _NEXT_FIELD.search(one[2])
            value = {one[1]: one[2]} if one and clear else ...
    if value in (None, "") or (isinstance(value, str) and not value.strip()):
        return {}
    if not isinstance(value, dict):
        msg = (
            f'The parameter {name} must be a JSON object, as in {{"a": 1}}. If a variable '
            "in it may hold a quotation mark, make the object in a Code node."
        )
        raise BadInput(msg)
    return value


def _refuse(constant: str) -> Any:
    # Python reads NaN and Infinity, which are not JSON.
    raise ValueError(constant)


def control(parameters: Mapping[str, Any], *choices: Control) -> Control:
    """The caller's control: one of ``choices``, or of all controls."""
    words = (one.value for one in choices or Control)
    return Control(choice(parameters, "cache_control", *words))


def lifetime(parameters: Mapping[str, Any]) -> int | None:
    """The lifetime in seconds; None if the credentials decide. Raises ConfigError."""
    word = text(parameters, "cache_ttl").strip()
    return None if word in ("", "default") else config.read_ttl(word)


def tags(parameters: Mapping[str, Any], name: str = "cache_tags") -> tuple[str, ...]:
    """Tags: text with commas, a list, or a list as Dify writes it into a text.

    This function reads all tags, those to store and those to invalidate.
    Raises BadInput or ConfigError.
    """
    given = data(parameters.get(name))
    if isinstance(given, list) and all(isinstance(tag, str) for tag in given):
        return config.read_tags(",".join(given), name)
    if not isinstance(given, str | None):
        msg = f"The parameter {name} takes names, separated by commas."
        raise BadInput(msg)
    return config.read_tags(given or "", name)


def is_id(word: str) -> bool:
    """Whether a word has the form of Dify's ids."""
    return bool(_ID.fullmatch(word.lower()))


def ids(parameters: Mapping[str, Any], name: str, shown: str = "") -> tuple[str, ...]:
    """Ids of datasets, from a list or text with commas: sorted, without duplicates."""
    words = _BETWEEN.sub(" ", text(parameters, name)).lower().split()
    shown = shown or f"The parameter {name}"
    for word in words:
        if not _ID.fullmatch(word):
            msg = (
                f"{shown} takes the ids of knowledge bases, separated by commas; "
                f"{word[:40]!r} is not one. The id is in the knowledge base's address."
            )
            raise BadInput(msg)
    found = tuple(sorted(set(words)))
    if len(found) > MAX_IDS and name != "allowed_datasets":
        raise BadInput(f"{shown} takes at most {MAX_IDS} knowledge bases.")
    return found
