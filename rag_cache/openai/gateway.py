"""OpenAI's API over the models of the workspace, cached, for any client of that API.

Cached Model is one such client. So it can wrap a model that has no OpenAI-compatible
server.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any, Final

from werkzeug import Request as HttpRequest
from werkzeug import Response

from cachecore.policy import Scope, Traits
from difykit import embedding
from difykit.codec import messages, urls
from rag_cache import http, inputs, settings, work
from rag_cache.caller import Caller
from rag_cache.errors import BadInput
from rag_cache.openai import served
from rag_cache.openai.chats import chat_of
from rag_cache.openai.frames import Frames, paced
from rag_cache.openai.served import Served
from rag_cache.openai.vectors import FORMATS, vectors_of, written
from rag_cache.settings import Settings
from rag_cache.work import AskModel, AskVectors, Chat, Work

type Json = dict[str, Any]
# A request to Dify is sent as one line of at most 5 MiB.
_MAX_BODY: Final = 4 * 1024 * 1024

_REFUSED: Final = {
    400: "invalid_request_error",
    404: "invalid_request_error",
    429: "rate_limit_error",
}


# --- the three endpoints --------------------------------------------------------


def list_models(request: HttpRequest, values: Mapping[str, Any]) -> Response:
    """GET /v1/models: the models that are picked in the settings."""

    def do() -> Response:
        data = [
            {"id": one.id, "object": "model", "created": 0, "owned_by": one.provider}
            for one in served.models(values)
            if not served.leads_back(one)
        ]
        body: Json = {"object": "list", "data": data}
        refused = served.refused(values)
        if refused:  # Clients ignore unknown fields; a person reads this one.
            body["not_served"] = refused
        return http.reply(200, body)

    return http.answer(request, values, do, _refused)


def chat(request: HttpRequest, values: Mapping[str, Any], ask: AskModel) -> Response:
    """POST /v1/chat/completions."""

    def do() -> Response:
        body = http.body_of(request, _MAX_BODY)
        model = served.find(values, body.get("model"), "llm")
        under_way = _chat_work(values, body, model, ask)
        frames = Frames(model.id)
        if inputs.yes(body, "stream"):
            options = inputs.table(body, "stream_options")
            wants_usage = inputs.yes(options, "include_usage")
            return _streamed(under_way, frames, wants_usage=wants_usage)
        text = "".join(under_way.texts())
        _refuse_missing(under_way)
        message = {"role": "assistant", "content": text, **_calls(under_way)}
        whole = frames.whole(message, _end(under_way), _usage(under_way))
        return _marked(_reply(whole, "ask for it with stream: true"), under_way)

    return http.answer(request, values, do, _refused)


def embeddings(
    request: HttpRequest, values: Mapping[str, Any], ask: AskVectors
) -> Response:
    """POST /v1/embeddings."""

    def do() -> Response:
        body = http.body_of(request, _MAX_BODY)
        model = served.find(values, body.get("model"), "text-embedding")
        form = inputs.choice(body, "encoding_format", *FORMATS)
        read = settings.read(values)
        items = vectors_of(_caller(values, body, read), read, body, model, ask)
        data = [
            {"object": "embedding", "index": n, "embedding": written(item, form)}
            for n, item in enumerate(items)
        ]
        tokens = sum(map(embedding.tokens, items))
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        answer = {"object": "list", "data": data, "model": model.id, "usage": usage}
        response = _reply(answer, "send fewer texts in input")
        known = sum(not item.billed for item in items)
        response.headers["X-Cache"] = "hit" if known == len(items) else "miss"
        response.headers["X-Cache-Known"] = f"{known}/{len(items)}"
        return response

    return http.answer(request, values, do, _refused)


def _reply(answer: Json, remedy: str) -> Response:
    """An answer; raises BadInput if it is too large for the host."""
    response = http.reply(200, answer)
    if response.status_code != HTTPStatus.OK:
        msg = f"The answer is larger than Dify takes at once; {remedy}."
        raise BadInput(msg)
    return response


# --- a chat -----------------------------------------------------------------------


def _chat_work(
    values: Mapping[str, Any], body: Json, model: Served, ask: AskModel
) -> Work:
    read = settings.read(values)
    asked = chat_of(body, model)
    config = asked.config
    form = {
        "provider": config.provider,
        "model": config.model,
        "mode": config.mode,
        "parameters": config.completion_params,
        "stop": asked.stop,
        "messages": urls.unsigned([m.model_dump(mode="json") for m in asked.messages]),
        "tools": [tool.model_dump() for tool in asked.tools],
    }
    request = work.request_of(
        _caller(values, body, read),
        read,
        body,
        "llm",
        config.model,
        form,
        (f"model:{config.model}",),
    )
    traits = _traits(request.traits, asked, read)
    return work.begin(
        read,
        replace(
            request, traits=traits, asked=lambda: messages.question(asked.messages)
        ),
        lambda: ask(asked, work.limits(read)),
    )


def _traits(traits: Traits, asked: Chat, read: Settings) -> Traits:
    """The request's traits; raises BadInput for a file that must not be fetched."""
    named = messages.has_url(asked.messages)
    if named and read.cache.options.gateway_file_urls == "refuse":
        raise BadInput(
            "A file in messages is given by a URL, which would be fetched from inside "
            "Dify's network; send its content as a data URL."
        )
    return replace(
        traits,
        conversation=messages.is_conversation(asked.messages),
        tools=bool(asked.tools),
        external_url=named,
    )


def _caller(values: Mapping[str, Any], body: Json, read: Settings) -> Caller:
    """The caller. An endpoint can't distinguish users: scope user needs the field."""
    user = body.get("user")
    if not isinstance(user, str | None):
        raise BadInput("user must be a text.")
    scope = read.cache.rules.scope
    if scope is Scope.USER and not user:
        msg = "The cache scope is user, so each request needs OpenAI's field user."
        raise BadInput(msg)
    if scope is Scope.APP:
        msg = "The cache scope app means nothing here; set shared or user."
        raise BadInput(msg)
    return Caller(values, user_id=user or "")


def _streamed(under_way: Work, frames: Frames, *, wants_usage: bool) -> Response:
    texts = under_way.texts()
    # Wait for the first text: an error until then still gets an HTTP status.
    first = next(texts, "")
    _refuse_missing(under_way)

    def chunks() -> Iterator[bytes]:
        yield frames.delta({"role": "assistant", "content": first})
        try:
            for text in texts:
                yield frames.delta({"content": text})
        except Exception as error:  # noqa: BLE001 - the host would append its trace
            yield frames.error(_error(*http.fault(error)))
            return
        calls = _calls(under_way)
        if calls:
            numbered = [
                {"index": n, **call} for n, call in enumerate(calls["tool_calls"])
            ]
            yield frames.delta({"tool_calls": numbered})
        yield frames.delta({}, _end(under_way))
        usage = _usage(under_way)
        if wants_usage and usage:
            yield frames.usage(usage)
        yield frames.done()

    body: Any = chunks()
    if under_way.outcome.hit:  # One piece, which the host can't cut.
        body = b"".join(body)
    if not isinstance(body, bytes) or len(body) > http.MAX_REPLY:
        body = paced([body] if isinstance(body, bytes) else body)
    response = Response(body, content_type="text/event-stream; charset=utf-8")
    response.headers["Cache-Control"] = "no-cache"
    response.headers["X-Accel-Buffering"] = "no"
    return _marked(response, under_way)


def _refuse_missing(under_way: Work) -> None:
    if under_way.missing:
        msg = "Cache control is 'only' and there is no cached answer for this request."
        raise BadInput(msg)


def _end(under_way: Work) -> str | None:
    """The finish reason as OpenAI's agents expect it; None if it may be incomplete."""
    reason = under_way.finish_reason
    return "tool_calls" if reason == "stop" and under_way.tool_calls else reason


def _calls(under_way: Work) -> Json:
    calls = [
        {
            "id": call["id"],
            "type": "function",
            "function": {"name": call["name"], "arguments": call["arguments"]},
        }
        for call in under_way.tool_calls
    ]
    return {"tool_calls": calls} if calls else {}


def _usage(under_way: Work) -> Json | None:
    usage = under_way.usage
    if usage is None:
        return None
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def _marked(response: Response, under_way: Work) -> Response:
    """The response, with its outcome in headers."""
    outcome = under_way.outcome
    response.headers["X-Cache"] = "hit" if outcome.hit else "miss"
    response.headers["X-Cache-Reason"] = outcome.reason
    if outcome.cache_key:
        response.headers["X-Cache-Key"] = outcome.cache_key
    return response


# --- errors -------------------------------------------------------------------------


def _refused(status: int, sentence: str) -> Response:
    return http.reply(status, {"error": _error(status, sentence)})


def _error(status: int, sentence: str) -> Json:
    """An error as OpenAI's clients read it."""
    kind = _REFUSED.get(status, "authentication_error" if status in (401, 403) else "")
    code = "model_not_found" if status == 404 else None  # noqa: PLR2004
    return {
        "message": sentence,
        "type": kind or "server_error",
        "param": None,
        "code": code,
    }
