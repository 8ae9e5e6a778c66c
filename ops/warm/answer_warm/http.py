"""HTTP to Dify: one session, a few retries, and a sentence for each error."""

import hashlib
import re
import threading
import time
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

import requests
import requests.auth
import urllib3

_TRIES: Final = 4
_PAUSE: Final = 1.0  # seconds before the second try, then twice as many
_LONGEST_PAUSE: Final = 30.0
_CONNECT: Final = 5.0
_READ: Final = 300.0
_AGAIN: Final = (429, 502, 503, 504)
_NOT_BEGUN: Final = (429, 503)  # The server has not begun a request that it refused so.


class Useless(Exception):
    """Further requests are useless: the address or the key is wrong."""


class Failed(Exception):
    """One request failed; the text has the reason."""


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port  # it is checked only here
    except ValueError:
        parts = urlsplit("")
    if parts.username or parts.password:
        raise Useless(
            "The address must hold no password: the key is read by --key-env."
        )
    return parts


class _Bearer(requests.auth.AuthBase):
    """The given key: without this, requests uses another one from a .netrc."""

    def __init__(self, key: str) -> None:
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._key}"
        return request


class Api:
    """An address of Dify and its key. Thread-safe."""

    def __init__(self, url: str, key: str) -> None:
        parts = _parts(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise Useless(
                f"{url!r} is no address; write it as in https://dify.example/v1."
            )
        if not key.isascii() or not key.isprintable() or not key:
            raise Useless("The key is empty or holds characters that no key has.")
        self._url = url.rstrip("/")
        self._auth = _Bearer(key)
        self.digest = hashlib.sha256(key.encode()).hexdigest()[:16]
        self._local = threading.local()  # requests' sessions are not thread-safe

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        """The JSON object under ``path``. Raises Failed or Useless."""
        return _object(self._ask("GET", path, params=query))

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The JSON object in the answer to ``body``. Raises Failed or Useless."""
        return _object(self._ask("POST", path, json=body))

    def events(self, path: str, body: Mapping[str, Any]) -> Iterator[bytes]:
        """The data of each server-sent event of the answer. Raises Failed or Useless."""
        with self._ask("POST", path, json=body, stream=True) as response:
            try:
                for line in response.iter_lines():
                    if line.startswith(b"data:"):
                        yield line[len(b"data:") :].strip()
            except requests.RequestException as error:
                raise Failed("its answer was cut off") from error

    def _ask(self, method: str, path: str, **more: Any) -> requests.Response:
        session = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = requests.Session()
            session.auth = self._auth
        pause = _PAUSE
        for tries_left in reversed(range(_TRIES)):
            wait = pause
            try:
                response: requests.Response = session.request(
                    method,
                    self._url + path,
                    timeout=(_CONNECT, _READ),
                    allow_redirects=False,
                    **more,
                )
            except requests.ConnectionError as error:
                if not _was_not_reached(error):
                    # The work may be done already, and paid for.
                    msg = f"{self._place} broke the connection off"
                    raise Failed(msg) from error
                if not tries_left:
                    msg = f"Nothing answers at {self._place}; check the address."
                    raise Useless(msg) from error
            except requests.RequestException as error:
                raise Failed(f"{self._place} did not answer in time") from error
            else:
                again = _AGAIN if method == "GET" else _NOT_BEGUN
                if response.status_code not in again or not tries_left:
                    return self._accepted(response)
                asked = response.headers.get("Retry-After", "")
                wait = float(asked) if re.fullmatch(r"[0-9]{1,3}", asked) else pause
                response.close()
            time.sleep(min(wait, _LONGEST_PAUSE))
            pause *= 2
        raise AssertionError

    @property
    def _place(self) -> str:
        return urlsplit(self._url).netloc

    def _accepted(self, response: requests.Response) -> requests.Response:
        status = response.status_code
        if status == HTTPStatus.OK:
            return response
        sentence = f"{self._place} answered HTTP {status}{_sentence(response)}"
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise Useless(f"{sentence}; check the key.")
        if status in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED) or (
            HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST
        ):
            raise Useless(f"{sentence}; check the address.")
        raise Failed(sentence)


def _was_not_reached(error: requests.ConnectionError) -> bool:
    reason = getattr(error.args[0] if error.args else None, "reason", None)
    unreached = urllib3.exceptions.NewConnectionError, urllib3.exceptions.SSLError
    return isinstance(error, requests.ConnectTimeout) or isinstance(reason, unreached)


def _sentence(response: requests.Response) -> str:
    """The first hundred characters of the error of Dify or the plugin."""
    try:
        data = response.json()
    except (ValueError, RecursionError, requests.RequestException):
        return ""
    sentence = (
        data.get("message") or data.get("error") if isinstance(data, dict) else None
    )
    sentence = sentence.get("message") if isinstance(sentence, dict) else sentence
    return (
        f" ({sentence[:100].rstrip('.')})"
        if isinstance(sentence, str) and sentence
        else ""
    )


def _object(response: requests.Response) -> dict[str, Any]:
    try:
        data = response.json()
    except (ValueError, RecursionError, requests.RequestException):
        data = None
    if not isinstance(data, dict):
        raise Failed("its answer is not a JSON object")
    return data
