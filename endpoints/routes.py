from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from dify_plugin import Endpoint
from werkzeug import Request, Response

from cachecore.errors import ConfigError
from rag_cache import (
    http,
    inputs,
    observe,
    openai,
    operating,
    retrieval,
    work,
    wrapping,
)
from rag_cache.caller import Caller

type Settings = Mapping[str, Any]


class Routes(Endpoint):
    """All endpoints; the YAML files here list the paths that Dify passes on."""

    def _invoke(
        self, r: Request, values: Mapping[str, Any], settings: Settings
    ) -> Response:
        match r.path, r.method:
            case "/dashboard", "POST":
                return observe.act_on_dashboard(r, settings)
            case "/dashboard", _:
                return observe.show_dashboard(r, settings)
            case "/retrieval", _:
                return retrieval.answer(r, settings)
            case "/v1/models", _:
                return openai.list_models(r, settings)
            case "/v1/chat/completions", _:
                return openai.chat(r, settings, partial(work.llm, self.session))
            case "/v1/embeddings", _:
                return openai.embeddings(r, settings, partial(work.embed, self.session))
        return http.answer(r, settings, partial(_OTHERS[r.path], r, settings))


def _healthz(_: Request, settings: Settings) -> Response:
    try:
        advice = operating.check(settings)
    except ConfigError as error:
        return http.reply(503, {"status": "unavailable", "error": str(error)})
    advice = [*advice, *openai.refused(settings)]
    switch = operating.state(settings)
    return http.reply(200, {"status": "ok", "switch": switch, "advice": advice})


def _metrics(_: Request, settings: Settings) -> Response:
    return Response(observe.metrics(settings), content_type=observe.CONTENT_TYPE)


def _invalidate(r: Request, settings: Settings) -> Response:
    said = operating.invalidate(Caller(settings), http.body_of(r))
    return http.reply(
        200, {"done": True, "message": said.message, "names": dict(said.names)}
    )


def _switch(r: Request, settings: Settings) -> Response:
    asked = {"target": "switch", "name": http.body_of(r).get("switch")}
    said = operating.invalidate(Caller(settings), asked)
    return http.reply(200, {"done": True, "message": said.message})


def _feedback(r: Request, settings: Settings) -> Response:
    asked = http.body_of(r)
    vote = operating.feedback(Caller(settings), asked, inputs.required(asked, "voter"))
    return http.reply(200, {"result": vote.value})


def _store(r: Request, settings: Settings) -> Response:
    asked = http.body_of(r, http.MAX_ITEMS_BODY)
    whose = (inputs.text(asked, name).strip() for name in ("app_id", "user_id"))
    reasons = wrapping.store_all(Caller(settings, *whose), asked)
    refused = [
        {"item": place, "reason": why} for place, why in enumerate(reasons) if why
    ]
    return http.reply(200, {"stored": len(reasons) - len(refused), "refused": refused})


_OTHERS: Mapping[str, Callable[[Request, Settings], Response]] = {
    "/healthz": _healthz,
    "/metrics": _metrics,
    "/invalidate": _invalidate,
    "/switch": _switch,
    "/feedback": _feedback,
    "/store": _store,
}
