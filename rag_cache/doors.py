"""HTTP for the endpoints: who may enter, and answers as JSON.

Anyone who knows a hook's URL can call it (host contract 9), so every endpoint
asks for the token of its settings, in constant time, and refuses when none is set.
"""

import hmac
import json
from collections.abc import Mapping
from typing import Any

from werkzeug import Request, Response


def reply(status: int, body: Mapping[str, Any]) -> Response:
    """A JSON response."""
    text = json.dumps(body, ensure_ascii=False)
    return Response(text, status=status, content_type="application/json")


def refuse(request: Request, settings: Mapping[str, Any]) -> Response | None:
    """The refusal for a caller without the token, or None."""
    wanted = str(settings.get("access_token") or "").strip()
    if not wanted:
        return reply(403, {"error": "Set an access token in the endpoint's settings."})
    given = request.headers.get("Authorization", "").removeprefix("Bearer ").strip()
    if not hmac.compare_digest(given.encode(), wanted.encode()):
        return reply(401, {"error": "The Authorization header lacks the access token."})
    return None
