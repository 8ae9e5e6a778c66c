from collections.abc import Mapping
from typing import Any

from dify_plugin import Endpoint
from werkzeug import Request, Response

from rag_cache import http, operating


class Switch(Endpoint):
    def _invoke(
        self, r: Request, values: Mapping[str, Any], settings: Mapping[str, Any]
    ) -> Response:
        def do() -> Response:
            asked = {"target": "switch", "name": http.body_of(r).get("switch")}
            said = operating.invalidate(http.caller(settings), asked)
            return http.reply(200, {"done": True, "message": said.message})

        return http.answer(r, settings, do)
