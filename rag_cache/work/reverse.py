"""What the workspace does for us: its models and apps, by reverse invocation.

What comes back crosses queues of the host that drop what they have no room for, and
of a caller that has left nothing comes back at all (host contract 3.5, 8). So every
wait has a limit of its own, and an answer has to prove itself whole to be kept.
"""

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import gevent

from rag_cache.errors import ReverseError

# The finish reason of an answer that was served and may lack something.
UNPROVEN: Final = "unproven"
# A queue of the host drops an item only while it holds so many, which then arrive
# (D/internal/core/dify_invocation/calldify/http_request.go:112, pkg/utils/stream):
# who got fewer items has got them all.
HOST_QUEUE: Final = 1024
LONGEST_MESSAGE: Final = 500
# The finish reasons of a model's answer that was cut or filtered.
CUT: Final = ("length", "content_filter")
_QUERY: Final = re.compile(r"(https?://[^\s?]{1,300})\?[^\s'\"]*")
# How a plugin's error is reported whose class Dify does not know.
_REPORT: Final = "PluginInvokeError: "
# How the daemon reports that Dify refused the call, before Dify's reply as JSON.
_REPLY: Final = " and respond with: "
# The SDK's words for the classes of a model's errors (interfaces/model/ai_model.py).
_STATUSES: Final[Mapping[str, int]] = {
    "Rate Limit Error": 429,
    "Bad Request Error": 400,
    "Server Unavailable Error": 503,
    "Connection Error": 503,
}
# What Dify says of an app that has never been published (core/plugin/backwards_invocation/app.py).
_UNPUBLISHED: Final = "unexpected app type"


class _Silent(BaseException):
    """Nothing came for too long. Not an Exception: the SDK takes those for an end."""


@dataclass(frozen=True, slots=True)
class Limits:
    """``deadline`` bounds the whole in seconds, ``silence`` the wait for each item."""

    deadline: float = 240.0
    silence: float = 120.0


def bounded[T](
    what: str, ask: Callable[[], Iterable[T]], limits: Limits
) -> Iterator[T]:
    """What ``ask`` gives, each item within the limits. Raises ReverseError."""
    ends = time.monotonic() + limits.deadline
    try:
        items = iter(ask())
        while True:
            left = min(limits.silence, ends - time.monotonic())
            # Around this one wait: across a yield it would strike the caller.
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
    except Exception as error:  # noqa: BLE001 - the SDK raises no other for all of them
        message, status = _read(error)
        raise ReverseError(
            f"The {what} could not be asked: {message}", status
        ) from None


def _read(error: Exception) -> tuple[str, int]:
    """What an error of the host's says, and the HTTP status that means the same.

    It comes as text: with the SDK's words for the class of a model's error, or with
    the plugin's own report as JSON, whose trace is nobody's business.
    """
    message = str(error).strip()
    for before_reply in (_REPORT, _REPLY):
        before, found, report = message.partition(before_reply)
        if found:
            try:
                message = str(json.loads(report).get("message") or "")
            except (ValueError, AttributeError):
                message = before
    if _UNPUBLISHED in message:
        return "it is not published; publish it in Dify", 400
    status = next((code for word, code in _STATUSES.items() if word in message), 502)
    # Some providers' errors repeat an address, with the key in its query.
    message = _QUERY.sub(r"\1?…", message[: 4 * LONGEST_MESSAGE])
    return message[:LONGEST_MESSAGE] or type(error).__name__, status
