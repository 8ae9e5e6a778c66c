from collections.abc import Mapping
from typing import Any

from dify_plugin import Endpoint
from werkzeug import Request, Response

from rag_cache import http, observe


class Metrics(Endpoint):
    def _invoke(
        self, r: Request, values: Mapping[str, Any], settings: Mapping[str, Any]
    ) -> Response:
        def do() -> Response:
            return Response(
                observe.metrics(settings), content_type=observe.CONTENT_TYPE
            )

        return http.answer(r, settings, do)
