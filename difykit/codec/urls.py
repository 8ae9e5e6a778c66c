"""Dify's signed file URLs: the same file under a new signature on every call.

Dify writes ``/files/<id>/file-preview?timestamp=…&nonce=…&sign=…`` (also
``image-preview``, and ``/files/tools/<id>.png``) again for each request, and serves them
for 300 s (its FILES_ACCESS_TIMEOUT). So a key is made without the signature, and an
answer with such a URL expires with the signature.

Anybody can type such a URL. Only URLs under an address at which this Dify serves its files
count as its own. The environment that the plugin daemon gives to plugins names these
addresses. If it names none, no URL counts.
"""

import os
import re
import time
from collections.abc import Iterable, Iterator
from typing import Any, Final

VALID_SECONDS: Final = 300

# The settings in which Dify names the addresses of its files (docker/.env.example).
_ADDRESSES: Final = ("FILES_URL", "INTERNAL_FILES_URL")

_SIGNED: Final = re.compile(
    r"(https?://[^\s/?#\"'<>()]+(?:/[\w.~-]+)*?)"
    r"(/files/(?:tools/)?[0-9A-Fa-f-]{36}(?:/(?:file|image)-preview|\.\w{1,10})?)"
    r"\?timestamp=(\d{1,12})&(?:amp;)?nonce=[0-9a-f]{32}"
    # Exactly 43 letters of base64 and the padding. The question may follow directly,
    # because Chinese needs no space before it.
    r"&(?:amp;)?sign=[A-Za-z0-9_-]{43}(?:=|%3D)",
    re.ASCII,
)


def is_signed(url: str) -> bool:
    """Whether the URL is a signed URL of this Dify."""
    return any(True for _ in _own(url))


def may_change(url: str) -> bool:
    """Whether a URL's content may change: it is neither a data URL nor Dify's own."""
    return bool(url) and not url.startswith("data:") and not is_signed(url)


def unsigned(value: Any) -> Any:
    """The value for a key: the same JSON data for every signature of the same files.

    ``value`` is a text, an object, or a list of objects or texts. Its signatures are
    left out, and a list of their places is added. So a typed text never equals a text
    that had a signature.
    """
    places: list[list[Any]] = []
    stripped = _stripped(value, [], places)
    return [stripped, places] if places else value


def had_signatures(kept: Any) -> bool:
    """Whether ``unsigned`` has left a signature out of this value."""
    return stripped(kept) is not kept


def stripped(kept: Any) -> Any:
    """The result of ``unsigned`` without its list of places."""
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
    """The time at which the first signature in JSON data expires, since the epoch.

    It is never later than the expiry of a signature made now.
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
    """Whether a value certainly has no signature, like most values of a request."""
    return "sign=" not in value if type(value) is str else value is None
