"""How the daemon's structs change requests and responses.

Fields that a struct does not have are removed, null becomes a zero value, maps are
sorted, numbers pass through float64, and a missing required field fails the whole
stream. Files are those of langgenius/dify-plugin-daemon, under pkg/entities.

One rule is stricter than the daemon's: a request with a field of a wrong type is
refused. The daemon ignores its bind error, and the plugin gets zero values
(internal/server/controllers/base.go:16-26); this would hide a mistake of a test.
"""

from collections.abc import Mapping
from typing import Any

from devhost.gotypes import (
    Convert,
    Omit,
    UnmarshalError,
    anything,
    boolean,
    decimal,
    integer,
    list_of,
    mapping,
    number,
    omitted_if_empty,
    one_of,
    optional,
    raw,
    required,
    required_pointer,
    struct,
    text,
    texts,
)

_ROLES = ("system", "user", "assistant", "tool")  # model_entities/llm.go:39-50
_PARTS = ("text", "image", "audio", "video", "document")  # llm.go:88-101


def _message(role: Convert, part: Convert) -> Convert:
    """A PromptMessage (model_entities/llm.go:54-62, 170-206).

    Its values are checked in responses only: the validator does not enter the messages
    of a request (requests/model.go:21).
    """
    parts = list_of(
        struct(  # llm.go:104-115
            type=part,
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
    )

    def content(value: Any) -> Any:
        """A string or an array; null fails the stream (llm.go:145-168)."""
        if value is None:
            raise UnmarshalError("content field is required")
        if isinstance(value, str):
            return text(value)
        if isinstance(value, list):
            return parts(value)
        raise UnmarshalError("content must be a string or an array")

    return struct(
        role=required(role),
        content=content,
        name=text,
        tool_calls=list_of(  # llm.go:117-124
            struct(id=text, type=text, function=struct(name=text, arguments=text))
        ),
        tool_call_id=text,
        opaque_body=raw,
    )


_llm_usage = struct(  # model_entities/llm.go:267-280
    prompt_tokens=required_pointer(integer),
    prompt_unit_price=decimal,
    prompt_price_unit=decimal,
    prompt_price=decimal,
    completion_tokens=required_pointer(integer),
    completion_unit_price=decimal,
    completion_price_unit=decimal,
    completion_price=decimal,
    total_tokens=required_pointer(integer),
    total_price=decimal,
    currency=required_pointer(text),
    latency=required_pointer(number),
)

_llm_chunk = struct(  # model_entities/llm.go:229-233, 282-287
    model=required(text),
    system_fingerprint=text,
    delta=required(
        struct(
            index=required_pointer(integer),
            message=_message(one_of(*_ROLES), required(one_of(*_PARTS))),
            usage=optional(_llm_usage),
            finish_reason=optional(text),
        )
    ),
)


def _llm_result(value: Any) -> Any:
    return {**_llm_chunk(value), "prompt_messages": []}  # llm.go:255-265


_asked = _message(text, text)
_tool = struct(name=required(text), description=text, parameters=mapping)
_credentials = {"credentials": mapping, "credential_type": omitted_if_empty}


def _model(*types: str) -> dict[str, Convert]:  # requests/model.go:9-17
    return {
        "provider": required(text),
        "model": required(text),
        "model_type": required(one_of(*types)),
        **_credentials,
    }


_ANY_TYPE = ("llm", "text-embedding", "rerank", "tts", "speech2text", "moderation")

REQUESTS: Mapping[str, Convert] = {
    "invoke_llm": struct(  # requests/model.go:19-35
        **_model("llm"),
        model_parameters=mapping,
        prompt_messages=list_of(_asked),
        tools=list_of(_tool),
        tool_choice=lambda value: Omit if value is None else mapping(value),
        stop=list_of(text),
        json_schema=mapping,
        stream=boolean,
    ),
    "get_llm_num_tokens": struct(
        **_model("llm"), prompt_messages=list_of(_asked), tools=list_of(_tool)
    ),
    "invoke_text_embedding": struct(  # requests/model.go:37-40
        **_model("text-embedding"),
        texts=required(list_of(text)),
        input_type=required(text),
    ),
    "invoke_rerank": struct(  # requests/model.go:50-55
        **_model("rerank"),
        query=required(text),
        docs=required(list_of(text)),
        score_threshold=number,
        top_n=integer,
    ),
    "validate_provider_credentials": struct(**_credentials, provider=required(text)),
    "validate_model_credentials": struct(**_model(*_ANY_TYPE)),
    "get_ai_model_schemas": struct(**_model(*_ANY_TYPE)),
    "invoke_tool": struct(  # requests/tool.go:34-43
        provider=required(text),
        tool=required(text),
        tool_parameters=mapping,
        **_credentials,
    ),
    "validate_tool_credentials": struct(provider=required(text), credentials=mapping),
}

# dify_invocation/types.go: how a plugin's own calls are changed. Calls of models are
# like the host's, except for the name of the parameters (:44).
REVERSE: Mapping[str, Convert] = {
    "invoke_llm": struct(
        **_model("llm"),
        mode=required(text),
        completion_params=mapping,
        prompt_messages=list_of(_asked),
        tools=list_of(_tool),
        stop=list_of(text),
        stream=boolean,
    ),
    "invoke_text_embedding": REQUESTS["invoke_text_embedding"],
    "invoke_rerank": REQUESTS["invoke_rerank"],
    "invoke_app": struct(  # :106-113
        app_id=required(text),
        inputs=mapping,
        query=text,
        response_mode=text,
        conversation_id=text,
        user=text,
    ),
}

_validated = struct(result=boolean, credentials=mapping)  # validate.go

RESPONSES: Mapping[str, Convert] = {
    "invoke_llm": _llm_result,
    "get_llm_num_tokens": struct(num_tokens=integer),
    "invoke_text_embedding": struct(  # model_entities/text_embedding.go
        model=required(text),
        embeddings=required_pointer(list_of(list_of(number))),
        usage=required_pointer(
            struct(
                tokens=required_pointer(integer),
                total_tokens=required_pointer(integer),
                unit_price=decimal,
                price_unit=decimal,
                total_price=decimal,
                currency=required_pointer(text),
                latency=required_pointer(number),
            )
        ),
    ),
    "invoke_rerank": struct(  # model_entities/rerank.go
        model=required(text),
        docs=required_pointer(
            list_of(
                struct(
                    index=required_pointer(integer),
                    text=required_pointer(text),
                    score=required_pointer(number),
                )
            )
        ),
    ),
    "validate_provider_credentials": _validated,
    "validate_model_credentials": _validated,
    "validate_tool_credentials": struct(result=boolean),
    "invoke_tool": struct(  # tool_entities: ToolResponseChunk
        type=required(
            one_of(
                *("text", "file", "blob", "blob_chunk", "json", "link", "image"),
                *("image_link", "binary_link", "variable", "log"),
                "retriever_resources",
            )
        ),
        message=mapping,
        meta=mapping,
    ),
    "invoke_endpoint": struct(  # endpoint_entities: EndpointResponseChunk
        status=optional(integer), headers=texts, result=optional(text)
    ),
}


def request(action: str, data: Any) -> Any:
    """A request as the plugin gets it."""
    return REQUESTS.get(action, anything)(data)


def reverse_request(action: str, data: Any) -> Any:
    """A plugin's own call as Dify gets it."""
    return REVERSE.get(action, anything)(data)


def response(action: str, data: Any) -> Any:
    """A chunk as the host gets it."""
    return RESPONSES.get(action, anything)(data)


def error(data: Any) -> tuple[str, str] | None:
    """The type and message of a plugin's error; None if the daemon drops it.

    The daemon drops wrong types and more than ten args
    (plugin_entities/event.go:112-115, io_tunnel/generic.go:134-139): then the caller
    sees a success.
    """
    if not isinstance(data, Mapping):
        return None
    args = data.get("args") or {}
    if not isinstance(args, Mapping) or len(args) > 10:
        return None
    try:
        return text(data.get("error_type")), text(data.get("message"))
    except UnmarshalError:
        return None
