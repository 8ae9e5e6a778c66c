"""Go's types, as far as they change the JSON that passes through them.

A converter takes a value of decoded JSON and returns the value that Go would write. It
raises UnmarshalError where encoding/json or the daemon's validator refuses the value.
"""

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

type Convert = Callable[[Any], Any]

_SURROGATE = re.compile("[\ud800-\udfff]")
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_INT64 = 2**63
_PLAIN_BELOW = 1e21  # encoding/json writes larger floats with an exponent


class UnmarshalError(Exception):
    """The daemon's ``unmarshal_error``, which ends the stream.

    internal/core/io_tunnel/generic.go:97-104
    """


class Omit:
    """A field with ``omitempty`` that is empty."""


def anything(value: Any) -> Any:
    """A value of Go's ``any``: maps sorted, every number a float64."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, str):
        return text(value)
    if isinstance(value, int | float):
        return _float64(value)
    if isinstance(value, Mapping):
        return {text(key): anything(value[key]) for key in sorted(value)}
    return [anything(item) for item in value]


def _float64(value: float) -> int | float:
    """A float as encoding/json writes it: the shortest digits, whole numbers without ``.0``."""
    try:
        number = float(value)
    except OverflowError:
        raise UnmarshalError("number out of range for Go value of float64") from None
    if number.is_integer() and abs(number) < _PLAIN_BELOW:
        return int(Decimal(repr(number)))
    return number


def text(value: Any) -> str:
    """A Go string: null is empty, half a surrogate pair becomes U+FFFD."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise UnmarshalError("cannot unmarshal into Go value of type string")
    return _SURROGATE.sub("\ufffd", value)


def integer(value: Any) -> int:
    """A Go int: null is 0, and ``1.0`` is refused."""
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int):
        raise UnmarshalError("cannot unmarshal into Go value of type int")
    if not -_INT64 <= value < _INT64:
        raise UnmarshalError("number out of range for Go value of type int")
    return value


def number(value: Any) -> float:
    """A Go float64: null is 0."""
    if type(value) is float and not value.is_integer():
        return value
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UnmarshalError("cannot unmarshal into Go value of type float64")
    return _float64(value)


def boolean(value: Any) -> bool:
    """A Go bool: null is false."""
    if not isinstance(value, bool | None):
        raise UnmarshalError("cannot unmarshal into Go value of type bool")
    return bool(value)


def decimal(value: Any) -> str:
    """shopspring/decimal: a string or a number becomes a plain string; null is 0.

    ``required`` has no effect on it, because it is a struct
    (model_entities/llm.go:267-280).
    """
    if value is None:
        return "0"
    if isinstance(value, bool) or not _DECIMAL.fullmatch(str(value)):
        raise UnmarshalError("cannot unmarshal into decimal")
    plain = format(Decimal(str(value)), "f")
    plain = plain.rstrip("0").rstrip(".") if "." in plain else plain
    return "0" if plain in ("-0", "") else plain


def mapping(value: Any) -> Any:
    """A Go map[string]any: null stays null."""
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise UnmarshalError("cannot unmarshal into Go value of type map")
    return anything(value)


def texts(value: Any) -> Any:
    """A Go map[string]string."""
    if not isinstance(value, Mapping | None):
        raise UnmarshalError("cannot unmarshal into Go value of type map")
    return None if value is None else {text(k): text(value[k]) for k in sorted(value)}


def one_of(*choices: str) -> Convert:
    """A string from the list of the daemon's validator."""

    def converted(value: Any) -> str:
        word = text(value)
        if word not in choices:
            raise UnmarshalError(f"{word!r} is not a value that the daemon knows")
        return word

    return converted


def list_of(convert: Convert) -> Convert:
    """A Go slice: null stays null."""

    def converted(value: Any) -> Any:
        if value is None:
            return None
        if not isinstance(value, list):
            raise UnmarshalError("cannot unmarshal into Go value of type slice")
        return [convert(item) for item in value]

    return converted


def optional(convert: Convert) -> Convert:
    """A Go pointer: null stays null."""
    return lambda value: None if value is None else convert(value)


def required(convert: Convert) -> Convert:
    """``validate:"required"`` on a value: absent, null and an empty string fail."""

    def converted(value: Any) -> Any:
        if value is None or value == "":
            raise UnmarshalError("a required field is missing")
        return convert(value)

    return converted


def required_pointer(convert: Convert) -> Convert:
    """``validate:"required"`` on a pointer: only absent and null fail."""

    def converted(value: Any) -> Any:
        if value is None:
            raise UnmarshalError("a required field is missing")
        return convert(value)

    return converted


def omitted_if_empty(value: Any) -> Any:
    """A string with ``omitempty``."""
    return value if isinstance(value, str) and value else Omit


def raw(value: Any) -> Any:
    """json.RawMessage with omitempty: unchanged, also null; an absent field stays absent."""
    return value


def struct(**fields: Convert) -> Convert:
    """A Go struct: these fields and no others; null is a struct of zero values."""

    def converted(value: Any) -> Any:
        value = {} if value is None else value
        if not isinstance(value, Mapping):
            raise UnmarshalError("cannot unmarshal into Go struct")
        made = {
            name: convert(value.get(name))
            for name, convert in fields.items()
            if convert is not raw or name in value
        }
        return {name: item for name, item in made.items() if item is not Omit}

    return converted
