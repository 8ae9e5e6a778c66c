"""HTTP for a plugin's process: kept connections, and a bound on a whole call."""

import os
import re
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Final

import gevent
import requests
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

CONNECT_TIMEOUT: Final = 10.0
# One process answers for up to 1,000 callers (the SDK's MAX_WORKER).
POOL_SIZE: Final = 1000
_WORD: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class DeadlinePassed(Exception):
    """The call took all the time it may. No OSError: urllib3 would make it another."""


# How a connection shows that its other end had left before it was used again.
_GONE: Final = (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)


class _KeptMixin:
    """A connection that tries once more, afresh, where a kept one turns out dead.

    A server may close a kept connection while a request is on its way to it. Not a
    byte of an answer has come then; on a connection's first request it is an error.
    """

    _answered = False
    _sent: tuple[tuple[Any, ...], dict[str, Any]] = (), {}
    _proxied: tuple[tuple[Any, ...], dict[str, Any]] | None = None

    def set_tunnel(self, *args: Any, **options: Any) -> None:
        self._proxied = args, options
        super().set_tunnel(*args, **options)  # type: ignore[misc]

    def connect(self) -> None:
        self._answered = False
        super().connect()  # type: ignore[misc]

    def request(self, *args: Any, **options: Any) -> None:
        self._sent = args, options
        if not self._answered:
            super().request(*args, **options)  # type: ignore[misc]
            return
        # What fails here shows when the answer is read.
        with suppress(*_GONE):
            super().request(*args, **options)  # type: ignore[misc]

    def getresponse(self) -> Any:
        try:
            response = super().getresponse()  # type: ignore[misc]
        except _GONE:
            if not self._answered:
                raise
            self._anew()
            response = super().getresponse()  # type: ignore[misc]
        self._answered = True
        return response

    def _anew(self) -> None:
        connection: Any = self
        patience, connection.timeout = connection.timeout, CONNECT_TIMEOUT
        connection.close()
        if self._proxied is not None:  # Closing has forgotten it.
            args, options = self._proxied
            connection.set_tunnel(*args, **options)
        args, options = self._sent
        connection.connect()
        connection.request(*args, **options)
        connection.timeout = patience


class _Plain(_KeptMixin, HTTPConnection): ...


class _Tls(_KeptMixin, HTTPSConnection): ...


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _Plain


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _Tls


class _Adapter(requests.adapters.HTTPAdapter):
    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        _equip(self.poolmanager)

    def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
        return _equip(super().proxy_manager_for(*args, **options))


def _equip(manager: Any) -> Any:
    manager.pool_classes_by_scheme = {"http": _PlainPool, "https": _TlsPool}
    return manager


class _Session(requests.Session):
    """A session that follows no redirect, nor reads where it leads."""

    def resolve_redirects(self, *_: Any, **__: Any) -> Iterator[Any]:
        """Nothing: requests asks even where redirects are not allowed."""
        return iter(())


_session: requests.Session | None = None
_session_lock = threading.Lock()


def session() -> requests.Session:
    """Keep-alive connections for the whole process; made when first needed."""
    global _session  # noqa: PLW0603 - the one pool of this process
    with _session_lock:
        if _session is None:
            _session = _Session()
            # Off: a .netrc would replace the API key. Proxies are read below.
            _session.trust_env = False
            _session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
            adapter = _Adapter(pool_connections=64, pool_maxsize=POOL_SIZE)
            _session.mount("http://", adapter)
            _session.mount("https://", adapter)
        return _session


def surroundings(url: str) -> dict[str, Any]:
    """What the operator's environment says of the way to ``url``."""
    return {
        "proxies": requests.utils.get_environ_proxies(url),
        "verify": os.environ.get("REQUESTS_CA_BUNDLE") or True,
        "allow_redirects": False,
    }


def word(code: Any) -> str:
    """A server's error code, if it is a word; empty for what may hold anything."""
    return code if isinstance(code, str) and _WORD.fullmatch(code) else ""


def until(deadline: float) -> gevent.Timeout:
    """Bound what blocks, however it dribbles: a socket's own limit is for each read.

    ``deadline`` is by the monotonic clock. Around single calls only: across a
    ``yield`` it would strike the caller.
    """
    left = max(0.0, deadline - time.monotonic())
    return gevent.Timeout(left, DeadlinePassed())
