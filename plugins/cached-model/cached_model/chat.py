"""One chat through the cache: request -> key -> cache or upstream -> pieces."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dify_plugin.entities.model.message import PromptMessage, PromptMessageTool
from dify_plugin.errors.model import (
    InvokeAuthorizationError,
    InvokeBadRequestError,
    InvokeConnectionError,
    InvokeError,
    InvokeRateLimitError,
    InvokeServerUnavailableError,
)
from jsonschema import Draft7Validator
from jsonschema.exceptions import SchemaError

from cachecore import config
from cachecore.errors import ConfigError, FlightBroken, NothingCached
from cachecore.policy import Control, Scope, Traits
from cachecore.request import Request
from cachecore.streams import Answer, Piece, Usage, merge, split
from cached_model import schemas, upstream
from cached_model.body import Call, build
from cached_model.form import Form
from cached_model.tokens import estimate
from difycodec import messages as codec
from difycodec import runtime, urls

# The errors that upstream.py raises: what another process's leader may have met.
_ERRORS: Mapping[str, type[InvokeError]] = {
    kind.__name__: kind
    for kind in (
        InvokeAuthorizationError,
        InvokeBadRequestError,
        InvokeConnectionError,
        InvokeRateLimitError,
        InvokeServerUnavailableError,
    )
}
# Those of an upstream in trouble, for which a stale answer may stand in. A refused
# key or request is not one.
_OUTAGES = (
    InvokeConnectionError,
    InvokeRateLimitError,
    InvokeServerUnavailableError,
)

# What the LLM node's panel says to the cache, and the upstream never sees.
CACHE_PARAMETERS = ("cache_control", "cache_ttl", "cache_tags")


def answer(
    form: Form,
    model: str,
    messages: Sequence[PromptMessage],
    parameters: Mapping[str, Any],
    tools: Sequence[PromptMessageTool],
    stop: Sequence[str],
    *,
    stream: bool,
    user: str,
    app_id: str,
) -> Iterator[Piece]:
    """The answer in pieces; in one if not ``stream``. Raises an InvokeError."""
    ours = {name: parameters.get(name) for name in CACHE_PARAMETERS}
    theirs = {n: v for n, v in parameters.items() if n not in CACHE_PARAMETERS}
    call = build(form, model, messages, theirs, tools, stop)
    # Shared answers must not depend on who asked, so nobody is named upstream.
    names_user = form.settings.rules.scope is Scope.USER and form.send_user
    try:
        request = _request(
            form, model, call, messages, ours, user, app_id, names_user=names_user
        )
    except ConfigError as error:
        raise InvokeBadRequestError(str(error)) from error
    pieces = _stream(
        form, request, call, messages, stream=stream, user=user if names_user else None
    )
    return _in_lines(pieces if stream else _joined(pieces))


def _joined(pieces: Iterator[Piece]) -> Iterator[Piece]:
    yield merge(pieces)


def _in_lines(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """No piece so long that the line it becomes would have this process killed."""
    for piece in pieces:
        yield from split(piece)


def _stream(
    form: Form,
    request: Request,
    call: Call,
    messages: Sequence[PromptMessage],
    *,
    stream: bool,
    user: str | None,
) -> Iterator[Piece]:
    def load() -> Iterator[Piece]:
        pieces = upstream.ask(form, call, stream=stream, user=user)
        return _counted(pieces, messages)

    try:
        yield from form.cache.stream(request, load, outlives=runtime.outlives())
    except NothingCached as error:
        msg = "Cache control is 'only' and there is no cached answer for this request."
        raise InvokeBadRequestError(msg) from error
    except FlightBroken as error:
        msg = "The load that this answer was shared from ended early; please ask again."
        raise InvokeServerUnavailableError(msg) from error


def _request(
    form: Form,
    model: str,
    call: Call,
    messages: Sequence[PromptMessage],
    ours: Mapping[str, Any],
    user: str,
    app_id: str,
    *,
    names_user: bool,
) -> Request:
    rules = form.settings.rules
    ttl = str(ours["cache_ttl"] or "").strip()
    return Request(
        kind="llm",
        label=model,
        form=call.key_form(form, names_user=names_user),
        rules=rules,
        control=_control(ours["cache_control"]),
        traits=Traits(
            conversation=codec.is_conversation(messages),
            tools="tools" in call.body or "functions" in call.body,
            external_url=codec.has_external_url(messages),
            temperature=call.body.get("temperature"),
            scope_id=rules.scope.whose(app_id=app_id, user_id=user),
            ends_at=urls.expires_at(call.body),
        ),
        tags=config.read_tags(str(ours["cache_tags"] or "")),
        belongs=(f"model:{model}",),
        ttl=config.read_ttl(ttl) if ttl else None,
        credential=form.credential(),
        accept=_schema_check(call.schema) if call.schema is not None else None,
        excuses=lambda error: isinstance(error, _OUTAGES),
        revive=_revived,
    )


def _revived(name: str, text: str) -> InvokeError | None:
    kind = _ERRORS.get(name)
    return None if kind is None else kind(text)


def _control(value: Any) -> Control:
    word = str(value or "default")
    if word not in Control:
        choices = ", ".join(control.value for control in Control)
        sentence = f"Cache control (cache_control) must be one of {choices}."
        raise ConfigError("cache_control", sentence)
    return Control(word)


def _schema_check(schema: Mapping[str, Any]) -> Any:
    """Whether an answer is what the host will accept: it checks with Draft 7."""

    def accept(whole: Answer) -> bool:
        try:
            flat = schemas.flat(schema)
            Draft7Validator.check_schema(flat)
            text = codec.without_thought(whole.text)
            return bool(Draft7Validator(flat).is_valid(json.loads(text)))
        except (ValueError, SchemaError, RecursionError):
            return False

    return accept


def _counted(
    pieces: Iterator[Piece], messages: Sequence[PromptMessage]
) -> Iterator[Piece]:
    """The pieces, with an estimate where the upstream reported no usage.

    The host shows what it gets and drops a chunk with half a usage.
    """
    length = 0
    for piece in pieces:
        length += estimate(piece.text)
        if piece.finish_reason is None or piece.usage is not None:
            yield piece
        else:
            usage = Usage(estimate(codec.text_of(messages)), length)
            yield Piece(piece.text, piece.tool_calls, piece.finish_reason, usage)
