from collections.abc import Mapping
from typing import Any

from dify_plugin import Endpoint
from werkzeug import Request, Response

from rag_cache import doors, exposition


class Metrics(Endpoint):
    def _invoke(
        self, r: Request, values: Mapping[str, Any], settings: Mapping[str, Any]
    ) -> Response:
        def do() -> Response:
            return Response(
                exposition.text(settings), content_type=exposition.CONTENT_TYPE
            )

        return doors.answer(r, settings, do)
