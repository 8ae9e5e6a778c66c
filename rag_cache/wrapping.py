"""Wrap any node: look up -> IF/ELSE on ``hit`` -> do the work -> store.

``store_all`` keeps values that people wrote, without a look-up before.

A value's key consists of the name of the wrapped work, the key input, the context keys
and the versions of the named knowledge bases. Expected states are results, not errors:
``hit`` is always present, and ``reason`` says why it is false.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from time import time
from typing import Any, Final

from cachecore.answer import Piece
from cachecore.cache import Cache
from cachecore.entry import Cost
from cachecore.errors import StoreError, UnkeyableError
from cachecore.keys import reported_key
from cachecore.lookup import Look
from cachecore.policy import Control, Refusal, Traits
from cachecore.request import Request
from difykit.codec import urls
from rag_cache import inputs, retrieval, settings, ticket, work
from rag_cache.caller import Caller
from rag_cache.errors import BadInput
from rag_cache.outcome import Outcome, look_outcome
from rag_cache.retrieval import Dataset
from rag_cache.settings import Settings
from rag_cache.ticket import Ticket
from rag_cache.work import Chosen, Models

# During longer work, too much can change that no stamp shows.
_TICKET_SECONDS: Final = 86400
_MAX_LABEL: Final = 80
_CONTROLS: Final = (Control.DEFAULT, Control.BYPASS, Control.REFRESH)
MAX_ITEMS: Final = 200
_OF_ALL_ITEMS: Final = ("name", "context_keys", "cache_tags", "cache_ttl")


@dataclass(frozen=True, slots=True)
class Lookup:
    """The output of ``cache_lookup``. ``value`` is as it was stored."""

    outcome: Outcome
    ticket: str
    value: Any = None

    @property
    def text(self) -> str:
        """The value as text."""
        return inputs.text({"value": self.value}, "value")

    @property
    def data(self) -> Any:
        """The value as an object or a list, if it is one.

        Dify passes an object to a tool as text; this property parses it again.
        """
        return inputs.data(self.value)


def look_up(
    caller: Caller, parameters: Mapping[str, Any], models: Models | None = None
) -> Lookup:
    """Look a value up. Raises BadInput, ConfigError or KnowledgeError.

    ``models`` are used for ``match: meaning``, if the node's builder chose any.
    """
    read = settings.read(caller.credentials)
    cache = settings.open_cache(read)
    by = work.chosen(parameters, read) if models else None
    bypassed = inputs.control(parameters, *_CONTROLS) is Control.BYPASS
    datasets = [] if bypassed else retrieval.versions_of(read, parameters)
    if datasets is None:  # Without a version there is no key.
        return Lookup(Outcome("version_unknown"), ticket.NOTHING)
    request = _request(caller, read, parameters, datasets)
    ends_at = time() + retrieval.longest_life(read, datasets) if datasets else None
    if models:
        request = work.matched(read, request, "key", by, models, _as_answer)
    look = cache.find(request, _as_answer)
    cache.report(request, look)
    return Lookup(
        look_outcome(look),
        ticket=_ticket(cache, request, look, by, ends_at),
        value=_as_value(look.entry.payload) if look.entry else None,
    )


def _as_answer(payload: Any) -> Piece:
    """A kept value as an answer: a text as its text, any other value as its data."""
    return Piece(payload) if isinstance(payload, str) else Piece(data=[payload])


def _as_value(answer: Piece) -> Any:
    return answer.text if answer.data is None else answer.data[0]


def _ticket(
    cache: Cache,
    request: Request,
    look: Look,
    by: Chosen | None,
    ends_at: float | None,
) -> str:
    # A hit's ticket has the key, for feedback, but no stamps: it permits no storing.
    stamps = None if look.entry else cache.settle(look)
    key = reported_key(look.key, look.served) if stamps or look.entry else ""
    label = request.label[:_MAX_LABEL]
    asked = None
    if stamps and by and request.meaning:
        asked = {
            "form": request.form,
            "tags": request.tags,
            "belongs": request.belongs,
            "by": asdict(by),
        }
    try:
        order = cache.store.order(key) if key else 0
        at = round(time(), 3)
        made = Ticket(key, stamps or {}, order, at, label, request.ttl, ends_at, asked)
        return ticket.write(made, cache.admin.ticket_secret())
    except StoreError:
        return ticket.NOTHING


def _request(
    caller: Caller,
    read: Settings,
    parameters: Mapping[str, Any],
    datasets: Sequence[Dataset] = (),
) -> Request:
    rules, key = read.cache.rules, inputs.required(parameters, "key")
    form = {
        "name": inputs.text(parameters, "name"),
        "key": urls.unsigned(key),
        "context": urls.unsigned(inputs.text(parameters, "context_keys")),
    }
    if datasets:
        form["datasets"] = [one.in_key for one in datasets]
    return Request(
        kind="value",
        label=inputs.text(parameters, "name") or "value",
        form=settings.matched_form(read, form, "key"),
        rules=rules,
        belongs=tuple(one.tag for one in datasets),
        app=caller.app_id,
        asked=lambda: inputs.text(parameters, "key"),
        parts=lambda: {"context": [form["context"], form.get("datasets")]},
        control=inputs.control(parameters, *_CONTROLS),
        traits=Traits(scope_id=caller.scope_id(rules.scope)),
        tags=inputs.tags(parameters),
        ttl=inputs.lifetime(parameters),
    )


@dataclass(frozen=True, slots=True)
class Stored:
    """The output of ``cache_store``."""

    stored: bool
    reason: str
    value: Any = field(default=None)


def store(
    caller: Caller, parameters: Mapping[str, Any], models: Models | None = None
) -> Stored:
    """Keep a value under a look-up's ticket. Raises BadInput or ConfigError.

    ``models`` are used for ``match: meaning``, if the look-up's builder chose any.
    """
    read = settings.read(caller.credentials)
    cache = settings.open_cache(read)
    # Dify's panel offers lists only for a parameter that takes lists.
    value = inputs.data(parameters.get("value_list")) or parameters.get("value")
    word = ticket.text_of(parameters)
    if value in (None, "", [], {}):
        return Stored(stored=False, reason="empty", value=value)
    if word == ticket.NOTHING:
        return Stored(stored=False, reason="not_cacheable", value=value)
    try:
        held = ticket.read(word, cache.admin.ticket_secret())
    except StoreError:
        return Stored(stored=False, reason=Refusal.UNAVAILABLE, value=value)
    if not held.key or not held.stamps:
        # A hit's ticket has a key but no stamps: the value is already kept.
        reason = "already_kept" if held.key else "not_cacheable"
        return Stored(stored=False, reason=reason, value=value)
    ttl = inputs.lifetime(parameters) or held.ttl
    request = _asked(caller, read, held, value, ttl)
    permitted = read.cache.options.match == "meaning"
    if models and permitted and held.asked and _has_key(cache, request, held.key):
        by = work.Chosen(**held.asked["by"])
        request = work.matched(read, request, "key", by, models, _as_answer)
    seconds = max(0.0, time() - held.issued_at)
    if seconds > _TICKET_SECONDS:
        return Stored(stored=False, reason="ticket_expired", value=value)
    cost = Cost(seconds=seconds)
    refusal = cache.keep(request, held.key, held.stamps, value, cost, order=held.order)
    return Stored(
        stored=refusal is None,
        reason="stored" if refusal is None else refusal.value,
        value=value,
    )


def _asked(
    caller: Caller, read: Settings, held: Ticket, value: Any, ttl: int | None
) -> Request:
    """The look-up's request, with the fields that its ticket holds."""
    rules, asked = read.cache.rules, held.asked or {}
    form = asked.get("form", {})
    ends = [one for one in (urls.expires_at(value), held.ends_at) if one is not None]
    return Request(
        kind="value",
        label=held.label,
        form=form,
        rules=rules,
        app=caller.app_id,
        asked=lambda: str(form.get("key", "")),
        traits=Traits(
            scope_id=caller.scope_id(rules.scope), ends_at=min(ends, default=None)
        ),
        tags=tuple(asked.get("tags", ())),
        belongs=tuple(asked.get("belongs", ())),
        ttl=ttl,
    )


def _has_key(cache: Cache, request: Request, key: str) -> bool:
    # False if the options or the caller differ from those at the look-up.
    try:
        return cache.key(request) == key
    except UnkeyableError:
        return False


def store_all(caller: Caller, body: Mapping[str, Any]) -> list[str]:
    """Keep values for later look-ups, without a look-up before.

    ``body`` has ``items``, each with ``key`` and ``value``, and the other parameters of
    their look-ups: ``name``, ``context_keys``, ``cache_tags``, ``cache_ttl``. Returns
    for each item the reason why it was not kept; empty if it was kept. Raises BadInput
    or ConfigError.
    """
    items = body.get("items")
    if not isinstance(items, list) or not 0 < len(items) <= MAX_ITEMS:
        msg = (
            f"The parameter items must be a list of 1 to {MAX_ITEMS} objects, each with key "
            "and value."
        )
        raise BadInput(msg)
    if body.get("knowledge_bases"):
        msg = (
            "The parameter knowledge_bases is not accepted here; leave it out, and use "
            "a Cache Lookup without knowledge bases for these values."
        )
        raise BadInput(msg)
    read = settings.read(caller.credentials)
    cache = settings.open_cache(read)
    shared = {name: body.get(name) for name in _OF_ALL_ITEMS}
    return [_keep_item(caller, cache, read, shared, item) for item in items]


def _keep_item(
    caller: Caller, cache: Cache, read: Settings, shared: Mapping[str, Any], item: Any
) -> str:
    if not isinstance(item, dict) or not inputs.text(item, "key").strip():
        return "no_key"
    value = item.get("value")
    if value in (None, "", [], {}):
        return "empty"
    request = _request(caller, read, {**shared, "key": item["key"]})
    ends_at = urls.expires_at(value)
    request = replace(request, traits=replace(request.traits, ends_at=ends_at))
    look = cache.find(request)
    stamps = cache.settle(look)
    if look.failed or (stamps is None and look.stamps is not None):
        return Refusal.UNAVAILABLE
    if stamps is None:
        return look.reason
    try:
        order = cache.store.order(look.key)
    except StoreError:
        return Refusal.UNAVAILABLE
    return cache.keep(request, look.key, stamps, value, order=order) or ""
