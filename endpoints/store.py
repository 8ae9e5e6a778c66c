from collections.abc import Mapping
from typing import Any

from dify_plugin import Endpoint
from werkzeug import Request, Response

from rag_cache import http, inputs, wrapping
from rag_cache.caller import Caller


class Store(Endpoint):
    def _invoke(
        self, r: Request, values: Mapping[str, Any], settings: Mapping[str, Any]
    ) -> Response:
        def do() -> Response:
            asked = http.body_of(r, http.MAX_ITEMS_BODY)
            whose = (inputs.text(asked, name).strip() for name in ("app_id", "user_id"))
            reasons = wrapping.store_all(Caller(settings, *whose), asked)
            refused = [
                {"item": place, "reason": reason}
                for place, reason in enumerate(reasons)
                if reason
            ]
            stored = len(reasons) - len(refused)
            return http.reply(200, {"stored": stored, "refused": refused})

        return http.answer(r, settings, do)
