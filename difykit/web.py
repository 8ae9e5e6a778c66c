"""HTTP for a plugin's process: kept connections, and a limit for a whole call."""

import os
import re
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import gevent
from requests.utils import (
    DEFAULT_CA_BUNDLE_PATH,
    get_environ_proxies,
    select_proxy,
)
from urllib3 import BaseHTTPResponse, PoolManager, ProxyManager, Timeout
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import NewConnectionError
from urllib3.util import make_headers

CONNECT_TIMEOUT: Final = 10.0
# One process serves up to 1,000 callers (the SDK's MAX_WORKER).
POOL_SIZE: Final = 1000
_PLACES: Final = 64
_WORD: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class DeadlinePassed(Exception):
    """A call exceeded its time. Not an OSError, which urllib3 would convert."""


# If a kept connection was closed before its use, the error comes within this time, in
# seconds. After a later error, the server may have processed the request.
_AT_ONCE: Final = 1.0
# The errors of a connection that the server closed before it was used again.
_GONE: Final = (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)


class _Stale(Exception):
    """A kept connection was closed before its use. Not an OSError, as above."""


class _KeptMixin:
    """A connection that raises _Stale if it was kept and the server has closed it.

    A server may close a kept connection while a request is sent. Then no byte of an
    answer has arrived. On a connection's first request a closed connection is an
    ordinary error.
    """

    _answered = False
    _sent_at = 0.0

    def connect(self) -> None:
        self._answered = False
        super().connect()  # type: ignore[misc]

    def request(self, *args: Any, **options: Any) -> None:
        self._sent_at = time.monotonic()
        # The error of a closed connection comes when the answer is read.
        with suppress(*(_GONE if self._answered else ())):
            super().request(*args, **options)  # type: ignore[misc]

    def getresponse(self) -> Any:
        try:
            response = super().getresponse()  # type: ignore[misc]
        except _GONE as error:
            if self._answered and time.monotonic() - self._sent_at < _AT_ONCE:
                raise _Stale from error
            raise
        self._answered = True
        return response


class _Plain(_KeptMixin, HTTPConnection): ...


class _Tls(_KeptMixin, HTTPSConnection): ...


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _Plain


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _Tls


_managers: dict[str | None, PoolManager] = {}
_managers_lock = threading.Lock()  # guards _managers


def ask(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    body: bytes | None = None,
    seconds: float,
) -> BaseHTTPResponse:
    """The response to a request, before its body is read; redirects are not followed.

    Connections are kept for the whole process; cookies are not kept. ``seconds`` limits
    each wait for the server. Raises urllib3's HTTPError, or OSError.
    """
    while True:
        try:
            return _manager(_proxy(url)).urlopen(
                method,
                url,
                redirect=False,
                retries=False,
                body=body,
                headers=headers,
                timeout=Timeout(connect=min(CONNECT_TIMEOUT, seconds), read=seconds),
                preload_content=False,
            )
        except _Stale:
            continue  # Try another connection; the last try uses a new one.
        except NewConnectionError as error:
            # urllib3 makes it a subclass of its timeouts.
            raise ConnectionError(str(error)) from error


def _manager(proxy: str | None) -> PoolManager:
    with _managers_lock:
        manager = _managers.get(proxy)
        if manager is None:
            authorities = os.environ.get("REQUESTS_CA_BUNDLE") or DEFAULT_CA_BUNDLE_PATH
            kind = "ca_cert_dir" if Path(authorities).is_dir() else "ca_certs"
            options: dict[str, Any] = {
                "num_pools": _PLACES,
                "maxsize": POOL_SIZE,
                kind: authorities,
            }
            manager = (
                PoolManager(**options)
                if proxy is None
                else ProxyManager(proxy, proxy_headers=_credentials(proxy), **options)
            )
            manager.pool_classes_by_scheme = {"http": _PlainPool, "https": _TlsPool}
            _managers[proxy] = manager
        return manager


def _credentials(proxy: str) -> dict[str, str]:
    parts = urlsplit(proxy)
    if parts.username is None:
        return {}
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return dict(make_headers(proxy_basic_auth=pair))


def _proxy(url: str) -> str | None:
    """The proxy for ``url`` in the operator's environment."""
    parts = urlsplit(url)
    return _proxy_to(parts.scheme, parts.netloc)


@lru_cache(maxsize=1024)
def _proxy_to(scheme: str, place: str) -> str | None:
    # requests' own rules for NO_PROXY apply. The environment does not change, so the
    # result is cached.
    url = f"{scheme}://{place}"
    proxy: str | None = select_proxy(url, get_environ_proxies(url))
    if proxy is None or "://" in proxy:
        return proxy
    return f"http://{proxy}"


def word(code: Any) -> str:
    """A server's error code if it is a word; otherwise empty: it may be any text."""
    return code if isinstance(code, str) and _WORD.fullmatch(code) else ""


def until(deadline: float) -> gevent.Timeout:
    """Limit a whole blocking call; a socket's own limit applies to each read only.

    ``deadline`` is a time of the monotonic clock. Use it only around single calls: across
    a ``yield`` it could interrupt the caller.
    """
    left = max(0.0, deadline - time.monotonic())
    return gevent.Timeout(left, DeadlinePassed())
