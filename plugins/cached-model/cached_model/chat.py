"""One chat through the cache: request -> key -> cache or upstream -> pieces."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, Final

from dify_plugin.entities.model.message import (
    PromptMessage,
    PromptMessageTool,
    UserPromptMessage,
)
from dify_plugin.errors.model import (
    InvokeBadRequestError,
    InvokeError,
    InvokeServerUnavailableError,
)

from cachecore import config
from cachecore.answer import Piece, Usage, merge, split, spoken
from cachecore.errors import ConfigError
from cachecore.policy import Control, Scope, Traits
from cachecore.request import Request
from cached_model import caching, helpers, meaning, schemas, upstream
from cached_model.body import Call, build, parts
from cached_model.caching import Caller
from cached_model.form import Form
from cached_model.tokens import estimate
from difykit import judges, runtime
from difykit.codec import messages as codec
from difykit.codec import urls

# The parameters of the LLM node for the cache, which the upstream never gets.
CACHE_PARAMETERS = ("cache_control", "cache_ttl", "cache_tags")

# The panel's choices (parameters.yaml), in words for a builder.
CONTROLS: Final[Mapping[str, Control]] = {
    "automatic": Control.DEFAULT,
    "always": Control.ALWAYS,
    "never": Control.BYPASS,
    "ask anew": Control.REFRESH,
    "only kept answers": Control.ONLY,
}

_LIMIT: Final = "max_tokens"
_NEW_LIMIT: Final = "max_completion_tokens"
# Reasoning models use tokens before the first word, and some refuse a lower limit.
_PING_TOKENS: Final = 16


def answer(
    form: Form,
    model: str,
    messages: Sequence[PromptMessage],
    parameters: Mapping[str, Any],
    tools: Sequence[PromptMessageTool],
    stop: Sequence[str],
    asking: Caller,
    *,
    stream: bool,
) -> Iterator[Piece]:
    """The answer in pieces; in one if not ``stream``. Raises an InvokeError."""
    ours = {name: parameters.get(name) for name in CACHE_PARAMETERS}
    theirs = {n: v for n, v in parameters.items() if n not in CACHE_PARAMETERS}
    call = build(form, model, messages, theirs, tools, stop)
    # Shared answers must not depend on the user, so the upstream gets no user.
    names_user = form.settings.rules.scope is Scope.USER and form.send_user
    try:
        request = _request(
            form, model, call, messages, ours, asking, names_user=names_user
        )
    except ConfigError as error:
        raise InvokeBadRequestError(str(error)) from error
    user = asking.user_id if names_user else None
    pieces = _stream(form, request, call, messages, stream=stream, user=user)
    # No piece may be so long that the host kills this process for its line.
    return chain.from_iterable(map(split, pieces if stream else _joined(pieces)))


def ping(form: Form, model: str) -> None:
    """Test the model when its form is checked. Raises an InvokeError.

    A server may refuse the test because of the parameter of the token limit, which the
    error then names, or because its model reasons, which is no mistake in the form.
    """
    call = build(
        form, model, [UserPromptMessage(content="ping")], {_LIMIT: _PING_TOKENS}, [], []
    )
    try:
        _try(form, call)
    except InvokeBadRequestError as error:
        if _passes(form, call, thinking={"type": "disabled"}):
            return
        if _passes(form, call, **{_LIMIT: None, _NEW_LIMIT: _PING_TOKENS}):
            msg = (
                f"The model server refuses {_LIMIT}; set Name of the token limit in "
                f"requests (token_param_name) to {_NEW_LIMIT}."
            )
            raise InvokeBadRequestError(msg) from error
        raise


def _passes(form: Form, call: Call, **changes: Any) -> bool:
    body = {name: v for name, v in {**call.body, **changes}.items() if v is not None}
    try:
        _try(form, replace(call, body=body))
    except InvokeError:
        return False
    return True


def _try(form: Form, call: Call) -> None:
    if form.check_streaming:
        for _ in upstream.ask(form, call, stream=True, user=None):
            pass
        return
    # Any answer that is not an error is valid: reasoning may use up all tokens.
    reply = upstream.fetch(form, call.url, {**call.body, "stream": False})
    if not isinstance(reply, dict) or reply.get("error"):
        msg = "The model server answered, but not with a chat completion."
        raise InvokeServerUnavailableError(msg)


def _joined(pieces: Iterator[Piece]) -> Iterator[Piece]:
    yield merge(pieces)


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

    with caching.errors():
        yield from form.cache.stream(
            request, load, outlives_call=runtime.outlives_call()
        )


def _request(
    form: Form,
    model: str,
    call: Call,
    messages: Sequence[PromptMessage],
    ours: Mapping[str, Any],
    asking: Caller,
    *,
    names_user: bool,
) -> Request:
    ttl = str(ours["cache_ttl"] or "").strip()
    ttl = "" if ttl == "as in the form" else ttl
    traits = Traits(
        conversation=codec.is_conversation(messages),
        tools=not call.extracts and ("tools" in call.body or "functions" in call.body),
        calls_are_data=call.extracts,
        external_url=codec.has_external_url(messages),
        temperature=call.body.get("temperature"),
    )
    # In a conversation or with tools, a question's words do not determine its meaning.
    alone = not (traits.conversation or traits.tools or traits.calls_are_data)
    match = form.settings.options.match if alone else "exact"
    key_form = call.key_form(form, names_user=names_user, match=match)
    if urls.had_signatures(key_form["body"]):
        traits = replace(traits, ends_at=urls.expires_at(call.body))

    def question() -> str:
        return codec.question(messages)

    return caching.request(
        form,
        "llm",
        model,
        key_form,
        asking,
        control=_control(ours["cache_control"]),
        asked=question,
        parts=lambda: parts(key_form, question()),
        traits=traits,
        tags=config.read_tags(str(ours["cache_tags"] or "")),
        ttl=config.read_ttl(ttl) if ttl else None,
        accept=_schema_check(call.schema) if call.schema is not None else None,
        judge=_judge_of_answers(form, question),
        meaning=meaning.of(form, key_form, asking)
        if match == "meaning" and runtime.outlives_call()
        else None,
    )


def _judge_of_answers(form: Form, question: Callable[[], str]) -> Any:
    model = form.settings.options.audit_judge
    if not model:
        return None
    ask = helpers.asking(form, model, judges.ANSWER_SECONDS)
    return judges.of_answers(ask, question)


def _control(value: Any) -> Control:
    word = str(value or "automatic").strip().lower()
    if word in CONTROLS:
        return CONTROLS[word]
    if word not in Control:
        sentence = (
            "Cache: when to use it (cache_control) must be one of "
            f"{', '.join(CONTROLS)}."
        )
        raise ConfigError("cache_control", sentence)
    return Control(word)


def _schema_check(schema: Mapping[str, Any]) -> Any:
    """A check of whether the host will accept an answer: it uses Draft 7."""

    def accept(whole: Piece) -> bool:
        try:
            return schemas.is_valid(schema, json.loads(spoken(whole.text)))
        except (ValueError, RecursionError):
            return False

    return accept


def _counted(
    pieces: Iterator[Piece], messages: Sequence[PromptMessage]
) -> Iterator[Piece]:
    """The pieces, with an estimate if the upstream reported no usage.

    The host drops a chunk with an incomplete usage.
    """
    texts: list[str] = []
    counted = False
    for piece in pieces:
        texts.append(piece.text)
        if piece.finish_reason is not None and piece.usage is None:
            yield replace(piece, usage=_guess(messages, texts))
            counted = True
        else:
            yield piece
            counted = counted or piece.usage is not None
    if not counted:
        yield Piece(usage=_guess(messages, texts))


def _guess(messages: Sequence[PromptMessage], texts: Sequence[str]) -> Usage:
    return Usage(estimate(codec.text_of(messages)), estimate("".join(texts)))
