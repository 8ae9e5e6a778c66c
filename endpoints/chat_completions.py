from collections.abc import Mapping
from functools import partial
from typing import Any

from dify_plugin import Endpoint
from werkzeug import Request, Response

from rag_cache import gateway, models


class ChatCompletions(Endpoint):
    def _invoke(
        self, r: Request, values: Mapping[str, Any], settings: Mapping[str, Any]
    ) -> Response:
        return gateway.chat(r, settings, partial(models.llm, self.session))
