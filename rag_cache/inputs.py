"""Tool parameters, as Dify hands them over: constants arrive as strings.

See host contract 7.1. Each mistake is a BadInput with one English sentence
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
# What may stand around and between ids: a list may have become its own text.
_BETWEEN: Final = re.compile(r"[\s,;\[\]'\"]+")
MAX_IDS: Final = 20
# An object of one text, and what looks like the next field of an object.
_ONE_TEXT: Final = re.compile(r'\s*\{\s*"(\w+)"\s*:\s*"(.*)"\s*\}\s*', re.DOTALL)
_NEXT_FIELD: Final = re.compile(r'"\s*,\s*"[^"]*"\s*:')
# Longer ones would take all requests' time to read: up to 0.16 s for so many characters.
_MAX_LITERAL: Final = 65_536


def text(parameters: Mapping[str, Any], name: str) -> str:
    """The parameter as text: empty if absent, JSON if it is not a string."""
    value = parameters.get(name)
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def data(value: Any) -> Any:
    """An object or a list, where ``value`` is the text of one; else ``value`` itself.

    Into a parameter for text Dify writes an object as JSON and a list as Python does
    (1.13.2: core/workflow/nodes/tool, ``str(value)``).
    """
    if not isinstance(value, str) or value.strip()[:1] not in ("{", "["):
        return value
    with suppress(ValueError, RecursionError):
        return json.loads(value)
    if len(value) <= _MAX_LITERAL:
        with suppress(ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            found = ast.literal_eval(value.strip())
            # What JSON can't say is no list of Dify's: it stays the text that it is.
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
    """A boolean that may have become a string on its way."""
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

    Dify puts variables into a text as they are. Line breaks in them are accepted, and so
    are quotation marks in an object of one text, whose end is clear.
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
    """What the caller asks of the cache; any of ``choices``, or of all."""
    words = (one.value for one in choices or Control)
    return Control(choice(parameters, "cache_control", *words))


def lifetime(parameters: Mapping[str, Any]) -> int | None:
    """Seconds; None where the credentials decide. Raises ConfigError."""
    word = text(parameters, "cache_ttl").strip()
    return None if word in ("", "default") else config.read_ttl(word)


def tags(parameters: Mapping[str, Any], name: str = "cache_tags") -> tuple[str, ...]:
    """Tags: text with commas, a list, or a list as Dify writes it into a text.

    The one reader of tags, for those that are stored and those that are invalidated.
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
    """Whether a word is the id of something of Dify's."""
    return bool(_ID.fullmatch(word.lower()))


def ids(parameters: Mapping[str, Any], name: str, shown: str = "") -> tuple[str, ...]:
    """Ids of datasets, sorted and each once: a list, or text with commas."""
    words = _BETWEEN.sub(" ", text(parameters, name)).lower().split()
    shown = shown or f"The parameter {name}"
    for word in words:
        if not _ID.fullmatch(word):
            msg = (
                f"{shown} takes the ids of knowledge bases, separated by commas; "
                f"{word[:40]!r} is not one. The id stands in the knowledge base's address."
            )
            raise BadInput(msg)
    found = tuple(sorted(set(words)))
    if len(found) > MAX_IDS and name != "allowed_datasets":
        raise BadInput(f"{shown} takes at most {MAX_IDS} knowledge bases.")
    return found
