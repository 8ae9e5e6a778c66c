"""Access to the dashboard: for reading, and for its actions."""

import base64
import re
import uuid
from typing import Any

import pytest
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request, Response

from rag_cache import operating, settings, wrapping
from rag_cache.caller import Caller
from rag_cache.observe import dashboard, overview, prometheus, words

TOKEN = "a-long-random-text"


@pytest.fixture
def form() -> dict[str, Any]:
    return {"access_token": TOKEN, "cache_secret": f"secret-{uuid.uuid4().hex}"}


def basic(password: str, name: str = "anyone") -> dict[str, str]:
    pair = base64.b64encode(f"{name}:{password}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}


def request(method: str = "GET", **how: Any) -> Request:
    headers = {**basic(TOKEN), **how.pop("headers", {})}
    return Request(
        EnvironBuilder(
            path="/dashboard", method=method, headers=headers, **how
        ).get_environ()
    )


def proof(form: dict[str, Any]) -> str:
    page = dashboard.show(request(), form).get_data(as_text=True)
    return re.search(r'name="proof" value="(\w+)"', page)[1]


def sent(form: dict[str, Any], headers: dict[str, str], **data: str) -> Response:
    return dashboard.act(request("POST", data=data, headers=headers), form)


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": ""},
        {"Authorization": "Basic"},
        {"Authorization": "Basic !!!"},
        {"Authorization": "Basic " + base64.b64encode(TOKEN.encode()).decode()},
        {"Authorization": "Bearer wrong"},
        basic("wrong"),
        basic(""),
        basic(TOKEN + "x"),
        basic("other", TOKEN),
    ],
)
@pytest.mark.parametrize("do", [dashboard.show, dashboard.act])
def test_the_page_is_hidden_without_the_token(
    form: dict[str, Any], headers: dict[str, str], do: Any
) -> None:
    response = do(request(headers=headers), form)
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Basic ")
    assert form["cache_secret"] not in response.get_data(as_text=True)


def test_without_a_token_in_its_settings_it_refuses_everybody(
    form: dict[str, Any],
) -> None:
    form["access_token"] = " "
    for headers in (basic(""), basic(" "), {"Authorization": "Bearer "}):
        assert dashboard.show(request(headers=headers), form).status_code == 403


def test_a_password_of_any_script_and_a_bearer_token_enter(
    form: dict[str, Any],
) -> None:
    form["access_token"] = "口令-пароль"
    assert (
        dashboard.show(request(headers=basic("口令-пароль")), form).status_code == 200
    )
    form["access_token"] = TOKEN
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert dashboard.show(request(headers=bearer), form).status_code == 200


def test_the_page_loads_nothing_from_other_hosts(form: dict[str, Any]) -> None:
    response = dashboard.show(request(), form)
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    page = response.get_data(as_text=True)
    nonces = set(re.findall(r'nonce="([^"]+)"', page))
    assert len(nonces) == 1
    assert nonces.pop() in policy
    assert " style=" not in page
    assert not re.search(r"\son\w+=", page)
    assert not re.search(r"(src|href)=\"(https?:)?//", page)
    assert response.headers["Cache-Control"] == "no-store"


def test_names_from_users_are_text_and_nothing_else(
    form: dict[str, Any],
) -> None:
    evil = "<script>alert(1)</script>"
    caller = Caller(form, f"<b>{evil}", "u")
    wrapping.look_up(caller, {"key": "q", "name": evil})
    page = dashboard.show(request(), form).get_data(as_text=True)
    assert "alert(1)" in page
    assert "<script>alert" not in page
    assert "<b><" not in page


def test_a_tag_is_invalidated_with_the_proof_of_the_page(form: dict[str, Any]) -> None:
    caller = Caller(form, "a", "u")
    asked = {"key": "q", "name": "n", "cache_tags": "faq"}
    missed = wrapping.look_up(caller, asked)
    wrapping.store(caller, {"ticket": missed.ticket, "value": "kept"})
    response = sent(form, {}, proof=proof(form), tag="faq")
    assert "Done" in response.get_data(as_text=True)
    assert wrapping.look_up(caller, asked).outcome.reason == "invalidated"


def test_a_tag_without_entries_is_not_reported_as_done(form: dict[str, Any]) -> None:
    page = sent(form, {}, proof=proof(form), tag="faq").get_data(as_text=True)
    assert "No entry ever had these tags: faq." in page
    assert "Done" not in page


@pytest.mark.parametrize("state", ["on", "read_only", "off"])
def test_the_switch_is_shown_where_an_operator_looks(
    form: dict[str, Any], state: str
) -> None:
    operating.invalidate(Caller(form), {"target": "switch", "name": state})
    page = dashboard.show(request(), form).get_data(as_text=True)
    shown = words.preferred("en")
    for other in ("read_only", "off"):
        assert (shown(f"switch_{other}") in page) is (other == state)
    metrics = prometheus.text(form).decode()
    assert f'answer_cache_switch{{state="{state}"}} 1.0' in metrics
    assert metrics.count("answer_cache_switch{") == 3
    assert metrics.count('"} 0.0') >= 2
    assert operating.state(form) == state


@pytest.mark.parametrize(
    ("headers", "own"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, True),
        ({"Sec-Fetch-Site": "same-site"}, True),
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Origin": "https://evil.example", "Host": "dify.example"}, True),
        ({"Origin": "null", "Host": "dify.example"}, True),
        ({}, False),
    ],
)
def test_a_form_of_another_site_does_nothing(
    form: dict[str, Any], headers: dict[str, str], own: bool
) -> None:
    caller = Caller(form, "a", "u")
    asked = {"key": "q", "name": "n", "cache_tags": "faq"}
    missed = wrapping.look_up(caller, asked)
    wrapping.store(caller, {"ticket": missed.ticket, "value": "kept"})
    known = proof(form) if own else "0" * 64
    assert sent(form, headers, proof=known, tag="faq").status_code == 403
    assert wrapping.look_up(caller, asked).outcome.hit


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "same-origin"},
        {"Origin": "https://dify.example:8443", "Host": "dify.example"},
        {},
    ],
)
def test_a_form_of_the_page_is_known_behind_difys_nginx(
    form: dict[str, Any], headers: dict[str, str]
) -> None:
    assert sent(form, headers, proof=proof(form), tag="faq").status_code == 200


def test_another_token_is_another_proof(form: dict[str, Any]) -> None:
    other = {**form, "access_token": "another"}
    assert proof(form) != dashboard._proof(other)
    assert TOKEN not in proof(form)


def test_an_empty_tag_is_reported_and_nothing_is_dropped(form: dict[str, Any]) -> None:
    page = sent(form, {}, proof=proof(form), tag="  ").get_data(as_text=True)
    assert "Not done" in page
    assert "is empty" in page


def test_a_body_that_is_no_form_is_refused(form: dict[str, Any]) -> None:
    for data in (b"0\r\n\r\n", b"\xff\xfe", b"x" * 100_000):
        response = dashboard.act(request("POST", data=data), form)
        assert response.status_code == 403


def test_an_unreachable_redis_is_reported_and_nothing_fails(
    form: dict[str, Any],
) -> None:
    gone = {
        **form,
        "redis_url": "redis://:s3cret-word@127.0.0.1:9",
        "cache_namespace": "n",
    }
    response = dashboard.show(request(), gone)
    page = response.get_data(as_text=True)
    assert response.status_code == 200
    assert "Redis does not answer" in page
    assert "s3cret-word" not in page


def test_a_form_that_is_wrong_is_one_sentence(form: dict[str, Any]) -> None:
    response = dashboard.show(request(), {**form, "cache_options": "nonsense: 1"})
    assert response.status_code == 400
    assert "Cache options (cache_options)" in response.get_data(as_text=True)


def test_every_word_is_there_in_every_language() -> None:
    for name, said in words._words().items():
        assert tuple(said) == words.LANGUAGES, name
        assert all(said.values()), name
        holes = [set(re.findall(r"{\w+}", one)) for one in said.values()]
        assert all(hole == holes[0] for hole in holes), name


def test_advice_is_given_in_the_browsers_language(form: dict[str, Any]) -> None:
    caller = Caller(form, "a", "u")
    for minute in range(30):
        asked = {"key": "q", "name": "n", "context_keys": f"at {minute}"}
        wrapping.look_up(caller, asked)
    page = dashboard.show(request(headers={"Accept-Language": "pt-BR"}), form)
    assert "Diferente em 100%" in page.get_data(as_text=True)


def test_every_reason_has_words() -> None:
    from cachecore.policy import Reason, Refusal

    known = words.Words("en-US")
    assert {r for r in [*Reason, *Refusal] if known(r) == r.value} <= {
        "empty",
        "expired",
        "hit",
        "invalidated",
    }


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("zh-TW,zh;q=0.9", "zh-Hans"),
        ("de-DE,pt;q=0.5", "pt-BR"),
        ("*", "en-US"),
        ("", "en-US"),
        ("\x00;;,", "en-US"),
    ],
)
def test_the_language_is_the_first_that_is_spoken(accepted: str, language: str) -> None:
    assert words.preferred(accepted).language == language


def test_each_stage_and_latency_is_in_it(form: dict[str, Any]) -> None:
    caller = Caller(form, "a", "u")
    asked = {"key": "q", "name": "n"}
    missed = wrapping.look_up(caller, asked)
    wrapping.store(caller, {"ticket": missed.ticket, "value": "kept"})
    wrapping.look_up(caller, asked)
    statistics = settings.open_statistics(settings.read(form))
    assert statistics.since(3600)
    page = dashboard.show(request(), form).get_data(as_text=True)
    for words_ in ("make the key", "hit P50", "not asked before"):
        assert words_ in page


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        (0, "0.00"),
        (0.000034, "0.000034"),
        (0.2437, "0.24"),
        (0.5, "0.5"),
        (12.345, "12.35"),
    ],
)
def test_a_small_sum_is_shown_without_an_exponent(amount: float, shown: str) -> None:
    assert overview._money(amount) == shown
