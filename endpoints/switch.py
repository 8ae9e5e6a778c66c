from collections.abc import Mapping
from typing import Any

from dify_plugin import Endpoint
from werkzeug import Request, Response

from rag_cache import doors, operating


class Switch(Endpoint):
    def _invoke(
        self, r: Request, values: Mapping[str, Any], settings: Mapping[str, Any]
    ) -> Response:
        def do() -> Response:
            asked = {"target": "switch", "name": doors.body_of(r).get("switch")}
            said = operating.invalidate(doors.caller(settings), asked)
            return doors.reply(200, {"done": True, "message": said.message})

        return doors.answer(r, settings, do)
