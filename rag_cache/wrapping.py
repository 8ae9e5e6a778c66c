"""Wrap any node: look up -> IF/ELSE on ``hit`` -> do the work -> store.

The key of a value is made of the name of what is wrapped, the key input and
the context keys. Expected states are results, not errors: ``hit`` is always
there, and ``reason`` says why it is false.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import time
from typing import Any

from cachecore import config
from cachecore.cache import Cache
from cachecore.errors import ConfigError, StoreError
from cachecore.policy import Control, Rules, Switch, Traits
from cachecore.request import Request, app_tags
from cachecore.shelf import Look
from difycodec import urls
from rag_cache import inputs, settings, ticket
from rag_cache.inputs import BadInput
from rag_cache.ticket import BadTicket, Ticket

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who runs the tool, as far as the host says."""

    credentials: Mapping[str, Any]
    app_id: str = ""
    user_id: str = ""


@dataclass(frozen=True, slots=True)
class Lookup:
    """What ``cache_lookup`` puts out."""

    hit: bool
    reason: str
    cache_key: str
    ticket: str
    age_seconds: float
    value: Any = None

    @property
    def text(self) -> str:
        """The value as text."""
        return inputs.text({"value": self.value}, "value")


def look_up(caller: Caller, parameters: Mapping[str, Any]) -> Lookup:
    """Look a value up. Raises BadInput or ConfigError."""
    read = settings.read(caller.credentials)
    cache = settings.open_cache(read)
    look = cache.find(_request(caller, read.rules, parameters))
    stamps = None if look.entry else cache.settle(look)
    made = Ticket(look.key if stamps else "", stamps or {})
    return Lookup(
        hit=look.entry is not None,
        reason=look.reason.value,
        cache_key=look.key,
        ticket=ticket.write(made, settings.ticket_key(read)),
        age_seconds=_age(look),
        value=look.entry.payload if look.entry else None,
    )


def _age(look: Look) -> float:
    return round(max(0.0, time() - look.entry.created_at), 3) if look.entry else 0.0


def _request(caller: Caller, rules: Rules, parameters: Mapping[str, Any]) -> Request:
    return Request(
        kind="value",
        label=inputs.text(parameters, "name") or "value",
        form={
            "name": inputs.text(parameters, "name"),
            "key": urls.unsigned(inputs.required(parameters, "key")),
            "context": urls.unsigned(inputs.text(parameters, "context_keys")),
        },
        rules=rules,
        control=Control(
            inputs.choice(parameters, "cache_control", "default", "bypass", "refresh")
        ),
        traits=Traits(
            scope_id=rules.scope.whose(app_id=caller.app_id, user_id=caller.user_id)
        ),
        tags=config.read_tags(inputs.text(parameters, "cache_tags")),
    )


@dataclass(frozen=True, slots=True)
class Stored:
    """What ``cache_store`` puts out."""

    stored: bool
    reason: str
    value: Any = field(default=None)


def store(caller: Caller, parameters: Mapping[str, Any]) -> Stored:
    """Keep a value under a look-up's ticket. Raises BadInput or ConfigError."""
    read = settings.read(caller.credentials)
    try:
        held = ticket.read(
            inputs.required(parameters, "ticket"), settings.ticket_key(read)
        )
    except BadTicket:
        msg = (
            "The parameter ticket is not one that cache_lookup gave with these "
            "credentials; connect it to the ticket output of the cache_lookup node."
        )
        raise BadInput(msg) from None
    value = parameters.get("value")
    if value in (None, "", [], {}):
        return Stored(stored=False, reason="empty", value=value)
    if not held.key:
        return Stored(stored=False, reason="not_cacheable", value=value)
    lifetime = inputs.text(parameters, "cache_ttl").strip()
    request = Request(
        kind="value",
        label="value",
        form={},
        rules=read.rules,
        traits=Traits(url_expires_at=urls.expires_at(value)),
        ttl=config.read_ttl(lifetime) if lifetime else None,
    )
    kept = settings.open_cache(read).keep(request, held.key, held.stamps, value)
    return Stored(stored=kept, reason="stored" if kept else "not_kept", value=value)


def invalidate(caller: Caller, parameters: Mapping[str, Any]) -> str:
    """Invalidate, or turn the switch; returns a sentence that says what was done.

    Raises BadInput or ConfigError; StoreError becomes BadInput, for who
    invalidates must know that it did not happen.
    """
    cache = settings.open_cache(settings.read(caller.credentials))
    target = inputs.choice(
        parameters, "target", "tag", "app", "model", "namespace", "switch"
    )
    name = inputs.text(parameters, "name").strip()
    try:
        if target == "switch":
            return _turn(cache, name)
        if target == "namespace":
            if not inputs.yes(parameters, "confirm"):
                msg = "Set the parameter confirm to true to drop the whole namespace."
                raise BadInput(msg)
            cache.invalidate(["*"])
            return "Everything in the namespace is invalidated."
        if not name:
            msg = f"The parameter name is empty; it says which {target} to invalidate."
            raise BadInput(msg)
        tags = {"tag": (f"tag:{name}",), "model": (f"model:{name}",)}
        cache.invalidate(tags.get(target) or app_tags(name))
    except StoreError as error:
        msg = f"Nothing was invalidated: {error.remedy}"
        raise BadInput(msg) from error
    return f"The {target} {name} is invalidated."


def _turn(cache: Cache, word: str) -> str:
    if word not in Switch:
        msg = "The parameter name must be on, read_only or off to turn the switch."
        raise BadInput(msg)
    cache.turn(Switch(word))
    return f"The cache of this namespace is now {word}."


def check(credentials: Mapping[str, Any]) -> tuple[str, ...]:
    """Try the credentials; sentences about what works and could be better.

    Raises ConfigError with one sentence.
    """
    try:
        advice = settings.open_cache(settings.read(credentials)).check()
    except StoreError as error:
        raise ConfigError(
            "redis_url", f"Redis URL (redis_url): {error.remedy}"
        ) from error
    for sentence in advice:  # Dify shows errors only, and this is none.
        logger.warning("Redis URL (redis_url): %s", sentence)
    return advice
