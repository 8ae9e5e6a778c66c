"""Dify's signed file URLs: the same file under a new signature on every call.

Dify writes ``/files/<id>/file-preview?timestamp=…&nonce=…&sign=…`` (also
``image-preview``, and ``/files/tools/<id>.png``), anew for each request, and
serves them for 300 s (its FILES_ACCESS_TIMEOUT). So a key is made without the
signature, and what holds such a URL expires with it.
"""

import re
from collections.abc import Iterable
from typing import Any, Final

VALID_SECONDS: Final = 300

_SIGNED: Final = re.compile(
    r"(/files/(?:tools/)?[0-9A-Fa-f-]{36}(?:/(?:file|image)-preview|\.\w{1,10})?)"
    r"\?timestamp=(\d{1,12})&(?:amp;)?nonce=[0-9a-f]{32}"
    # 43 letters of base64 and its padding, and not one more: what follows may be
    # the question itself, for Chinese needs no space before it.
    r"&(?:amp;)?sign=[A-Za-z0-9_-]{43}(?:=|%3D)",
    re.ASCII,
)


def is_signed(url: str) -> bool:
    """Whether the URL is one of Dify's signed ones."""
    return _SIGNED.search(url) is not None


def may_change(url: str) -> bool:
    """Whether what a URL shows may change behind it: not a data URL, nor Dify's own."""
    return bool(url) and not url.startswith("data:") and not is_signed(url)


def unsigned(value: Any) -> Any:
    """The same JSON data with every signature in its texts left out."""
    if isinstance(value, dict):
        return {
            key: item if _is_clear(item) else unsigned(item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [item if _is_clear(item) else unsigned(item) for item in value]
    if isinstance(value, str):
        return _SIGNED.sub(r"\1?signed", value)
    return value


def expires_at(value: Any) -> float | None:
    """When the first signature in JSON data ends, in seconds since the epoch."""
    if isinstance(value, str):
        times = [int(found[2]) + VALID_SECONDS for found in _SIGNED.finditer(value)]
        return min(times, default=None)
    items: Iterable[Any] = ()
    if isinstance(value, dict):
        items = value.values()
    elif isinstance(value, list):
        items = value
    ends = [expires_at(item) for item in items if not _is_clear(item)]
    return min((end for end in ends if end is not None), default=None)


def _is_clear(value: Any) -> bool:
    """Whether it surely holds no signature: what most of a request is made of."""
    return "sign=" not in value if type(value) is str else value is None
