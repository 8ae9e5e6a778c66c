from collections.abc import Mapping
from typing import Any

from dify_plugin import Endpoint
from werkzeug import Request, Response

from rag_cache import http, inputs, operating


class Feedback(Endpoint):
    def _invoke(
        self, r: Request, values: Mapping[str, Any], settings: Mapping[str, Any]
    ) -> Response:
        def do() -> Response:
            asked = http.body_of(r)
            voter = inputs.required(asked, "voter")
            vote = operating.feedback(http.caller(settings), asked, voter)
            return http.reply(200, {"result": vote.value})

        return http.answer(r, settings, do)
