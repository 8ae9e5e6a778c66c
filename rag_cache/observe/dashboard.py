"""The dashboard: one page that shows what the cache saves, and where it does not.

Browsers can't send a bearer token for a typed address. So this page also accepts HTTP
Basic, with the access token as the password. A browser sends the password with any
site's form, so an action also needs a proof that is in the page itself.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from jinja2 import Environment, StrictUndefined, Template
from werkzeug import Request, Response

from cachecore.errors import ConfigError, StoreError
from rag_cache import http, operating, settings
from rag_cache.caller import Caller
from rag_cache.errors import BadInput
from rag_cache.observe import overview, words
from rag_cache.observe.savings import WINDOWS
from rag_cache.observe.words import Words

_PAGE: Final = Path(__file__).with_name("dashboard.html")
_MAX_FORM: Final = 4096

type Form = Mapping[str, Any]


def show(request: Request, form: Form) -> Response:
    """The page."""
    return _entered(request, form, lambda: _page(request, form))


def act(request: Request, form: Form) -> Response:
    """Invalidate the tag that the page's form names, and show the page."""
    return _entered(request, form, lambda: _acted(request, form))


# --- access -------------------------------------------------------------------


def _entered(request: Request, form: Form, do: Callable[[], Response]) -> Response:
    def refuse(status: int, message: str) -> Response:
        if status != HTTPStatus.UNAUTHORIZED:
            return _plain(status, message)
        refused = _plain(status, _words(request)("sign_in"))
        basic = 'Basic realm="Answer Cache", charset="UTF-8"'
        refused.headers["WWW-Authenticate"] = basic
        return refused

    return http.answer(request, form, do, refuse, _knows)


def _knows(request: Request, token: str) -> bool:
    """Whether the Basic password, with any name, or the bearer token is valid."""
    given = request.authorization
    if given is None or given.type != "basic":
        return http.may_enter(request, token)
    password = str(given.password).encode("utf-8", "replace")
    return hmac.compare_digest(password, token.encode())


def _plain(status: int, message: str) -> Response:
    response = Response(
        message + "\n", status=status, content_type="text/plain; charset=utf-8"
    )
    response.headers["Cache-Control"] = "no-store"
    return response


def _proof(form: Form) -> str:
    """A value that only our page contains; only a caller with the token can read it."""
    token = str(form["access_token"]).strip()
    return hmac.digest(token.encode(), b"answer-cache dashboard", hashlib.sha256).hex()


def _is_ours(request: Request) -> bool:
    """Whether the form was sent from our own page, according to the browser.

    It compares host names without ports, because Dify's nginx drops the port.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site == "same-origin"
    origin = request.headers.get("Origin")
    if origin is None:
        return True
    try:
        here = urlsplit(f"//{request.headers.get('Host', '')}").hostname
        return bool(here) and urlsplit(origin).hostname == here
    except ValueError:
        return False


def _acted(request: Request, form: Form) -> Response:
    message = request.form if (request.content_length or 0) <= _MAX_FORM else {}
    proof = str(message.get("proof") or "")
    if not _is_ours(request) or not hmac.compare_digest(
        proof.encode("utf-8", "replace"), _proof(form).encode()
    ):
        return _plain(403, "This form is not from the dashboard; open it again.")
    tag, translate = str(message.get("tag") or "").strip(), _words(request)
    try:
        renewed = operating.invalidate(Caller(form), {"target": "tag", "name": tag})
    except (BadInput, ConfigError) as error:
        return _page(request, form, translate("not_done", reason=error), failed=True)
    known, never = operating.split(renewed.names)
    sentences = [translate("done", tag=", ".join(known))] if known else []
    if never:
        sentences.append(translate("never_kept", tags=", ".join(never)))
    return _page(request, form, " ".join(sentences))


def _words(request: Request) -> Words:
    return words.preferred(request.headers.get("Accept-Language", ""))


# --- the page -----------------------------------------------------------------


@cache
def _template() -> Template:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.from_string(_PAGE.read_text("utf-8"))


def _page(
    request: Request, form: Form, message: str = "", *, failed: bool = False
) -> Response:
    read, translate = settings.read(form), _words(request)
    window = request.args.get("window", "24h")
    window = window if window in WINDOWS else "24h"
    nonce = secrets.token_urlsafe(18)
    try:
        shown = overview.shown(read, form, window, translate)
    except StoreError as error:
        shown = {"down": error.remedy}
    html = _template().render(
        words=translate,
        namespace=read.cache.store.namespace,
        window=window,
        windows=("1h", "24h", "7d"),
        seconds=60 if window == "7d" else 15,
        nonce=nonce,
        proof=_proof(form),
        message=message,
        failed=failed,
        **shown,
    )
    response = Response(html, content_type="text/html; charset=utf-8")
    response.headers.update(
        {
            "Content-Security-Policy": (
                f"default-src 'none'; style-src 'nonce-{nonce}'; script-src "
                f"'nonce-{nonce}'; connect-src 'self'; img-src data:; form-action 'self'; "
                "base-uri 'none'; frame-ancestors 'none'"
            ),
            "Cache-Control": "no-store",
            # Not stricter: without a referrer, a browser sends Origin: null with our
            # own form, as with the forms of other sites.
            "Referrer-Policy": "same-origin",
            "X-Content-Type-Options": "nosniff",
        }
    )
    return response
