"""The model server: one HTTP call, its answer in pieces, its faults by type.

Dify's load balancing goes by the class of an error (host contract 5.2): a 429
cools a key down for a minute, a refused key or a lost connection for ten
seconds. So each fault is raised as the class that says what it was. No message
repeats a response body, a header or a key.
"""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

import orjson
import requests
import urllib3
from dify_plugin.errors.model import (
    InvokeAuthorizationError,
    InvokeBadRequestError,
    InvokeConnectionError,
    InvokeError,
    InvokeRateLimitError,
    InvokeServerUnavailableError,
)

from cachecore.streams import Piece
from cached_model.body import Call
from cached_model.form import Form
from cached_model.reader import Incomplete, Reader, TooLong, UpstreamError
from cached_model.sse import NotEvents, events, parse
from difycodec import web

_READ_SIZE: Final = 64 * 1024
_MAX_JSON: Final = 16 * 1024 * 1024
_DRAIN_SECONDS: Final = 0.05
_DRAIN_READS: Final = 3


def ask(form: Form, call: Call, *, stream: bool, user: str | None) -> Iterator[Piece]:
    """A chat's answer in pieces. Raises an InvokeError, before or between them."""
    body: dict[str, Any] = {**call.body, "stream": stream}
    if stream and form.include_usage:
        body["stream_options"] = {"include_usage": True}
    if user:
        body["user"] = user
    with _asked(form, call.url, body) as (response, arriving):
        reader = Reader(show_thoughts=call.thoughts)
        content_type = response.headers.get("Content-Type", "")
        if stream and "application/json" not in content_type:
            yield from reader.pieces(events(arriving))
            _drain(response)
        else:
            # Some servers answer a streaming request in one piece.
            data = _json(arriving)
            if not isinstance(data, dict):
                raise Incomplete
            yield reader.whole(data)


def fetch(form: Form, url: str, body: Mapping[str, Any]) -> Any:
    """The JSON that the server answers with. Raises an InvokeError."""
    with _asked(form, url, body) as (_, arriving):
        return _json(arriving)


@contextmanager
def _asked(
    form: Form, url: str, body: Mapping[str, Any]
) -> Iterator[tuple[requests.Response, Iterator[bytes]]]:
    """The response to a request, and its bytes as they arrive.

    What goes wrong until the end of the block is raised as an InvokeError.
    """
    deadline = time.monotonic() + form.settings.options.deadline_seconds
    place = urlsplit(url).netloc
    try:
        with web.until(deadline):
            opened = _post(form, url, body)
        with closing(opened) as response:
            if response.status_code != HTTPStatus.OK:
                with web.until(deadline):
                    raise _refused(response, place)
            yield response, _bytes(response, form, deadline)
    except InvokeError:
        raise
    except (
        web.DeadlinePassed,
        requests.Timeout,
        urllib3.exceptions.TimeoutError,
    ) as error:
        msg = f"The model server at {place} did not answer in time."
        raise InvokeConnectionError(msg) from error
    except (Incomplete, NotEvents) as error:
        msg = f"The model server at {place} ended its answer before it was complete."
        raise InvokeServerUnavailableError(msg) from error
    except TooLong as error:
        msg = f"The model server at {place} gave an answer longer than Dify can take."
        raise InvokeServerUnavailableError(msg) from error
    except UpstreamError as error:
        raise _reported(error.code, place) from error
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        msg = (
            f"The connection to the model server at {place} failed; check API endpoint "
            "URL (endpoint_url) and the network between it and the plugin daemon."
        )
        raise InvokeConnectionError(msg) from error


def _post(form: Form, url: str, body: Mapping[str, Any]) -> requests.Response:
    headers = {
        "Content-Type": "application/json",
        # A compressed stream would be held back until a block of it is full.
        "Accept-Encoding": "identity",
        **form.extra_headers,
    }
    if form.api_key:
        headers["Authorization"] = f"Bearer {form.api_key}"
    return web.session().post(
        url,
        data=json.dumps(body, ensure_ascii=False).encode("utf-8", "replace"),
        headers=headers,
        stream=True,
        timeout=(web.CONNECT_TIMEOUT, _read_timeout(form)),
        **web.surroundings(url),
    )


def _read_timeout(form: Form) -> float:
    options = form.settings.options
    return min(options.read_timeout_seconds, options.deadline_seconds)


def _bytes(response: requests.Response, form: Form, deadline: float) -> Iterator[bytes]:
    """What has arrived, as it arrives: read1 never waits for a buffer to fill."""
    while True:
        _limit(response, _read_timeout(form))
        with web.until(deadline):
            chunk = response.raw.read1(_READ_SIZE, decode_content=True)
        if not chunk:
            return
        yield chunk


def _limit(response: requests.Response, seconds: float) -> None:
    """Bound the next read. The socket is gone once the answer was read to its end."""
    sock = getattr(response.raw.connection, "sock", None)
    if sock is not None:
        sock.settimeout(seconds)


def _drain(response: requests.Response) -> None:
    """Read what follows ``[DONE]``: a connection that is not read out can't be reused.

    It is there already, mostly: the last chunk of the transfer. It is not worth
    a wait, and what goes wrong with it is not the answer's fault.
    """
    try:
        with web.until(time.monotonic() + _DRAIN_SECONDS):
            for _ in range(_DRAIN_READS):
                if not response.raw.read1(_READ_SIZE, decode_content=True):
                    return
    except Exception:  # noqa: BLE001, S110 - the answer is whole; close below
        pass
    response.raw.close()


def _json(arriving: Iterator[bytes]) -> Any:
    body = bytearray()
    for chunk in arriving:
        body += chunk
        if len(body) > _MAX_JSON:
            raise TooLong
    data = parse(bytes(body))
    if data is None:
        raise Incomplete
    return data


def _refused(response: requests.Response, place: str) -> InvokeError:
    status = response.status_code
    said = f"The model server at {place} answered HTTP {status}{_code(response)}"
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return InvokeAuthorizationError(f"{said}; check API Key (api_key).")
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        wait = response.headers.get("Retry-After", "")
        hint = (
            f"; it asks to wait {wait} s" if wait.isascii() and wait.isdigit() else ""
        )
        return InvokeRateLimitError(f"{said}, too many requests{hint}.")
    if status == HTTPStatus.NOT_FOUND:
        return InvokeBadRequestError(
            f"{said}; check API endpoint URL (endpoint_url) and the model name."
        )
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return InvokeServerUnavailableError(f"{said}; it is in trouble itself.")
    return InvokeBadRequestError(f"{said}; it does not accept this request.")


def _code(response: requests.Response) -> str:
    """The error's code, if it is a word: the rest of a body may hold anything."""
    try:
        body = response.raw.read1(_READ_SIZE, decode_content=True)
        error = orjson.loads(body)["error"]
        code = error.get("code") or error.get("type")
    except (ValueError, KeyError, TypeError, AttributeError, OSError):
        return ""
    except urllib3.exceptions.HTTPError:
        return ""
    return f" ({word})" if (word := web.word(code)) else ""


def _reported(code: str, place: str) -> InvokeError:
    known = web.word(code)
    shown = f" ({known})" if known else ""
    said = f"The model server at {place} reported an error in its answer{shown}."
    word = known.lower()
    if word == "429" or "rate_limit" in word or "ratelimit" in word:
        return InvokeRateLimitError(said)
    return InvokeServerUnavailableError(said)
