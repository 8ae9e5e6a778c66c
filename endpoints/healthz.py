from collections.abc import Mapping
from typing import Any

from dify_plugin import Endpoint
from werkzeug import Request, Response

from cachecore.errors import ConfigError
from rag_cache import http, openai, operating


class Healthz(Endpoint):
    def _invoke(
        self, r: Request, values: Mapping[str, Any], settings: Mapping[str, Any]
    ) -> Response:
        def do() -> Response:
            try:
                advice = operating.check(settings)
            except ConfigError as error:
                return http.reply(503, {"status": "unavailable", "error": str(error)})
            said = [*advice, *openai.refused(settings)]
            return http.reply(200, {"status": "ok", "advice": said})

        return http.answer(r, settings, do)
