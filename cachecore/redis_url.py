"""The URL of a Redis, parsed and checked.

``redis://[user[:password]@]host[:port][/db]`` and ``rediss://`` for TLS;
``redis+sentinel://…@host:port,host:port/service[/db]`` and
``redis+cluster://…@host:port,host:port``, each also as ``rediss+…``;
``unix:///path[?db=0]``. TLS takes ``?ca_certs=``, ``?certfile=`` and
``?keyfile=``, paths on the machine of the plugin daemon; Sentinel takes
``?sentinel_username=`` and ``?sentinel_password=`` for the Sentinels themselves.

No message of this module repeats the URL, because it contains a password.
"""

from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from cachecore.errors import ConfigError

FIELD: Final = "redis_url"
DEFAULT_PORT: Final = 6379
_MAX_PORT: Final = 65535
_MAX_DB: Final = 1023
_MAX_DIGITS: Final = 9

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
_SENTINEL_OPTIONS: Final = ("sentinel_username", "sentinel_password")


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
    sentinel_username: str | None = None
    sentinel_password: str | None = None

    @property
    def shown(self) -> str:
        """Its address without secrets."""
        if self.form == "unix":
            return self.path
        return ",".join(f"{host}:{port}" for host, port in self.hosts)

    def __repr__(self) -> str:
        return f"<RedisUrl {self.form} {self.shown}>"


def parse(text: str) -> RedisUrl:
    """The URL in ``text``; raises ConfigError with one sentence for each mistake."""
    parts = _parts(text)
    form, tls = _SCHEMES[parts.scheme]
    options = _options(parts, form, tls=tls)
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
    service = _service(path) if form == "sentinel" else ""
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
        sentinel_username=options.get("sentinel_username"),
        sentinel_password=options.get("sentinel_password"),
    )


def _parts(text: str) -> SplitResult:
    try:
        parts = urlsplit(text.strip())
    except ValueError:
        raise _mistake("is not a URL; write redis://host:6379/0") from None
    if parts.scheme not in _SCHEMES:
        raise _mistake(
            "must begin with redis://, rediss://, redis+sentinel://, redis+cluster:// "
            "or unix://"
        )
    if parts.fragment or "@" in parts.path + parts.query:
        raise _mistake(
            "has a user name or password with one of @ / ? # in it; write them as "
            "%40 %2F %3F %23"
        )
    return parts


def _service(path: list[str]) -> str:
    """Takes the master's name from the path."""
    service = path.pop(0)
    if not service:
        raise _mistake(
            "needs the name of the master after the hosts, as in "
            "redis+sentinel://host:26379/mymaster"
        )
    return service


def _mistake(rest: str) -> ConfigError:
    return ConfigError(FIELD, f"Redis URL (redis_url) {rest}.")


def _options(parts: SplitResult, form: Form, *, tls: bool) -> dict[str, str]:
    known = (
        *(_TLS_OPTIONS if tls else ()),
        *(_SENTINEL_OPTIONS if form == "sentinel" else ()),
        *(("db",) if form == "unix" else ()),
    )
    options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    if set(options) - set(known):
        # The name is not repeated, because it may be a part of a password.
        listed = ", ".join(known) or "none"
        raise _mistake(
            f"has an option that this scheme does not know (known: {listed})"
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
    if port and not 0 < _count(port) <= _MAX_PORT:
        raise _mistake(f"has a port that is not a number from 1 to {_MAX_PORT}")
    return host, int(port or DEFAULT_PORT)


def _db(text: str, form: Form) -> int:
    if not text:
        return 0
    if not 0 <= _count(text) <= _MAX_DB:
        raise _mistake("must end in the number of a database, as in /0")
    if form == "cluster" and int(text):
        raise _mistake("names a database, but a cluster has only database 0")
    return int(text)


def _count(text: str) -> int:
    """A small number, or -1: int() itself refuses some 4,300 digits with ValueError."""
    plain = text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS
    return int(text) if plain else -1
