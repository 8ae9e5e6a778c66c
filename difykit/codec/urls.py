"""Dify's signed file URLs: the same file under a new signature on every call.

Dify writes ``/files/<id>/file-preview?timestamp=…&nonce=…&sign=…`` (also
``image-preview``, and ``/files/tools/<id>.png``), anew for each request, and
serves them for 300 s (its FILES_ACCESS_TIMEOUT). So a key is made without the
signature, and what holds such a URL expires with it.

Anybody can type a URL of that shape. Only those under an address at which this Dify
serves its files are taken for its own; the environment that the plugin daemon hands to
plugins names it. Where none is named, no URL is.
"""

import os
import re
import time
from collections.abc import Iterable, Iterator
from typing import Any, Final

VALID_SECONDS: Final = 300

# Where Dify's own settings name the addresses of its files (docker/.env.example).
_ADDRESSES: Final = ("FILES_URL", "INTERNAL_FILES_URL")

_SIGNED: Final = re.compile(
    r"(https?://[^\s/?#\"'<>()]+(?:/[\w.~-]+)*?)"
    r"(/files/(?:tools/)?[0-9A-Fa-f-]{36}(?:/(?:file|image)-preview|\.\w{1,10})?)"
    r"\?timestamp=(\d{1,12})&(?:amp;)?nonce=[0-9a-f]{32}"
    # 43 letters of base64 and its padding, and not one more: what follows may be
    # the question itself, for Chinese needs no space before it.
    r"&(?:amp;)?sign=[A-Za-z0-9_-]{43}(?:=|%3D)",
    re.ASCII,
)


def is_signed(url: str) -> bool:
    """Whether the URL is one of this Dify's signed ones."""
    return any(True for _ in _own(url))


def may_change(url: str) -> bool:
    """Whether what a URL shows may change behind it: not a data URL, nor Dify's own."""
    return bool(url) and not url.startswith("data:") and not is_signed(url)


def unsigned(value: Any) -> Any:
    """What a key is made of: the same JSON data for every signature of the same files.

    ``value`` is a text, an object, or a list of objects or texts. Where it holds
    signatures they are left out, and a list says in which places; so no text that
    somebody types is taken for one with a signature.
    """
    places: list[list[Any]] = []
    stripped = _stripped(value, [], places)
    return [stripped, places] if places else value


def had_signatures(kept: Any) -> bool:
    """Whether ``unsigned`` left a signature out of what it made this of."""
    return stripped(kept) is not kept


def stripped(kept: Any) -> Any:
    """What ``unsigned`` made, without its list of places."""
    pair = isinstance(kept, list) and len(kept) == 2 and isinstance(kept[1], list)  # noqa: PLR2004
    return kept[0] if pair and kept[1] and isinstance(kept[1][0], list) else kept


def _stripped(value: Any, path: list[Any], places: list[list[Any]]) -> Any:
    if isinstance(value, dict):
        return {
            key: item if _is_clear(item) else _stripped(item, [*path, key], places)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [
            item if _is_clear(item) else _stripped(item, [*path, place], places)
            for place, item in enumerate(value)
        ]
    if not isinstance(value, str):
        return value
    parts, at = [], 0
    for found in _own(value):
        parts.append(value[at : found.end(2)])
        at = found.end()
        places.append([*path, sum(map(len, parts))])
    return "".join([*parts, value[at:]])


def expires_at(value: Any) -> float | None:
    """When the first signature in JSON data ends, in seconds since the epoch.

    Never later than a signature of now would.
    """
    if isinstance(value, str):
        latest = time.time()
        times = [min(int(found[3]), latest) + VALID_SECONDS for found in _own(value)]
        return min(times, default=None)
    items: Iterable[Any] = ()
    if isinstance(value, dict):
        items = value.values()
    elif isinstance(value, list):
        items = value
    ends = [expires_at(item) for item in items if not _is_clear(item)]
    return min((end for end in ends if end is not None), default=None)


def _own(text: str) -> Iterator[re.Match[str]]:
    """The signed URLs in a text that are under an address of this Dify's files."""
    if _is_clear(text):
        return
    ours = [os.environ.get(name, "").strip().rstrip("/") for name in _ADDRESSES]
    for found in _SIGNED.finditer(text):
        if found[1] in filter(None, ours):
            yield found


def _is_clear(value: Any) -> bool:
    """Whether it surely holds no signature: what most of a request is made of."""
    return "sign=" not in value if type(value) is str else value is None
