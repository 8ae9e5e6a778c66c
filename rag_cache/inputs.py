"""Tool parameters, as Dify hands them over: constants arrive as strings.

See host contract 7.1. Each mistake is a BadInput with one English sentence
that names the parameter.
"""

import json
from collections.abc import Mapping
from typing import Any


class BadInput(ValueError):
    """A parameter that makes no sense; the text is for the workflow's builder."""


def text(parameters: Mapping[str, Any], name: str) -> str:
    """The parameter as text: empty if absent, JSON if it is not a string."""
    value = parameters.get(name)
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


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
        msg = f"The parameter {name} must be one of {', '.join(choices)}."
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
