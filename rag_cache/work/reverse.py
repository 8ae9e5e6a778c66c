"""Calls to models and apps of the workspace, by reverse invocation.

An answer crosses queues of the host, which drop items when they are full. If the caller
has left, no item comes back at all (host contract 3.5, 8). So every wait has its own
limit, and only an answer that is proven complete is kept.
"""

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import gevent

from rag_cache.errors import ReverseError

# The finish reason of an answer that was served but may be incomplete.
UNPROVEN: Final = "unproven"
# A queue of the host drops an item only while it holds this many, and these do arrive
# (D/internal/core/dify_invocation/calldify/http_request.go:112, pkg/utils/stream). So
# an answer with fewer items is complete.
HOST_QUEUE: Final = 1024
_LONGEST: Final = 500
# The finish reasons of a model's answer that was cut or filtered.
CUT: Final = ("length", "content_filter")
# Parts of other servers' errors that may hold a secret: the query of an address or of a
# path, also in JSON with escaped slashes; a user and password before a host; a key.
_SECRETS: Final[Mapping[re.Pattern[str], str]] = {
    re.compile(r"(/[^\s?]{0,300})\?\S*"): r"\1?…",
    re.compile(r"(//|\\/\\/)[^\s/'\"\\]{1,300}@"): r"\1…@",
    re.compile(r"(?i)\b((?:bearer|basic)\s+)(?=\S*\d)[\w.~+/=-]{8,}"): r"\1…",
    re.compile(r"\bsk-[\w-]{8,}"): "sk-…",
}
# Dify's words before the error of a tool, once for each app that called another one
# (plugin/impl/base.py).
_OF_TOOL: Final = re.compile(
    r"An error occurred in the \S+, please contact the author of \S+ for help, "
    r"error type: \w+, error details: "
)
# The words before the report of a plugin's error whose class Dify does not know.
_REPORT: Final = "PluginInvokeError: "
# The daemon's words before Dify's reply as JSON, if Dify refused the call.
_REPLY: Final = " and respond with: "
# The SDK's words for the classes of a model's errors (interfaces/model/ai_model.py).
_STATUSES: Final[Mapping[str, int]] = {
    "Rate Limit Error": 429,
    "Bad Request Error": 400,
    "Server Unavailable Error": 503,
    "Connection Error": 503,
}
# The upstream's own status in the error of Dify's OpenAI-API-compatible provider. Others
# (a refused key) are no status for our caller.
_STATUS: Final = re.compile(r"\bstatus code:? (\d{3})\b")
_PASSED_ON: Final[Mapping[str, int]] = {
    "400": 400,
    "413": 400,
    "422": 400,
    "429": 429,
    "503": 503,
    "504": 503,
}
# Dify's error for an app that has never been published
# (core/plugin/backwards_invocation/app.py).
_UNPUBLISHED: Final = "unexpected app type"


class _Silent(BaseException):
    """No item came in time. Not an Exception: the SDK treats those as an end."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds: ``deadline`` limits the whole call, ``silence`` the wait for an item."""

    deadline: float = 240.0
    silence: float = 120.0


def bounded[T](
    what: str, ask: Callable[[], Iterable[T]], limits: Limits
) -> Iterator[T]:
    """The items of ``ask``, each within the limits. Raises ReverseError."""
    ends = time.monotonic() + limits.deadline
    try:
        items = iter(ask())
        while True:
            left = min(limits.silence, ends - time.monotonic())
            # Only around this wait: across a yield, the timeout would hit the caller.
            with gevent.Timeout(max(0.0, left), _Silent()):
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield item
    except _Silent:
        raise ReverseError(f"The {what} did not answer in time.", 504) from None
    except GeneratorExit:
        raise
    except Exception as error:  # noqa: BLE001 - the SDK raises this for all errors
        message, status = _read(error)
        raise ReverseError(
            f"The {what} could not be asked: {message}", status
        ) from None


def message_of(text: str) -> str:
    """The message in an error text of Dify, fit to be shown.

    At most 500 characters, without a report as JSON and without the parts in which
    providers' errors repeat a secret.
    """
    # Cut first, because each pattern takes some time, and far beyond the shown part.
    message = _OF_TOOL.sub("", _reported(text))[: 40 * _LONGEST]
    for secret, shown in _SECRETS.items():
        message = secret.sub(shown, message)
    return message[:_LONGEST]


def _reported(text: str) -> str:
    """The text without the plugin's own report as JSON, which it may end in, or be."""
    message = text.strip()
    for before_report in (_REPORT, _REPLY):
        before, found, report = message.partition(before_report)
        if found:
            message = _message_in(report, before)
    return _message_in(message, message) if message.startswith("{") else message


def _message_in(report: str, default: str) -> str:
    try:
        return str(json.loads(report).get("message") or "")
    except (ValueError, AttributeError):
        return default


def _read(error: Exception) -> tuple[str, int]:
    """The message of an error of the host, and the HTTP status with the same meaning.

    The error is text: with the SDK's words for the class of a model's error, or with
    the plugin's own report as JSON, whose trace must not be shown.
    """
    message = message_of(str(error))
    if _UNPUBLISHED in message:
        return "it is not published; publish it in Dify", 400
    return message or type(error).__name__, _status_of(message)


def _status_of(message: str) -> int:
    for words, status in _STATUSES.items():
        if words in message:
            return status
    named = _STATUS.search(message)
    return _PASSED_ON.get(named[1], 502) if named else 502
