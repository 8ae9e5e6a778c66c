"""HTTP for the endpoints: access, request bodies, and answers as JSON.

Anyone who knows a hook's URL can call it (host contract 9). So every endpoint requires
the token of its settings, compares it in constant time, and refuses if none is set.
"""

import hmac
import json
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson
from werkzeug import Request, Response

from cachecore.errors import ConfigError
from difykit.errors import PublicError
from rag_cache.errors import BadInput

logger = logging.getLogger(__name__)

MAX_BODY: Final = 64 * 1024
MAX_ITEMS_BODY: Final = 2 * 1024 * 1024  # for a body with values to keep
_DEEPEST: Final = 60
_SCHEME: Final = "bearer "
# The SDK writes a reply as one line in hexadecimal, and the host kills a plugin that
# writes a line over 5 MiB (host contract 9).
MAX_REPLY: Final = 2_400_000
# The two forms of an empty body: the daemon sends it in chunks, and the SDK reads the
# mark of the last chunk as the body.
_EMPTY: Final = (b"", b"0\r\n\r\n")


def reply(status: int, body: Mapping[str, Any]) -> Response:
    """A JSON response."""
    data = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
    if len(data) > MAX_REPLY:
        sentence = (
            "The answer is larger than Dify accepts; ask for less, for example with a "
            "lower top_k."
        )
        return reply(502, {"error": sentence, "error_code": 502, "error_msg": sentence})
    return Response(data, status=status, content_type="application/json")


def may_enter(request: Request, wanted: str) -> bool:
    """Whether the caller has the token. The check of a wrong one takes as long."""
    given = request.headers.get("Authorization", "").strip()
    if given[: len(_SCHEME)].lower() == _SCHEME:
        given = given[len(_SCHEME) :].strip()
    return hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode())


def body_of(request: Request, most: int = MAX_BODY) -> dict[str, Any]:
    """The body as a JSON object; an empty one if there is no body. Raises BadInput."""
    data = request.get_data()
    if data in _EMPTY:
        return {}
    if len(data) > most:
        raise BadInput(f"The body may have at most {most} bytes.")
    try:
        # Strict: no NaN and no lone surrogate, which later steps could not process.
        body = orjson.loads(data)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise BadInput('The body must be a JSON object, as in {"name": "faq"}.')
    if _is_deep(body, _DEEPEST):
        raise BadInput(f"The body must not be nested deeper than {_DEEPEST} times.")
    return body


def _is_deep(value: Any, left: int) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        return False
    return not left or any(_is_deep(item, left - 1) for item in value)


def as_json(status: int, sentence: str) -> Response:
    """An error in the form that most endpoints use."""
    return reply(status, {"error": sentence})


def answer(
    request: Request,
    settings: Mapping[str, Any],
    do: Callable[[], Response],
    refuse: Callable[[int, str], Response] = as_json,
    knows: Callable[[Request, str], bool] = may_enter,
) -> Response:
    """The response of ``do`` if the caller ``knows`` the token; else of ``refuse``.

    A response never has a trace of the code, because the host would show it.
    """
    wanted = str(settings.get("access_token") or "").strip()
    if not wanted:
        return refuse(403, "Set an access token in the endpoint's settings.")
    if not knows(request, wanted):
        sentence = (
            "The Authorization header does not carry the endpoint's access token."
        )
        return refuse(401, sentence)
    try:
        return do()
    except Exception as error:  # noqa: BLE001 - the host would show its text
        return refuse(*fault(error))


def fault(error: Exception) -> tuple[int, str]:
    """The status and the sentence for an error."""
    if isinstance(error, PublicError):
        return error.status, str(error)
    if isinstance(error, ConfigError):
        return 400, str(error)
    logger.error("an endpoint failed", exc_info=error)
    return 500, f"The request could not be served: {type(error).__name__}."
