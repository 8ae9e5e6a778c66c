from collections.abc import Mapping
from typing import Any

from dify_plugin import Endpoint
from werkzeug import Request, Response

from rag_cache import http, operating


class Invalidate(Endpoint):
    def _invoke(
        self, r: Request, values: Mapping[str, Any], settings: Mapping[str, Any]
    ) -> Response:
        def do() -> Response:
            asked = http.body_of(r)
            said = operating.invalidate(http.caller(settings), asked)
            body = {"done": True, "message": said.message, "names": dict(said.names)}
            return http.reply(200, body)

        return http.answer(r, settings, do)
