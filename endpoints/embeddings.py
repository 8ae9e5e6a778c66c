from collections.abc import Mapping
from functools import partial
from typing import Any

from dify_plugin import Endpoint
from werkzeug import Request, Response

from rag_cache import gateway, models


class Embeddings(Endpoint):
    def _invoke(
        self, r: Request, values: Mapping[str, Any], settings: Mapping[str, Any]
    ) -> Response:
        return gateway.embeddings(r, settings, partial(models.embed, self.session))
