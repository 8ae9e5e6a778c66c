from collections.abc import Mapping
from typing import Any

from dify_plugin import Endpoint
from werkzeug import Request, Response

from rag_cache import doors, inputs, operating


class Feedback(Endpoint):
    def _invoke(
        self, r: Request, values: Mapping[str, Any], settings: Mapping[str, Any]
    ) -> Response:
        def do() -> Response:
            asked = doors.body_of(r)
            voter = inputs.required(asked, "voter")
            vote = operating.feedback(doors.caller(settings), asked, voter)
            return doors.reply(200, {"result": vote.value})

        return doors.answer(r, settings, do)
