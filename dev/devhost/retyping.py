"""What the Go daemon's types do to JSON on its way through.

Fields that a struct lacks disappear, null becomes a zero value, numbers pass
through float64, and what is required and missing fails the whole stream. Files
are those of langgenius/dify-plugin-daemon, under pkg/entities.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

type Convert = Callable[[Any], Any]


class UnmarshalError(Exception):
    """The daemon's ``unmarshal_error``: it closes the stream with it.

    internal/core/io_tunnel/generic.go:97-104
    """


class _Omit:
    """A field with ``omitempty`` that is empty."""


def anything(value: Any) -> Any:
    """A value of Go's ``any``: numbers are float64, written without ``.0``."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, int | float):
        number = float(value)
        return int(number) if number.is_integer() else number
    if isinstance(value, Mapping):
        return {str(key): anything(item) for key, item in value.items()}
    return [anything(item) for item in value]


def text(value: Any) -> str:
    """A Go string: null is empty."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise UnmarshalError("cannot unmarshal into Go value of type string")
    return value


def integer(value: Any) -> int:
    """A Go int: null is 0."""
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int | float) or value % 1:
        raise UnmarshalError("cannot unmarshal into Go value of type int")
    return int(value)


def number(value: Any) -> float:
    """A Go float64: null is 0."""
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UnmarshalError("cannot unmarshal into Go value of type float64")
    return anything(float(value))


def boolean(value: Any) -> bool:
    """A Go bool: null is false."""
    if not isinstance(value, bool | None):
        raise UnmarshalError("cannot unmarshal into Go value of type bool")
    return bool(value)


def decimal(value: Any) -> str:
    """shopspring/decimal: from a string or a number, to a plain string."""
    try:
        plain = format(Decimal(str(value)), "f")
        return plain.rstrip("0").rstrip(".") if "." in plain else plain
    except InvalidOperation:
        raise UnmarshalError("cannot unmarshal into decimal") from None


def mapping(value: Any) -> Any:
    """A Go map[string]any: null stays null."""
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise UnmarshalError("cannot unmarshal into Go value of type map")
    return anything(value)


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
    """``validate:"required"``: absent, null and, but for pointers, zero fail."""

    def converted(value: Any) -> Any:
        if value is None or value == "":
            raise UnmarshalError("a required field is missing")
        return convert(value)

    return converted


def raw(value: Any) -> Any:
    """json.RawMessage with omitempty: as it came, null too; absent stays so."""
    return value


def struct(**fields: Convert) -> Convert:
    """A Go struct: these fields and no other."""

    def converted(value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise UnmarshalError("cannot unmarshal into Go struct")
        made = {
            name: convert(value.get(name))
            for name, convert in fields.items()
            if convert is not raw or name in value
        }
        return {name: item for name, item in made.items() if item is not _Omit}

    return converted


_part = struct(  # model_entities/llm.go:104-115
    type=required(text),
    base64_data=text,
    url=text,
    data=text,
    encode_format=text,
    format=text,
    mime_type=text,
    detail=text,
    filename=text,
    opaque_body=raw,
)


def _content(value: Any) -> Any:
    """A string or an array; null fails the stream (model_entities/llm.go:145-168)."""
    if value is None:
        raise UnmarshalError("content field is required")
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return [_part(item) for item in value]
    raise UnmarshalError("content must be a string or an array")


_message = struct(  # model_entities/llm.go:54-62, 170-206
    role=required(text),
    content=_content,
    name=text,
    tool_calls=list_of(
        struct(
            id=text, type=text, function=struct(name=text, arguments=text)
        )  # llm.go:117-124
    ),
    tool_call_id=text,
    opaque_body=raw,
)

_usage = struct(  # model_entities/llm.go:267-280: all required once there is one
    prompt_tokens=required(integer),
    prompt_unit_price=required(decimal),
    prompt_price_unit=required(decimal),
    prompt_price=required(decimal),
    completion_tokens=required(integer),
    completion_unit_price=required(decimal),
    completion_price_unit=required(decimal),
    completion_price=required(decimal),
    total_tokens=required(integer),
    total_price=required(decimal),
    currency=required(text),
    latency=required(number),
)

_llm_chunk = struct(  # model_entities/llm.go:229-233, 282-287
    model=required(text),
    system_fingerprint=text,
    delta=required(
        struct(
            index=required(integer),
            message=_message,
            usage=optional(_usage),
            finish_reason=optional(text),
        )
    ),
)


def _llm_result(value: Any) -> Any:
    return {**_llm_chunk(value), "prompt_messages": []}  # llm.go:255-265


_model = {  # requests/model.go:9-17
    "provider": required(text),
    "model": required(text),
    "model_type": required(text),
    "credentials": mapping,
    "credential_type": lambda value: value or _Omit,
}

REQUESTS: Mapping[str, Convert] = {
    "invoke_llm": struct(  # requests/model.go:19-27
        **_model,
        model_parameters=mapping,
        prompt_messages=list_of(_message),
        tools=list_of(
            struct(name=required(text), description=text, parameters=mapping)
        ),
        stop=list_of(text),
        json_schema=mapping,
        stream=boolean,
    ),
    "get_llm_num_tokens": struct(
        **_model, prompt_messages=list_of(_message), tools=list_of(mapping)
    ),
    "invoke_text_embedding": struct(  # requests/model.go:37-40
        **_model, texts=required(list_of(text)), input_type=required(text)
    ),
    "invoke_rerank": struct(  # requests/model.go:50-55
        **_model,
        query=required(text),
        docs=required(list_of(text)),
        score_threshold=number,
        top_n=integer,
    ),
    "validate_model_credentials": struct(**_model),
    "get_ai_model_schemas": struct(**_model),
    "invoke_tool": struct(  # requests/tool.go:34-43
        provider=required(text),
        tool=required(text),
        tool_parameters=mapping,
        credentials=mapping,
        credential_type=lambda value: value or _Omit,
    ),
    "validate_tool_credentials": struct(provider=required(text), credentials=mapping),
}

RESPONSES: Mapping[str, Convert] = {
    "invoke_llm": _llm_result,
    "invoke_tool": struct(  # tool_entities: ToolResponseChunk
        type=required(text), message=mapping, meta=mapping
    ),
    "invoke_rerank": struct(
        model=required(text),
        docs=list_of(
            struct(index=required(integer), text=required(text), score=required(number))
        ),
    ),
}


def request(action: str, data: Any) -> Any:
    """A request as the plugin gets it."""
    return REQUESTS.get(action, anything)(data)


def response(action: str, data: Any) -> Any:
    """A chunk as the host gets it."""
    return RESPONSES.get(action, anything)(data)
