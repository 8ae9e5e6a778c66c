"""The URL of a Redis, taken apart and checked.

``redis://[user[:password]@]host[:port][/db]`` and ``rediss://`` for TLS;
``redis+sentinel://…@host:port,host:port/service[/db]`` and
``redis+cluster://…@host:port,host:port``, each also as ``rediss+…``;
``unix:///path[?db=0]``. TLS takes ``?ca_certs=``, ``?certfile=`` and
``?keyfile=``, paths on the machine of the plugin daemon.

No message made here repeats the URL: it holds a password.
"""

from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from cachecore.errors import ConfigError

FIELD: Final = "redis_url"
DEFAULT_PORT: Final = 6379
_MAX_PORT: Final = 65535
_MAX_DB: Final = 1023

type Form = Literal["single", "sentinel", "cluster", "unix"]

_SCHEMES: Final[dict[str, tuple[Form, bool]]] = {
    "redis": ("single", False),
    "rediss": ("single", True),
    "redis+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True),
    "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
    "unix": ("unix", False),
}
_TLS_OPTIONS: Final = ("ca_certs", "certfile", "keyfile")


@dataclass(frozen=True, slots=True, repr=False)
class RedisUrl:
    """A Redis to use. ``shown`` names it without its secrets."""

    form: Form
    tls: bool = False
    hosts: tuple[tuple[str, int], ...] = ()
    path: str = ""
    service: str = ""
    db: int = 0
    username: str | None = None
    password: str | None = None
    ca_certs: str | None = None
    certfile: str | None = None
    keyfile: str | None = None

    @property
    def shown(self) -> str:
        """Where it is, for people."""
        if self.form == "unix":
            return self.path
        return ",".join(f"{host}:{port}" for host, port in self.hosts)

    def __repr__(self) -> str:
        return f"<RedisUrl {self.form} {self.shown}>"


def parse(text: str) -> RedisUrl:
    """The URL in ``text``; raises ConfigError with one sentence for each mistake."""
    try:
        parts = urlsplit(text.strip())
    except ValueError:
        raise _mistake("is not a URL; write redis://host:6379/0") from None
    if parts.scheme not in _SCHEMES:
        raise _mistake(
            "must begin with redis://, rediss://, redis+sentinel://, redis+cluster:// "
            "or unix://"
        )
    form, tls = _SCHEMES[parts.scheme]
    options = _options(parts, tls=tls)
    if form == "unix":
        return _unix(parts, options)
    login, _, place = parts.netloc.rpartition("@")
    username, _, password = login.partition(":")
    hosts = tuple(_host(item) for item in place.split(","))
    if form == "single" and len(hosts) > 1:
        raise _mistake(
            "names several hosts; use redis+sentinel:// or redis+cluster:// for that"
        )
    path = parts.path.strip("/").split("/")
    service = ""
    if form == "sentinel":
        service = path.pop(0)
        if not service:
            raise _mistake(
                "needs the name of the master after the hosts, as in "
                "redis+sentinel://host:26379/mymaster"
            )
    return RedisUrl(
        form=form,
        tls=tls,
        hosts=hosts,
        service=service,
        db=_db("/".join(path), form),
        username=unquote(username) or None,
        password=unquote(password) or None,
        ca_certs=options.get("ca_certs"),
        certfile=options.get("certfile"),
        keyfile=options.get("keyfile"),
    )


def _mistake(rest: str) -> ConfigError:
    return ConfigError(FIELD, f"Redis URL (redis_url) {rest}.")


def _options(parts: SplitResult, *, tls: bool) -> dict[str, str]:
    known = _TLS_OPTIONS if tls else ("db",) if parts.scheme == "unix" else ()
    options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    for name in options:
        if name not in known:
            raise _mistake(
                f"has the option {name[:40]!r}, which is not known for this scheme"
            )
    return options


def _unix(parts: SplitResult, options: dict[str, str]) -> RedisUrl:
    if parts.netloc or not parts.path.startswith("/"):
        raise _mistake("needs an absolute path, as in unix:///run/redis.sock")
    return RedisUrl(form="unix", path=parts.path, db=_db(options.get("db", ""), "unix"))


def _host(item: str) -> tuple[str, int]:
    host, port = item, ""
    if item.startswith("["):
        host, _, rest = item[1:].partition("]")
        port = rest.removeprefix(":")
    elif ":" in item:
        host, _, port = item.partition(":")
    if not host:
        raise _mistake("has no host; write redis://host:6379/0")
    if port and not (port.isascii() and port.isdigit() and 0 < int(port) <= _MAX_PORT):
        raise _mistake(f"has a port that is not a number from 1 to {_MAX_PORT}")
    return host, int(port or DEFAULT_PORT)


def _db(text: str, form: Form) -> int:
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and int(text) <= _MAX_DB):
        raise _mistake("must end in the number of a database, as in /0")
    if form == "cluster" and int(text):
        raise _mistake("names a database, but a cluster has only database 0")
    return int(text)
