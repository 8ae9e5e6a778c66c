"""HTTP for a plugin's process: kept connections, and a bound on a whole call."""

import os
import re
import threading
import time
from collections.abc import Iterator
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Final

import gevent
import requests

CONNECT_TIMEOUT: Final = 10.0
# One process answers for up to 1,000 callers (the SDK's MAX_WORKER).
POOL_SIZE: Final = 1000
_WORD: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class DeadlinePassed(Exception):
    """The call took all the time it may. No OSError: urllib3 would make it another."""


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
            adapter = requests.adapters.HTTPAdapter(
                pool_connections=64, pool_maxsize=POOL_SIZE
            )
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
