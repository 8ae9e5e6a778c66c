import uuid
from contextlib import suppress
from typing import Any

import pytest
from servers.knowledge import KEY, fake_knowledge_api

from cachecore.background import Background
from cachecore.errors import ConfigError
from cachecore.statistics import Statistics
from rag_cache import operating, settings, wrapping
from rag_cache.caller import Caller
from rag_cache.errors import BadInput
from rag_cache.observe import overview, savings


@pytest.fixture
def caller() -> Caller:
    return Caller({"cache_secret": f"secret-{uuid.uuid4().hex}"}, "app-1", "user-1")


def kept(caller: Caller, key: str = "question") -> wrapping.Lookup:
    missed = wrapping.look_up(caller, {"key": key, "name": "work"})
    wrapping.store(caller, {"ticket": missed.ticket, "value": "answer"})
    return wrapping.look_up(caller, {"key": key, "name": "work"})


def vote(caller: Caller, voter: str, **parameters: Any) -> str:
    return operating.feedback(caller, parameters, voter).value


# --- feedback --------------------------------------------------------------------


def test_the_third_voter_drops_an_answer(caller: Caller) -> None:
    found = kept(caller)
    key = found.outcome.cache_key
    assert vote(caller, "a", cache_key=key) == "counted"
    assert vote(caller, "a", cache_key=key) == "counted"
    assert vote(caller, "b", ticket=found.ticket) == "counted"
    assert wrapping.look_up(caller, {"key": "question", "name": "work"}).outcome.hit
    assert vote(caller, "c", cache_key=key) == "dropped"
    out = wrapping.look_up(caller, {"key": "question", "name": "work"})
    assert (out.outcome.hit, out.outcome.reason) == (False, "absent")
    assert wrapping.store(caller, {"ticket": out.ticket, "value": "again"}).stored
    assert kept(caller, "another").outcome.hit


def test_a_voter_takes_no_more_room_than_a_name(caller: Caller) -> None:
    key, before = kept(caller).outcome.cache_key, len(operating._votes)
    for number in range(200):
        with suppress(BadInput):
            vote(caller, f"{number}" + "x" * 64_000, cache_key=key)
    remembered = [who for _, who in operating._votes]
    assert max(map(len, remembered)) <= 32
    assert len(remembered) - before <= 130


def test_one_voter_counts_once_however_often(caller: Caller) -> None:
    key = kept(caller).outcome.cache_key
    for _ in range(9):
        assert vote(caller, "a", cache_key=key) == "counted"
    assert kept(caller).outcome.hit


def test_votes_are_limited(caller: Caller) -> None:
    key = kept(caller).outcome.cache_key
    for _ in range(10):
        vote(caller, "a", cache_key=key)
    with pytest.raises(BadInput, match="too many votes"):
        vote(caller, "a", cache_key=key)
    assert vote(caller, "b", cache_key=key) == "counted"


def test_an_answer_that_is_not_kept_takes_no_vote(caller: Caller) -> None:
    missed = wrapping.look_up(caller, {"key": "never"})
    key = missed.outcome.cache_key
    assert vote(caller, "a", cache_key=key) == "nothing_kept"


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"cache_key": "session:admin"},
        {"cache_key": "dify:cache:v1:other:llm:{" + "a" * 64 + "}"},
        {"ticket": "t2.forged"},
    ],
)
def test_a_key_that_is_not_ones_own_is_refused(
    caller: Caller, parameters: dict[str, str]
) -> None:
    with pytest.raises(BadInput, match=r"cache_key|ticket"):
        vote(caller, "a", **parameters)


def test_a_vote_needs_a_voter(caller: Caller) -> None:
    with pytest.raises(BadInput, match="no voter"):
        vote(caller, "", cache_key=kept(caller).outcome.cache_key)


# --- savings ---------------------------------------------------------------------


def test_the_savings_show_what_hits_saved(caller: Caller) -> None:
    kept(caller)
    for window in ("1h", "24h", "7d"):
        saved = savings.of(caller, {"window": window})
        assert saved["window"] == window
        assert (saved["requests"], saved["hits"], saved["misses"]) == (2, 1, 1)
        assert saved["hit_rate"] == 0.5
        assert saved["hit_p50_ms"] > 0
        (part,) = saved["by"]
        assert (part["kind"], part["label"]) == ("value", "work")
        assert part["reasons"] == {"absent": 1, "hit": 1}
    shown = overview.table(saved)
    assert "| value work app-1 | 2 | 50.0% |" in shown
    assert [row["reason"] for row in saved["decisions"]] == ["hit", "absent"]
    assert "| value work app-1 | hit |" in shown


def test_an_app_without_requests_is_no_row_of_the_table(caller: Caller) -> None:
    item = {"key": "When?", "value": "At nine.", "name": "faq"}
    assert wrapping.store_all(caller, {"items": [item]}) == [""]
    shown = overview.table(savings.of(caller, {}))
    assert "value faq" not in shown


def test_savings_of_nothing_are_a_table_too(caller: Caller) -> None:
    saved = savings.of(caller, {})
    assert (saved["window"], saved["requests"], saved["hit_rate"]) == ("24h", 0, None)
    assert "| all | 0 | – |" in overview.table(saved)


def test_a_clock_in_the_key_is_found_out(caller: Caller) -> None:
    for minute in range(30):
        clock = {"key": "question", "name": "work", "context_keys": f"at {minute}"}
        wrapping.look_up(caller, clock)
    saved = savings.of(caller, {})
    why = saved["why_misses"]
    assert (why["compared"], why["asked_before"]) == (29, 29)
    assert why["kept_apart"] == {"context": 29}
    (advice,) = why["advice"]
    assert "100% of the repeated questions" in advice
    assert advice in overview.table(saved)
    assert "at 7" not in str(saved)


def test_in_a_serverless_runtime_all_of_it_goes_out_before_the_call_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("INSTALL_METHOD", "serverless")
    caller = Caller({"cache_secret": f"secret-{uuid.uuid4().hex}"}, "app-1", "user-1")
    read = settings.read(caller.credentials)
    own = settings.open_statistics(read)
    reader = Statistics(
        own._store, own._keyspace, cipher_key=own._cipher_key, background=Background()
    )

    def counted(name: str) -> float:
        return reader.since(3600).get(f"{name}|value|work|app-1|", 0)

    missed = wrapping.look_up(caller, {"key": "q", "name": "work"})
    assert reader.since(3600)["requests|value|work|app-1|absent"] == 1
    wrapping.store(caller, {"ticket": missed.ticket, "value": "answer"})
    assert counted("kept") == 1
    wrapping.look_up(caller, {"key": "q", "name": "work"})
    assert reader.since(3600)["requests|value|work|app-1|hit"] == 1
    operating.invalidate(caller, {"target": "tag", "name": "faq"})
    assert reader.since(3600)["invalidations||||"] == 1
    assert [row["reason"] for row in reader.recent()[0]] == ["hit", "absent"]
    assert not own._background.woken


def test_workflows_with_other_inputs_are_other_questions() -> None:
    from rag_cache.work import cached

    asked = {cached._asked({"app": "a", "query": "", "inputs": {"n": n}}) for n in "ab"}
    assert len(asked) == 2
    assert cached._asked({"app": "a", "query": "q", "inputs": {"n": "a"}}) == "q"


def test_new_questions_are_no_reason_for_advice(caller: Caller) -> None:
    for number in range(30):
        wrapping.look_up(caller, {"key": f"question {number}", "name": "work"})
    why = savings.of(caller, {})["why_misses"]
    assert why["changed"] == {"question": 29}
    assert why["advice"] == []


def test_another_workspace_sees_none_of_them(caller: Caller) -> None:
    kept(caller)
    other = Caller({"cache_secret": f"secret-{uuid.uuid4().hex}"})
    assert savings.of(other, {})["requests"] == 0


def test_without_a_redis_savings_are_one_sentence() -> None:
    away = {"redis_url": "redis://127.0.0.1:9", "cache_namespace": "n"}
    with pytest.raises(BadInput, match="statistics could not be read"):
        savings.of(Caller(away), {})
    with pytest.raises(BadInput, match="window"):
        savings.of(Caller({"cache_secret": "x" * 20}), {"window": "1y"})


# --- credentials -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"knowledge_api_url": "api.dify.ai"}, "knowledge_api_url"),
        ({"knowledge_api_url": "http://u:p@host/v1"}, "must not hold a password"),
        ({"knowledge_api_url": "http://host:99999"}, "knowledge_api_url"),
        ({"knowledge_api_key": "dataset-\nx"}, "knowledge_api_key"),
        ({"allowed_datasets": "FAQ"}, "allowed_datasets"),
        ({"cache_options": "dataset_chek: deep"}, "dataset_check"),
        ({"cache_options": "dataset_check: full"}, "counters or deep"),
        ({"cache_options": "feedback_votes: 0"}, "feedback_votes"),
    ],
)
def test_a_wrong_credential_is_one_sentence(form: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        operating.check({"cache_secret": "x" * 20, **form})
    assert said in str(raised.value)
    assert "u:p" not in str(raised.value)


def test_the_knowledge_api_is_tried_when_credentials_are_saved() -> None:
    form = {"cache_secret": "x" * 20}
    with fake_knowledge_api() as api:
        operating.check(form | {"knowledge_api_url": api.url, "knowledge_api_key": KEY})
        bare = api.url.removesuffix("/v1")
        operating.check(form | {"knowledge_api_url": bare, "knowledge_api_key": KEY})
        with pytest.raises(ConfigError, match="knowledge_api_key"):
            operating.check(
                form | {"knowledge_api_url": api.url, "knowledge_api_key": "dataset-no"}
            )
    away = {"knowledge_api_url": "http://127.0.0.1:9", "knowledge_api_key": KEY}
    with pytest.raises(ConfigError, match="connection"):
        operating.check(form | away)
