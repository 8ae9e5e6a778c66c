"""Audits through the plugin, as an operator sees them."""

import json
import uuid
from typing import Any

import pytest

from cachecore.errors import ConfigError
from cached_model import form as forms
from rag_cache import observe
from rag_cache.caller import Caller
from tests.core.helpers import await_threads
from tests.fake_upstream import FakeUpstream, Script, delta, finish
from tests.plugins.helpers import ask, text

OPTIONS = "audit_percent: 100, audits_per_minute: 600"


JUDGE = {"cache_options": f"{OPTIONS}, audit_judge: judge-1"}


def a_secret() -> dict[str, str]:
    return {"cache_secret": f"secret-{uuid.uuid4().hex}"}


def test_the_summary_says_how_many_hits_were_still_right(
    upstream: FakeUpstream,
) -> None:
    said = ["Three days.", "three days", "Three  days.", "Five days."]

    def answer(_: object) -> Script:
        events = [delta(content=said[upstream.calls - 1]), finish(), "[DONE]"]
        return Script(events=events)

    upstream.script = answer
    secret = {**a_secret(), "cache_options": OPTIONS}
    form = {"endpoint_url": upstream.url, "context_size": "4096", **secret}
    for _ in said:
        assert text(ask(form, "When?")) == "Three days."
        await_threads("cache-audit")
    summary = observe.summary(Caller(secret), {})
    found = summary["audits"]
    assert (found["right"], found["wrong"], found["failed"]) == (2, 1, 0)
    assert found["wrong_rate"] == pytest.approx(1 / 3, abs=1e-4)
    low, high = found["interval"]
    assert 0.06 < low < 1 / 3 < high < 0.8
    assert found["by_age"] == [{"up_to_seconds": 300.0, "right": 2, "wrong": 1}]
    said_by_table = observe.summary_table(summary)
    assert "Are the hits still right?: the same 2, different 1." in said_by_table
    assert "33.3% were different; with 95 % confidence" in said_by_table
    assert "Different answers, by age: up to 5.0 min 1 / 3." in said_by_table
    shown = observe.metrics(secret).decode()
    assert 'verdict="different"' in shown
    assert 'verdict="different",younger_than="300"} 1.0' in shown


JUDGED_AS = {
    "same": "judged",
    "Same.": "judged",
    "<think>hm</think>same": "judged",
    "different": "different",
    "same, or nearly": "different",
    "": "different",
}


@pytest.mark.parametrize(("word", "verdict"), JUDGED_AS.items())
def test_a_judge_model_may_call_two_answers_the_same_and_fails_closed(
    upstream: FakeUpstream, word: str, verdict: str
) -> None:
    said = iter(["Within three days.", "It takes 3 days."])
    asked: list[dict[str, Any]] = []

    def answer(body: dict[str, Any]) -> Script:
        if body["model"] != "judge-1":
            return Script(events=[delta(content=next(said)), finish(), "[DONE]"])
        asked.append(body)
        return Script(events=[delta(content=word), finish(), "[DONE]"])

    upstream.script = answer
    secret = a_secret()
    form = {"endpoint_url": upstream.url, "context_size": "4096", **secret, **JUDGE}
    for _ in range(2):
        assert text(ask(form, "How long?")) == "Within three days."
        await_threads("cache-audit")
    (body,) = asked
    texts = json.loads(body["messages"][-1]["content"])
    assert texts == {
        "question": "How long?",
        "first": "Within three days.",
        "second": "It takes 3 days.",
    }
    assert f'verdict="{verdict}"' in observe.metrics(secret).decode()


def test_a_judge_that_fails_calls_nothing_the_same(upstream: FakeUpstream) -> None:
    said = iter(["Within three days.", "It takes 3 days."])

    def answer(body: dict[str, Any]) -> Script:
        if body["model"] == "judge-1":
            return Script(status=500, body=b"{}")
        return Script(events=[delta(content=next(said)), finish(), "[DONE]"])

    upstream.script = answer
    secret = a_secret()
    form = {"endpoint_url": upstream.url, "context_size": "4096", **secret, **JUDGE}
    for _ in range(2):
        ask(form, "How long?")
        await_threads("cache-audit")
    assert observe.summary(Caller(secret), {})["audits"]["wrong"] == 1


def test_a_serverless_runtime_reports_that_it_has_no_audits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("INSTALL_METHOD", "serverless")
    with pytest.raises(ConfigError, match="audit_percent needs a plugin daemon"):
        forms.read(
            {
                "endpoint_url": "http://host/v1",
                "context_size": "4096",
                "cache_options": "audit_percent: 1",
            }
        )


@pytest.mark.parametrize(
    "option",
    [
        "audit_percent: 101",
        "audit_percent: -1",
        "audit_percent: many",
        "audit_repairs: perhaps",
        "audits_per_minute: 0",
        "audits_per_minute: 601",
        "audit_money_per_minute: -1",
        "audit_judge: two words",
        f"audit_judge: {'x' * 201}",
        "first_token_budget_ms: -1",
        "first_token_budget_ms: 600001",
        "price: {cached_input: -1}",
        "price: {cache_write: free}",
    ],
)
def test_a_wrong_value_is_one_sentence_that_names_the_option(option: str) -> None:
    form = {"endpoint_url": "http://host/v1", "context_size": "4096"}
    name = option.removeprefix("price: {").partition(":")[0]
    with pytest.raises(ConfigError, match=name) as raised:
        forms.read(form | {"cache_options": option})
    assert str(raised.value).count(".") == str(raised.value).count("price.") + 1
