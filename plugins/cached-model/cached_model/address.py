"""The address of a model server and the headers for it, from a form's text."""

import json
import re
from typing import Final
from urllib.parse import urlsplit

from cachecore.errors import ConfigError

_ENDPOINT_PATHS: Final = ("/chat/completions", "/completions", "/embeddings", "/rerank")


# A wrong length of a body would change the next request on the same connection, which may
# belong to another workspace.
_CONNECTIONS_OWN: Final = frozenset(
    {
        *(
            "connection",
            "content-length",
            "expect",
            "keep-alive",
            "proxy-authorization",
        ),
        *("proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"),
        *("accept-encoding", "content-encoding"),
    }
)


_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def read_base_url(
    text: str,
    name: str = "endpoint_url",
    shown: str = "API Endpoint URL (endpoint_url)",
) -> str:
    """The base of an OpenAI-compatible API, without a slash at its end.

    An address without a path means its ``/v1``; a path is used unchanged. If the address
    ends with the path of a single endpoint, the part before it is the base, even if it is
    empty, because some servers have no ``/v1``. Raises ConfigError for the field ``name``,
    whose label is ``shown``.
    """

    def mistake(rest: str) -> ConfigError:
        return ConfigError(name, f"{shown} {rest}.")

    if not text:
        raise mistake("is required, as in https://api.openai.com/v1")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise mistake("has a host or port that makes no sense") from None
    if parts.scheme not in ("http", "https"):
        raise mistake("must begin with http:// or https://")
    if not parts.hostname or port == 0:
        raise mistake("has no host, as in https://api.openai.com/v1")
    if parts.username is not None or parts.password is not None:
        raise mistake(
            "must not hold a user name or password; use API Key (api_key), or an "
            "Authorization in Extra headers (extra_headers)"
        )
    if parts.query or parts.fragment:
        raise mistake("must not have a ? or # part")
    path = parts.path.rstrip("/") or "/v1"
    for ending in _ENDPOINT_PATHS:
        path = path.removesuffix(ending)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    place = host if port is None else f"{host}:{port}"
    return f"{parts.scheme}://{place}{path}"


def read_api_key(text: str) -> str:
    """An API key that a header can contain."""
    if not (text.isascii() and text.isprintable()):
        sentence = "API Key (api_key) has characters that a header can't carry; paste it again."
        raise ConfigError("api_key", sentence)
    return text


def read_headers(text: str) -> dict[str, str]:
    """Extra headers from a JSON object of strings."""

    def mistake(rest: str) -> ConfigError:
        return ConfigError("extra_headers", f"Extra headers (extra_headers) {rest}.")

    if not text:
        return {}
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        raise mistake('must be a JSON object, as in {"X-Team": "support"}') from None
    if not isinstance(data, dict):
        raise mistake('must be a JSON object, as in {"X-Team": "support"}')
    for name, value in data.items():
        if not _HEADER_NAME.fullmatch(name):
            raise mistake("has a name that is not a header's name")
        if name.lower() in _CONNECTIONS_OWN:
            raise mistake(f"must not set {name}, which belongs to the connection")
        if not (isinstance(value, str) and value.isascii() and value.isprintable()):
            raise mistake(f"has a value under {name[:60]!r} that is not plain text")
    return {name.lower(): value for name, value in data.items()}
