"""The model server: one HTTP call, its answer in pieces, its errors by type.

Dify's load balancing uses the class of an error (host contract 5.2): after a 429 it does not
use a key for a minute, after a refused key or a lost connection for ten seconds. So each
error has the right class. No message repeats a response body, a header or a key.
"""

import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from http import HTTPStatus
from itertools import chain
from typing import Any, Final
from urllib.parse import urlsplit

import orjson
import urllib3
from dify_plugin.errors.model import (
    InvokeAuthorizationError,
    InvokeBadRequestError,
    InvokeConnectionError,
    InvokeError,
    InvokeRateLimitError,
    InvokeServerUnavailableError,
)
from urllib3 import BaseHTTPResponse, HTTPHeaderDict

from cachecore.answer import Piece
from cached_model.body import Call
from cached_model.form import Form
from cached_model.reader import Incomplete, Reader, TooLong, UpstreamError
from cached_model.sse import NotEvents, events, parse
from difykit import web

_HEADERS: Final = {
    "Content-Type": "application/json",
    # A compressed stream would arrive only in full blocks.
    "Accept-Encoding": "identity",
    "User-Agent": "answer-cache-for-dify",
}
# The words of servers for a request that is longer than the model's context.
_TOO_LONG: Final = re.compile(
    rb"context.{0,3}(length|window|size)|too many tokens|longer than the maximum",
    re.IGNORECASE,
)
_READ_SIZE: Final = 64 * 1024
_MAX_JSON: Final = 16 * 1024 * 1024
# The statuses of a chat server at the addresses for embeddings or reranks.
_NOT_OFFERED: Final = (404, 405, 501)
_KINDS: Final = {"embeddings": "embeddings", "rerank": "reranks"}
_DRAIN_SECONDS: Final = 0.05
_DRAIN_READS: Final = 3


def ask(form: Form, call: Call, *, stream: bool, user: str | None) -> Iterator[Piece]:
    """A chat's answer in pieces. Raises an InvokeError, before or between them."""
    body: dict[str, Any] = {**call.body, "stream": stream}
    if stream and form.include_usage:
        body["stream_options"] = {"include_usage": True}
    if user:
        body["user"] = user
    with _asked(form, call.url, body) as (response, chunks):
        reader = Reader(show_thoughts=call.thoughts)
        first = _first_bytes(chunks)
        arriving = chain([first], chunks)
        if stream and not _is_json(first, response):
            yield from reader.pieces(events(arriving))
            _drain(response)
        else:
            data = _json(arriving)
            if not isinstance(data, dict):
                raise Incomplete
            yield reader.whole(data)


def _first_bytes(arriving: Iterator[bytes]) -> bytes:
    first = b""
    while not first.strip():
        chunk = next(arriving, b"")
        first += chunk
        if not chunk:
            break
    return first


def _is_json(first: bytes, response: BaseHTTPResponse) -> bool:
    """Whether a server answered a streaming request in one piece, as some servers do.

    The content decides, not only its type: some servers label events as JSON.
    """
    kind = response.headers.get("Content-Type", "")
    return first.lstrip().startswith(b"{") and "application/json" in kind


def fetch(form: Form, url: str, body: Mapping[str, Any]) -> Any:
    """The server's JSON answer. Raises an InvokeError."""
    with _asked(form, url, body) as (_, arriving):
        return _json(arriving)


@contextmanager
def _asked(
    form: Form, url: str, body: Mapping[str, Any]
) -> Iterator[tuple[BaseHTTPResponse, Iterator[bytes]]]:
    """The response to a request, and its bytes as they arrive.

    Any error until the end of the block is raised as an InvokeError.
    """
    deadline = time.monotonic() + form.settings.options.deadline_seconds
    place = urlsplit(url).netloc
    try:
        with web.until(deadline):
            opened = _post(form, url, body)
        with closing(opened) as response:
            if response.status != HTTPStatus.OK:
                with web.until(deadline):
                    refused = _refused(response, url)
                refused.status = response.status
                raise refused
            yield response, _bytes(response, form, deadline)
    except InvokeError:
        raise
    except (
        web.DeadlinePassed,
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
    except (urllib3.exceptions.HTTPError, OSError) as error:
        msg = (
            f"The connection to the model server at {place} failed; check API Endpoint "
            "URL (endpoint_url) and the network between it and the plugin daemon."
        )
        raise InvokeConnectionError(msg) from error


def _post(form: Form, url: str, body: Mapping[str, Any]) -> BaseHTTPResponse:
    headers = HTTPHeaderDict(_HEADERS)
    for name, value in form.extra_headers.items():
        headers[name] = value
    if form.api_key:
        headers["Authorization"] = f"Bearer {form.api_key}"
    return web.ask(
        "POST",
        url,
        body=json.dumps(body, ensure_ascii=False).encode("utf-8", "replace"),
        headers=headers,
        seconds=_read_timeout(form),
    )


def _read_timeout(form: Form) -> float:
    options = form.settings.options
    return min(options.read_timeout_seconds, options.deadline_seconds)


def _bytes(response: BaseHTTPResponse, form: Form, deadline: float) -> Iterator[bytes]:
    """The bytes as they arrive: read1 does not wait for a full buffer."""
    while True:
        _limit(response, _read_timeout(form))
        with web.until(deadline):
            chunk = response.read1(_READ_SIZE, decode_content=True)
        if not chunk:
            return
        yield chunk


def _limit(response: BaseHTTPResponse, seconds: float) -> None:
    """Limit the next read. There is no socket after the end of the answer."""
    sock = getattr(response.connection, "sock", None)
    if sock is not None:
        sock.settimeout(seconds)


def _drain(response: BaseHTTPResponse) -> None:
    """Read the bytes after ``[DONE]``, so that the connection can be used again.

    Mostly it is only the last chunk of the transfer, which is there already. It is not
    worth a long wait, and its errors do not concern the answer.
    """
    with suppress(Exception), web.until(time.monotonic() + _DRAIN_SECONDS):
        for _ in range(_DRAIN_READS):
            if not response.read1(_READ_SIZE, decode_content=True):
                return
    response.close()


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


def _refused(response: BaseHTTPResponse, url: str) -> InvokeError:
    status, place = response.status, urlsplit(url).netloc
    what = _KINDS.get(url.rpartition("/")[2], "")
    code, too_long = _reason(response)
    sentence = f"The model server at {place} answered HTTP {status}{code}"
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return InvokeAuthorizationError(f"{sentence}; check API Key (api_key).")
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        wait = response.headers.get("Retry-After", "")
        hint = (
            f"; it asks to wait {wait} s" if wait.isascii() and wait.isdigit() else ""
        )
        return InvokeRateLimitError(f"{sentence}, too many requests{hint}.")
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return InvokeBadRequestError(
            f"{sentence}, which leads elsewhere; write that address into API Endpoint URL "
            "(endpoint_url)."
        )
    if status in _NOT_OFFERED and what:
        return InvokeBadRequestError(
            f"The model server at {place} does not offer {what} at this address (HTTP "
            f"{status}{code}); check API Endpoint URL (endpoint_url) and the model name."
        )
    if status == HTTPStatus.NOT_FOUND:
        return InvokeBadRequestError(
            f"{sentence}; check API Endpoint URL (endpoint_url) and the model name."
        )
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return InvokeServerUnavailableError(f"{sentence}; the server itself failed.")
    if too_long:
        return InvokeBadRequestError(
            f"{sentence}; the request is longer than the model takes. Check Model Context "
            "Size (context_size) and Max Tokens."
        )
    return InvokeBadRequestError(f"{sentence}; it does not accept this request.")


def _reason(response: BaseHTTPResponse) -> tuple[str, bool]:
    """The error's code, if it is a word, and whether it is about the model's context.

    The rest of a body may contain anything, and is not repeated.
    """
    try:
        body = response.read1(_READ_SIZE, decode_content=True)
        data = orjson.loads(body)
    except (ValueError, OSError, urllib3.exceptions.HTTPError):
        return "", False
    error = data.get("error", data) if isinstance(data, dict) else {}
    named = [error.get("code"), error.get("type")] if isinstance(error, dict) else []
    word = next((found for one in named if (found := web.word(one))), "")
    return f" ({word})" if word else "", bool(_TOO_LONG.search(body))


def _reported(code: str, place: str) -> InvokeError:
    known = web.word(code)
    shown = f" ({known})" if known else ""
    sentence = f"The model server at {place} reported an error in its answer{shown}."
    word = known.lower()
    if word == "429" or "rate_limit" in word or "ratelimit" in word:
        return InvokeRateLimitError(sentence)
    return InvokeServerUnavailableError(sentence)
