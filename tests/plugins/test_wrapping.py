"""RAG Cache's tools and endpoint: wrap any node, invalidate, report health."""

import base64
import hashlib
import json
import re
import uuid
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import EnvironBuilder

from cachecore.errors import ConfigError
from rag_cache import http, inputs, operating, settings, ticket, wrapping
from rag_cache.caller import Caller
from rag_cache.errors import BadInput
from tests.plugins.helpers import turn_clocks

ROOT = Path(__file__).parents[2]


@pytest.fixture
def caller() -> Caller:
    """Without a Redis, the secret distinguishes one workspace from another."""
    return Caller({"cache_secret": uuid.uuid4().hex}, app_id="app", user_id="user")


def look_up(caller: Caller, **parameters: Any) -> wrapping.Lookup:
    return wrapping.look_up(caller, {"key": "question", **parameters})


def store(
    caller: Caller, found: wrapping.Lookup, value: Any = "answer", **more: Any
) -> wrapping.Stored:
    return wrapping.store(caller, {"ticket": found.ticket, "value": value, **more})


@pytest.mark.parametrize("value", ["text", {"a": 1}, [{"content": "x"}], 42, "0"])
def test_a_stored_value_is_found_with_its_type(caller: Caller, value: Any) -> None:
    missed = look_up(caller)
    assert (missed.outcome.hit, missed.outcome.reason) == (False, "absent")
    assert store(caller, missed, value) == wrapping.Stored(True, "stored", value)
    found = look_up(caller)
    assert (found.outcome.hit, found.outcome.reason, found.value) == (
        True,
        "hit",
        value,
    )
    assert found.outcome.age_seconds >= 0
    assert found.outcome.cache_key == missed.outcome.cache_key


@pytest.mark.parametrize(
    "other",
    [{"key": "other"}, {"context_keys": "de"}, {"name": "rerank"}, {"cache_tags": "t"}],
    ids=str,
)
def test_another_key_part_is_another_value(
    caller: Caller, other: dict[str, str]
) -> None:
    store(caller, look_up(caller))
    assert not look_up(caller, **other).outcome.hit


def test_an_invalidation_between_look_up_and_store_wins(caller: Caller) -> None:
    missed = look_up(caller, cache_tags="docs")
    operating.invalidate(caller, {"target": "tag", "name": "docs"})
    store(caller, missed)
    assert look_up(caller, cache_tags="docs").outcome.reason == "invalidated"


@pytest.mark.parametrize(
    "parameters",
    [
        {"target": "tag", "name": "docs"},
        {"name": "docs"},
        {"target": "app", "name": "any"},
        {"target": "namespace", "confirm": True},
        {"target": "namespace", "confirm": "true"},
    ],
    ids=str,
)
def test_an_invalidation_drops_what_was_stored(
    caller: Caller, parameters: dict[str, Any]
) -> None:
    store(caller, look_up(caller, cache_tags="docs"))
    assert "invalidated" in operating.invalidate(caller, parameters).message
    assert look_up(caller, cache_tags="docs").outcome.reason == "invalidated"


@pytest.mark.parametrize(
    "name",
    [
        "docs",
        "prices, docs",
        "prices，docs",
        ["docs", "prices"],
        '["docs", "prices"]',
        "DOCS",
        " do\u200bcs\ufeff ",
    ],
)
def test_a_name_means_the_tag_that_people_read(caller: Caller, name: Any) -> None:
    store(caller, look_up(caller, cache_tags="Docs"))
    done = operating.invalidate(caller, {"target": "tag", "name": name})
    assert done.names["docs"] is True
    assert look_up(caller, cache_tags="docs").outcome.reason == "invalidated"


def test_composed_and_decomposed_letters_are_one_tag(caller: Caller) -> None:
    store(caller, look_up(caller, cache_tags="caf\u00e9"))
    operating.invalidate(caller, {"target": "tag", "name": "cafe\u0301"})
    assert look_up(caller, cache_tags="caf\u00e9").outcome.reason == "invalidated"


def test_an_invalidation_says_under_which_names_anything_was_kept(
    caller: Caller,
) -> None:
    store(caller, look_up(caller, cache_tags="docs"))
    done = operating.invalidate(caller, {"target": "tag", "name": "docs, dosc"})
    assert done.names == {"docs": True, "dosc": False}
    assert done.message == (
        "1 tag invalidated: docs. Nothing was kept under dosc: nothing to invalidate."
    )


@pytest.mark.parametrize("name", [{"a": 1}, [1, 2], [["docs"]], 7])
def test_a_name_of_another_shape_is_refused(caller: Caller, name: Any) -> None:
    with pytest.raises(BadInput, match="parameter name takes names"):
        operating.invalidate(caller, {"target": "tag", "name": name})


def test_a_value_asked_for_earlier_replaces_none_asked_for_later(
    caller: Caller,
) -> None:
    early = look_up(caller)
    late = look_up(caller, cache_control="refresh")
    assert store(caller, late, "new").stored
    assert store(caller, early, "old").reason == "superseded"
    assert look_up(caller).value == "new"


def test_a_look_up_is_given_nothing_older_than_it_asks_for(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(caller, look_up(caller, cache_ttl="7 days"))
    turn_clocks(monkeypatch, caller, 600)
    assert look_up(caller, cache_ttl="1 hour").outcome.hit
    young = look_up(caller, cache_ttl="5 minutes")
    assert young.outcome.reason == "expired"
    assert store(caller, young, "young").stored
    assert look_up(caller, cache_ttl="5 minutes").value == "young"


@pytest.mark.parametrize(
    ("value", "data"),
    [
        ('{"a": [1, 2]}', {"a": [1, 2]}),
        ('[{"b": 1}]', [{"b": 1}]),
        ("[no list", "[no list"),
        ("text", "text"),
        ('"quoted"', '"quoted"'),
    ],
)
def test_an_object_that_arrives_as_its_json_comes_back_as_one_and_as_its_text(
    caller: Caller, value: str, data: Any
) -> None:
    store(caller, look_up(caller), value)
    found = look_up(caller)
    assert (found.text, found.data) == (value, data)


def test_a_ticket_shows_nothing_and_none_can_be_made_from_what_a_form_says() -> None:
    caller = Caller({"cache_secret": "a secret that is long"}, app_id="app")
    missed = look_up(caller, name="secret work")
    shown = base64.urlsafe_b64decode(missed.ticket[3:] + "===")
    assert b"secret work" not in shown
    # Random bytes may hold two given ones, but no field of a stamp.
    assert not re.search(rb"t:[0-9a-f]{6}", shown)
    made = ticket.Ticket(
        "dify:cache:v1:n:value:{" + "0" * 64 + "}", {"t:x": "1"}, 1, 1.0, "x"
    )
    for guess in (b"", b"n", b"a secret that is long"):
        forged = ticket.write(made, hashlib.sha256(guess).digest())
        with pytest.raises(BadInput, match="ticket"):
            wrapping.store(caller, {"ticket": forged, "value": "x"})


def test_without_a_store_a_ticket_keeps_nothing() -> None:
    caller = Caller({"redis_url": "redis://127.0.0.1:9", "cache_namespace": "n"})
    missed = look_up(caller)
    assert wrapping.store(caller, {"ticket": missed.ticket, "value": "x"}).reason == (
        "not_cacheable"
    )


def test_the_switch_stops_everything_and_starts_it_again(caller: Caller) -> None:
    store(caller, look_up(caller))
    said = operating.invalidate(caller, {"target": "switch", "name": "off"}).message
    assert said.endswith("now off.")
    off = look_up(caller)
    assert (off.outcome.hit, off.outcome.reason) == (False, "switched_off")
    assert store(caller, off).reason == "not_cacheable"
    operating.invalidate(caller, {"target": "switch", "name": "on"})
    assert look_up(caller).outcome.hit


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"target": "tag"}, "name"),
        ({"target": "everything"}, "target"),
        ({"target": "namespace"}, "confirm"),
        ({"target": "namespace", "confirm": "maybe"}, "confirm"),
        ({"target": "switch", "name": "dim"}, "on, read_only or off"),
    ],
)
def test_a_wrong_invalidation_is_one_sentence(
    caller: Caller, parameters: dict[str, Any], says: str
) -> None:
    with pytest.raises(BadInput, match=says):
        operating.invalidate(caller, parameters)


@pytest.mark.parametrize("key", [None, "", "  "])
def test_a_look_up_without_a_key_names_the_parameter(caller: Caller, key: Any) -> None:
    with pytest.raises(BadInput, match="parameter key is empty"):
        wrapping.look_up(caller, {"key": key})


def test_a_key_that_is_an_object_is_taken_as_its_json(caller: Caller) -> None:
    store(caller, look_up(caller, key={"q": 1}))
    assert look_up(caller, key='{"q": 1}').outcome.hit


@pytest.mark.parametrize("value", [None, "", [], {}])
def test_nothing_is_not_stored(caller: Caller, value: Any) -> None:
    assert store(caller, look_up(caller), value).reason == "empty"


def test_refresh_misses_and_replaces(caller: Caller) -> None:
    store(caller, look_up(caller), "old")
    refreshed = look_up(caller, cache_control="refresh")
    assert (refreshed.outcome.hit, refreshed.outcome.reason) == (False, "refresh")
    store(caller, refreshed, "new")
    assert look_up(caller).value == "new"


def test_bypass_neither_looks_nor_keeps(caller: Caller) -> None:
    bypassed = look_up(caller, cache_control="bypass")
    assert store(caller, bypassed).reason == "not_cacheable"


@pytest.mark.parametrize("forged", ["", "x", "t1.", "t1.AAAA", "t1.####"])
def test_a_forged_ticket_is_refused(caller: Caller, forged: str) -> None:
    with pytest.raises(BadInput, match="ticket"):
        wrapping.store(caller, {"ticket": forged, "value": "x"})


def test_a_changed_ticket_is_refused(caller: Caller) -> None:
    cache = settings.open_cache(settings.read(caller.credentials))
    secret = cache.admin.ticket_secret()
    good = look_up(caller).ticket
    # The last letter is left out: it may carry bits that mean nothing.
    for position in range(3, len(good) - 1, 7):
        changed = "B" if good[position] == "A" else "A"
        with pytest.raises(BadInput):
            ticket.read(good[:position] + changed + good[position + 1 :], secret)


def test_a_ticket_of_other_credentials_is_refused(caller: Caller) -> None:
    other = Caller({"cache_secret": "another long secret"})
    with pytest.raises(BadInput, match="ticket"):
        wrapping.store(other, {"ticket": look_up(caller).ticket, "value": "x"})


def test_without_a_redis_and_a_secret_nothing_is_shared_with_the_neighbours() -> None:
    with pytest.raises(ConfigError, match=r"redis_url.*cache_secret"):
        look_up(Caller({"cache_namespace": "guessable"}))


def test_a_value_is_not_stored_again_after_a_hit(caller: Caller) -> None:
    store(caller, look_up(caller))
    assert store(caller, look_up(caller)).reason == "already_kept"


def test_with_the_redis_down_the_work_goes_on() -> None:
    caller = Caller({"redis_url": "redis://127.0.0.1:9", "cache_namespace": "n"})
    found = look_up(caller)
    assert (found.outcome.hit, found.outcome.reason) == (False, "cache_unavailable")
    assert store(caller, found).reason == "not_cacheable"
    with pytest.raises(BadInput, match="Nothing was invalidated"):
        operating.invalidate(caller, {"name": "docs"})


def test_a_lifetime_of_its_own_is_checked(caller: Caller) -> None:
    with pytest.raises(ConfigError, match="cache_ttl"):
        store(caller, look_up(caller), cache_ttl="soon")


def test_users_do_not_share_in_scope_user(caller: Caller) -> None:
    credentials = {**caller.credentials, "cache_scope": "user"}
    alice, bob = (Caller(credentials, user_id=name) for name in ("alice", "bob"))
    store(alice, look_up(alice))
    assert look_up(alice).outcome.hit
    assert not look_up(bob).outcome.hit
    assert look_up(Caller(credentials)).outcome.reason == "no_scope_id"


@pytest.mark.parametrize(
    ("header", "token", "status"),
    [
        ("Bearer right", "right", 200),
        ("right", "right", 200),
        ("Bearer wrong", "right", 401),
        ("", "right", 401),
        ("Bearer ", "", 403),
        ("Bearer None", None, 403),
        ("", None, 403),
    ],
)
def test_an_endpoint_serves_callers_with_the_token_and_nobody_if_it_has_none(
    header: str, token: str | None, status: int
) -> None:
    request = EnvironBuilder(headers={"Authorization": header}).get_request()
    said = http.answer(request, {"access_token": token}, lambda: http.reply(200, {}))
    assert said.status_code == status


PASSAGES = [{"content": "It's three days.", "score": 0.5, "files": None, "ok": True}]


@pytest.mark.parametrize(
    "given",
    [
        {"value_list": PASSAGES},
        {"value_list": json.dumps(PASSAGES)},
        # The text that Dify 1.13.2 makes of a list in a field for text.
        {"value": str(PASSAGES)},
        {"value": json.dumps(PASSAGES)},
    ],
    ids=["a list", "its JSON", "as Python writes it", "JSON in Value"],
)
def test_a_list_comes_back_as_a_list(given: dict[str, Any]) -> None:
    caller = Caller({"cache_secret": f"secret-{uuid.uuid4().hex}"}, "a", "u")
    asked = {"key": "passages", "name": "n"}
    missed = wrapping.look_up(caller, asked)
    assert wrapping.store(caller, {"ticket": missed.ticket, **given}).stored
    assert wrapping.look_up(caller, asked).data == PASSAGES


@pytest.mark.parametrize(
    "text",
    [
        "[not a list",
        "{nor: an object",
        "[1, nan]",
        "[" * 5000,
        "[open('x')]",
        "{1: 2j}",
    ],
)
def test_a_text_that_only_begins_like_a_list_comes_back_as_it_was(text: str) -> None:
    caller = Caller({"cache_secret": f"secret-{uuid.uuid4().hex}"}, "a", "u")
    asked = {"key": "text", "name": "n"}
    missed = wrapping.look_up(caller, asked)
    assert wrapping.store(caller, {"ticket": missed.ticket, "value": text}).stored
    found = wrapping.look_up(caller, asked)
    assert found.data == found.text == text


def test_an_invalidation_of_what_was_never_kept_says_so_each_time() -> None:
    caller = Caller({"cache_secret": f"secret-{uuid.uuid4().hex}"}, "a", "u")
    for _ in range(2):
        renewed = operating.invalidate(caller, {"target": "tag", "name": "nobody"})
        assert list(renewed.names.values()) == [False]


@pytest.mark.parametrize(
    "given", [["faq", "prices"], '["faq", "prices"]', "['faq', 'prices']"]
)
def test_a_list_of_tags_is_read_however_dify_wrote_it(given: Any) -> None:
    assert inputs.tags({"cache_tags": given}) == ("faq", "prices")
