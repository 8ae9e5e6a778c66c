from collections.abc import Mapping
from typing import Any

from dify_plugin import Endpoint
from werkzeug import Request, Response

from rag_cache import doors, operating


class Invalidate(Endpoint):
    def _invoke(
        self, r: Request, values: Mapping[str, Any], settings: Mapping[str, Any]
    ) -> Response:
        def do() -> Response:
            asked = doors.body_of(r)
            said = operating.invalidate(doors.caller(settings), asked)
            body = {"done": True, "message": said.message, "names": dict(said.names)}
            return doors.reply(200, body)

        return doors.answer(r, settings, do)
