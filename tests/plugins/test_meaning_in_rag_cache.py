"""``match: meaning`` in Cached LLM, Cached App, and Cache Lookup with Cache Store."""

import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import gevent
import pytest
from servers.documents import Document
from servers.knowledge import KEY, FakeKnowledgeApi

from cachecore import entry as entries
from cachecore.answer import Piece
from cachecore.errors import ConfigError
from cachecore.meaning.bands import needed
from rag_cache import observe, operating, settings, wrapping
from rag_cache.caller import Caller
from rag_cache.errors import BadInput, KnowledgeError, ReverseError
from rag_cache.observe import overview
from rag_cache.observe.words import Words
from rag_cache.outcome import Outcome
from rag_cache.retrieval import search
from rag_cache.work import cached
from rag_cache.work.meaning import Models
from rag_cache.work.models import Chat
from rag_cache.work.reverse import Limits

THINGS = [
    *("order", "parcel", "invoice", "account", "booking", "ticket", "contract"),
    *("quote", "permit", "licence", "refund", "receipt", "voucher", "guarantee"),
    *("coupon", "deposit", "catalogue", "address"),
]
MOST = 0.2
OPTIONS = f"match: meaning, max_wrong: {MOST}, dataset_check_seconds: 0"
ENOUGH = needed(MOST, 0)
LAST = THINGS[-1]
ONE, OTHER = f"How do I cancel my {LAST}?", f"how can I cancel my {LAST}"

MODEL = {"provider": "a/b/c", "model": "gpt", "model_type": "llm", "mode": "chat"}
VECTORS = {"provider": "a/b/c", "model": "vectors", "model_type": "text-embedding"}
JUDGE = {**MODEL, "model": "judge"}


class Workspace:
    """A fake workspace with one answer, and one vector, for each thing."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.embedded: list[str] = []
        self.judged: list[dict[str, str]] = []
        self.away, self.failed = "", 0  # which model fails, and how often it was asked
        self.judge: Callable[[Mapping[str, str]], str] = lambda _: "yes"
        self.answer: Callable[[str], str] = lambda question: (
            f"about {next((one for one in THINGS if one in question), '')}"
        )

    @property
    def models(self) -> Models:
        return Models(self._chat, self._embed)

    def _chat(self, chat: Chat, _limits: Limits) -> Iterator[Piece]:
        said = str(chat.messages[-1].content)
        self._fail_where_away(chat.config.model)
        if chat.config.model == "judge":
            self.judged.append(json.loads(said))
            yield Piece(self.judge(self.judged[-1]))
        else:
            self.asked.append(said)
            yield Piece(self.answer(said))
        yield Piece(finish_reason="stop")

    def _fail_where_away(self, model: str) -> None:
        if model == self.away:
            self.failed += 1
            raise ReverseError("gone")

    def app(self, _: str, query: str, *_more: Any) -> Iterator[Piece]:
        self.asked.append(query)
        text = self.answer(query)
        yield Piece(text)
        yield Piece(finish_reason="stop", data={"outputs": {"answer": text}})

    def _embed(
        self, _selector: Any, texts: Sequence[str], _kind: str, _limits: Limits
    ) -> tuple[list[list[float]], int]:
        self._fail_where_away("vectors")
        self.embedded += texts
        return [[float(t in text) for t in THINGS] + [0.1] for text in texts], 1


@pytest.fixture
def workspace() -> Workspace:
    return Workspace()


@pytest.fixture
def caller() -> Caller:
    secret = f"secret-{uuid.uuid4().hex}"
    return Caller({"cache_secret": secret, "cache_options": OPTIONS}, "here", "u")


type Say = Callable[..., tuple[str, Outcome]]


def llm(workspace: Workspace, caller: Caller, question: str, **more: Any) -> Any:
    given = {"model": MODEL, "prompt": question, "meaning_model": VECTORS, **more}
    work = cached.model(caller, given, workspace.models)
    return "".join(work.texts()), work.outcome


def app(workspace: Workspace, caller: Caller, question: str, **more: Any) -> Any:
    given = {"app": {"app_id": "shop"}, "query": question, "meaning_model": VECTORS}
    work = cached.app(caller, {**given, **more}, workspace.app, workspace.models)
    text = "".join(work.texts())
    assert work.data == {"outputs": {"answer": text}}
    return text, work.outcome


def value(workspace: Workspace, caller: Caller, question: str, **more: Any) -> Any:
    given = {"key": question, "meaning_model": VECTORS, **more}
    found = wrapping.look_up(caller, given, workspace.models)
    if found.outcome.hit:
        return found.value, found.outcome
    workspace.asked.append(question)
    made = workspace.answer(question)
    stored = wrapping.store(
        caller, {"ticket": found.ticket, "value": made}, workspace.models
    )
    assert stored.stored
    return made, found.outcome


EVERY = pytest.mark.parametrize("say", [llm, app, value])


def trust(say: Say, workspace: Workspace, caller: Caller, **more: Any) -> None:
    """Collect the comparisons that the band needs; let it serve whenever it may."""
    cache = settings.open_cache(settings.read(caller.credentials))
    cache._meaning._chance = lambda: 1.0
    for thing in THINGS[:ENOUGH]:
        say(workspace, caller, f"How do I cancel my {thing}?", **more)
        say(workspace, caller, f"how can I cancel my {thing}", **more)


@EVERY
def test_a_question_in_other_words_is_answered_once_its_band_has_proved_right(
    workspace: Workspace, caller: Caller, say: Say
) -> None:
    trust(say, workspace, caller)
    assert len(workspace.asked) == 2 * ENOUGH
    text, outcome = say(workspace, caller, ONE)
    again, other = say(workspace, caller, OTHER)
    assert text == again == f"about {LAST}"
    assert workspace.asked[2 * ENOUGH :] == [ONE]
    assert (outcome.hit, other.hit, other.reason) == (False, True, "meaning")


@EVERY
def test_each_question_is_embedded_once(
    workspace: Workspace, caller: Caller, say: Say
) -> None:
    for control in ("default", "refresh", "refresh"):
        say(workspace, caller, ONE, cache_control=control)
    assert workspace.embedded == [ONE.lower().rstrip("?").replace(" i ", " I ")]


@pytest.mark.parametrize("say", [llm, app])
def test_a_question_is_embedded_while_its_answer_is_made(
    workspace: Workspace, caller: Caller, say: Say
) -> None:
    seen: list[bool] = []
    plain = workspace.answer

    def answer(question: str) -> str:
        gevent.sleep(0)  # let waiting greenlets run
        seen.append(bool(workspace.embedded))
        return plain(question)

    workspace.answer = answer
    say(workspace, caller, ONE)
    say(workspace, caller, OTHER, cache_control="bypass")
    assert seen == [True, True]
    assert len(workspace.embedded) == 1, "unkept questions are not embedded"


@EVERY
def test_without_a_chosen_and_permitted_model_nothing_is_embedded(
    workspace: Workspace, caller: Caller, say: Say
) -> None:
    for options, more in (
        (OPTIONS, {"meaning_model": {}}),
        (OPTIONS, {"meaning_model": None}),
        ("match: normalized", {}),
        ("", {}),
    ):
        mine = {**caller.credentials, "cache_options": options}
        for question in (ONE, OTHER):
            say(workspace, Caller(mine, "here", "u"), question, **more)
    assert workspace.embedded == []
    assert set(workspace.asked) == {ONE, OTHER}


@pytest.mark.parametrize(
    ("say", "other"),
    [
        (llm, {"system_prompt": "x"}),
        (llm, {"context_keys": "x"}),
        (app, {"inputs": {"a": 1}}),
        (value, {"name": "x"}),
        (value, {"context_keys": "x"}),
        (value, {"cache_tags": "x"}),
    ],
)
def test_all_but_the_question_is_as_exact_as_ever(
    workspace: Workspace, caller: Caller, say: Say, other: dict[str, Any]
) -> None:
    trust(say, workspace, caller)
    say(workspace, caller, ONE)
    asked = len(workspace.asked)
    say(workspace, caller, OTHER, **other)
    assert len(workspace.asked) == asked + 1


@EVERY
@pytest.mark.parametrize(("word", "hits"), [("yes", 1), ("no", 0), ("Yes, but", 0)])
def test_a_judge_of_the_workspace_has_to_say_yes(
    workspace: Workspace, caller: Caller, say: Say, word: str, hits: int
) -> None:
    trust(say, workspace, caller, meaning_judge=JUDGE)
    say(workspace, caller, ONE, meaning_judge=JUDGE)
    workspace.judge, asked = (lambda _: word), len(workspace.asked)
    say(workspace, caller, OTHER, meaning_judge=JUDGE)
    assert len(workspace.asked) - asked == 1 - hits
    assert f"about {LAST}" in workspace.judged[-1]["answer"]


@EVERY
def test_the_judge_also_compares_answers_that_are_worded_differently(
    workspace: Workspace, caller: Caller, say: Say
) -> None:
    count = iter(range(1_000))
    plain = workspace.answer
    workspace.answer = lambda question: f"{next(count)}: {plain(question)}"
    workspace.judge = lambda texts: "same" if "first" in texts else "yes"
    trust(say, workspace, caller, meaning_judge=JUDGE)
    say(workspace, caller, ONE, meaning_judge=JUDGE)
    asked = len(workspace.asked)
    say(workspace, caller, OTHER, meaning_judge=JUDGE)
    assert len(workspace.asked) == asked


@EVERY
@pytest.mark.parametrize("what", ["vectors", "judge"])
def test_a_model_that_fails_costs_a_hit_and_no_answer(
    workspace: Workspace, caller: Caller, say: Say, what: str
) -> None:
    judge = JUDGE if what == "judge" else {}
    trust(say, workspace, caller, meaning_judge=judge)
    say(workspace, caller, ONE, meaning_judge=judge)
    workspace.away = what
    text, outcome = say(workspace, caller, OTHER, meaning_judge=judge)
    assert (text, outcome.reason) == (f"about {LAST}", "absent")
    assert workspace.failed == 1


@EVERY
def test_an_embedding_model_that_failed_is_left_alone_for_a_while(
    workspace: Workspace, caller: Caller, say: Say
) -> None:
    workspace.away = "vectors"
    for thing in THINGS[:5]:
        say(workspace, caller, f"How do I cancel my {thing}?")
    assert workspace.failed == 1


def test_an_answer_too_long_for_a_judge_is_none_and_the_judge_goes_on(
    workspace: Workspace, caller: Caller
) -> None:
    trust(llm, workspace, caller, meaning_judge=JUDGE)
    plain, workspace.answer = workspace.answer, lambda _: "x" * 120_000
    llm(workspace, caller, ONE, meaning_judge=JUDGE)
    judged = len(workspace.judged)
    assert not llm(workspace, caller, OTHER, meaning_judge=JUDGE)[1].hit
    assert len(workspace.judged) == judged
    workspace.answer = plain
    fresh = THINGS[-2]
    llm(workspace, caller, f"How do I cancel my {fresh}?", meaning_judge=JUDGE)
    _, outcome = llm(
        workspace, caller, f"how can I cancel my {fresh}", meaning_judge=JUDGE
    )
    assert outcome.reason == "meaning"


def test_a_look_up_by_meaning_has_the_same_tags_scope_and_user(
    workspace: Workspace, caller: Caller
) -> None:
    mine = Caller({**caller.credentials, "cache_scope": "user"}, "here", "u")
    trust(value, workspace, mine, cache_tags="t", name="n")
    value(workspace, mine, ONE, cache_tags="t", name="n")
    other = Caller(mine.credentials, "here", "w")
    asked = {"key": OTHER, "cache_tags": "t", "name": "n", "meaning_model": VECTORS}
    assert not wrapping.look_up(other, asked, workspace.models).outcome.hit
    assert wrapping.look_up(mine, asked, workspace.models).outcome.hit
    operating.invalidate(mine, {"target": "tag", "name": "t"})
    assert not wrapping.look_up(mine, asked, workspace.models).outcome.hit


def test_nothing_is_learned_under_a_ticket_once_the_operator_has_ended_it(
    workspace: Workspace, caller: Caller
) -> None:
    given = {"key": ONE, "meaning_model": VECTORS}
    found = wrapping.look_up(caller, given, workspace.models)
    ended = Caller({**caller.credentials, "cache_options": "match: normalized"})
    stored = {"ticket": found.ticket, "value": "x"}
    assert wrapping.store(ended, stored, workspace.models).stored
    assert workspace.embedded == []


@EVERY
def test_votes_against_an_answer_to_another_question_close_its_band(
    workspace: Workspace, caller: Caller, say: Say
) -> None:
    trust(say, workspace, caller)
    say(workspace, caller, ONE)
    _, outcome = say(workspace, caller, OTHER)
    assert outcome.reason == "meaning"
    votes = [
        operating.feedback(caller, {"cache_key": outcome.cache_key}, voter).value
        for voter in ("a", "b", "c")
    ]
    assert votes == ["counted", "counted", "dropped"]
    (band,) = settings.open_cache(settings.read(caller.credentials)).bands() or [None]
    assert band is None, "it does not stand as it was shown"
    fresh = THINGS[-2]
    say(workspace, caller, f"How do I cancel my {fresh}?")
    _, outcome = say(workspace, caller, f"how can I cancel my {fresh}")
    assert outcome.reason == "absent"


def test_votes_against_an_answer_to_the_question_itself_close_no_band(
    workspace: Workspace, caller: Caller
) -> None:
    trust(llm, workspace, caller)
    _, outcome = llm(workspace, caller, f"How do I cancel my {THINGS[-2]}?")
    for voter in ("a", "b", "c"):
        operating.feedback(caller, {"cache_key": outcome.cache_key}, voter)
    llm(workspace, caller, ONE)
    assert llm(workspace, caller, OTHER)[1].reason == "meaning"


@pytest.mark.parametrize(
    "served", ["x", "0" * 32 + ".1", "0" * 32 + ".1." + "0" * 15, ".1", "1" * 33]
)
def test_a_key_with_a_forged_band_is_refused(
    workspace: Workspace, caller: Caller, served: str
) -> None:
    _, outcome = llm(workspace, caller, ONE)
    with pytest.raises(BadInput, match="cache_key"):
        operating.feedback(caller, {"cache_key": f"{outcome.cache_key}~{served}"}, "a")


def test_a_key_with_a_band_of_another_answer_counts_against_nothing(
    workspace: Workspace, caller: Caller
) -> None:
    trust(llm, workspace, caller)
    llm(workspace, caller, ONE)
    reported_key = llm(workspace, caller, OTHER)[1].cache_key
    other = value(workspace, caller, ONE)[1].cache_key
    glued = f"{other}~{reported_key.partition('~')[2]}"
    for voter in ("a", "b", "c"):
        vote = operating.feedback(caller, {"cache_key": glued}, voter)
        assert vote == "nothing_kept"
    assert value(workspace, caller, ONE)[1].hit
    assert llm(workspace, caller, OTHER)[1].reason == "meaning"


def test_votes_against_an_answer_and_against_its_use_for_another_question_are_two_counts(
    workspace: Workspace, caller: Caller
) -> None:
    trust(llm, workspace, caller)
    llm(workspace, caller, ONE)
    used = llm(workspace, caller, OTHER)[1].cache_key
    own = llm(workspace, caller, ONE)[1].cache_key
    cast = [(own, "a"), (used, "a"), (own, "b"), (used, "b")]
    for key, voter in cast:
        vote = operating.feedback(caller, {"cache_key": key}, voter)
        assert vote == "counted"
    assert llm(workspace, caller, ONE)[1].hit


@EVERY
def test_a_locked_band_is_compared_and_serves_nothing(
    workspace: Workspace, caller: Caller, say: Say
) -> None:
    trust(say, workspace, caller)
    locked = "locked_bands: [0.1, 0.3, 0.5, 0.7, 0.85, 0.95]"
    mine = {**caller.credentials, "cache_options": f"{OPTIONS}, {locked}"}
    say(workspace, Caller(mine, "here", "u"), ONE)
    asked = len(workspace.asked)
    say(workspace, Caller(mine, "here", "u"), OTHER)
    assert len(workspace.asked) == asked + 1
    read = settings.read(caller.credentials)
    states = settings.open_cache(read).bands()
    assert [state.locked for state in states] == [True]
    kind = {llm: "llm", app: "app", value: "value"}[say]  # type: ignore[index]
    assert states[0].subject[0] == kind
    assert (states[0].missing, states[0].wrongs) == (0, 0)


def test_the_summary_shows_the_state_of_each_band(
    workspace: Workspace, caller: Caller
) -> None:
    llm(workspace, caller, ONE)
    llm(workspace, caller, OTHER)
    (band,) = observe.summary(caller, {})["bands"]
    assert band == {
        "kind": "llm",
        "label": "gpt",
        "app": "here",
        "from_score": band["from_score"],
        "state": "compares",
        "missing": ENOUGH - 1,
        "right": 1,
        "wrong": 0,
    }
    read = settings.read(caller.credentials)
    page = overview.shown(read, caller.credentials, "24h", Words("en-US"))
    assert [row["state"] for row in page["bands"]] == [
        f"compares only; needs {ENOUGH - 1} more correct answers"
    ]
    said = observe.summary_table(observe.summary(caller, {}))
    assert f"compares only; needs {ENOUGH - 1} more correct answers" in said


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("locked_bands: [0.4]", "need a list of any of 0.1"),
        ("locked_bands: 0.5", "need a list of any of 0.1"),
        ("max_wrong: 0.3", "from 0.01 to 0.2 for max_wrong"),
        ("meaning_model: x", "no option 'meaning_model'"),
    ],
)
def test_a_wrong_option_is_one_sentence(option: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as raised:
        settings.read({"cache_secret": "x" * 20, "cache_options": option})
    assert sentence in str(raised.value)


def test_a_judge_that_is_no_model_is_one_sentence(
    workspace: Workspace, caller: Caller
) -> None:
    with pytest.raises(BadInput, match="meaning_judge"):
        llm(
            workspace, caller, ONE, meaning_judge={"model": "x", "completion_params": 1}
        )


def test_a_question_too_long_for_a_ticket_is_stored_all_the_same(
    workspace: Workspace, caller: Caller
) -> None:
    value(workspace, caller, ONE, context_keys="x" * 20_000)
    assert value(workspace, caller, ONE, context_keys="x" * 20_000)[1].hit


# --- under the versions of knowledge bases ----------------------------------------


def test_a_value_is_found_until_its_knowledge_changes(
    workspace: Workspace, caller: Caller, api: FakeKnowledgeApi
) -> None:
    faq = api.add("FAQ", Document("a.md", "Parcels arrive after three days."))
    place = {"knowledge_api_url": api.url, "knowledge_api_key": KEY}
    mine = Caller({**caller.credentials, **place}, "here", "u")
    assert not value(workspace, mine, ONE, knowledge_bases="FAQ")[1].hit
    assert value(workspace, mine, ONE, knowledge_bases=faq.id)[1].hit
    faq.documents[0].text += " Sometimes four."
    assert not value(workspace, mine, ONE, knowledge_bases="FAQ")[1].hit
    operating.invalidate(mine, {"target": "dataset", "name": faq.id})
    _, outcome = value(workspace, mine, ONE, knowledge_bases="FAQ")
    assert outcome.reason == "invalidated"


def test_a_value_is_kept_no_longer_than_a_retrieval(
    workspace: Workspace,
    caller: Caller,
    api: FakeKnowledgeApi,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Or only for seconds, while Dify's index may be older than the new version."""
    api.add("FAQ", Document("a.md", "Parcels arrive after three days."))
    place = {"knowledge_api_url": api.url, "knowledge_api_key": KEY}
    options = f"{OPTIONS}, retrieval_max_age_seconds: 600"
    given = {**caller.credentials, **place, "cache_options": options}
    mine = Caller({**given, "cache_ttl": "7 days"}, "here", "u")
    cache = settings.open_cache(settings.read(mine.credentials))

    def life(question: str) -> float:
        asked = {"key": question, "knowledge_bases": "FAQ"}
        found = wrapping.look_up(mine, asked, workspace.models)
        stored = {"ticket": found.ticket, "value": "x", "cache_ttl": "7 days"}
        assert wrapping.store(mine, stored, workspace.models).stored
        kept = cache.store.look_up(found.outcome.cache_key, "", []).value
        entry = entries.decode(kept, found.outcome.cache_key, cache._cipher_key)
        return entry.stale_until - entry.created_at

    assert life(ONE) <= 15
    monkeypatch.setattr(search, "_SETTLING_SECONDS", 0)
    assert 15 < life(OTHER) <= 600


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("Nowhere", "No knowledge base is called 'Nowhere' in Knowledge Bases"),
        (",".join(str(uuid.uuid4()) for _ in range(21)), "takes at most 20"),
        (str(uuid.uuid4()), "the key's workspace has no knowledge base"),
    ],
)
def test_knowledge_bases_that_make_no_sense_are_one_sentence_where_they_count(
    workspace: Workspace,
    caller: Caller,
    api: FakeKnowledgeApi,
    given: str,
    sentence: str,
) -> None:
    place = {"knowledge_api_url": api.url, "knowledge_api_key": KEY}
    mine = Caller({**caller.credentials, **place}, "here", "u")
    asked = {"key": ONE, "knowledge_bases": given}
    with pytest.raises((BadInput, KnowledgeError), match=sentence):
        wrapping.look_up(mine, asked, workspace.models)
    bypassed = wrapping.look_up(mine, {**asked, "cache_control": "bypass"})
    assert bypassed.outcome.reason == "bypass_asked"


def test_the_endpoint_that_keeps_values_takes_no_knowledge_bases(
    caller: Caller,
) -> None:
    items = [{"key": ONE, "value": "x"}]
    with pytest.raises(BadInput, match="knowledge_bases"):
        wrapping.store_all(caller, {"items": items, "knowledge_bases": "FAQ"})


def test_without_a_known_version_nothing_is_kept(
    workspace: Workspace, caller: Caller, api: FakeKnowledgeApi
) -> None:
    place = {"knowledge_api_url": api.url, "knowledge_api_key": KEY}
    mine = Caller({**caller.credentials, **place}, "here", "u")
    mine = Caller({**mine.credentials, "knowledge_api_url": "http://127.0.0.1:1"})
    given = {"key": ONE, "knowledge_bases": str(uuid.uuid4())}
    found = wrapping.look_up(mine, given, workspace.models)
    assert (found.outcome.reason, found.outcome.hit) == ("version_unknown", False)
    stored = wrapping.store(mine, {"ticket": found.ticket, "value": "x"})
    assert stored.reason == "not_cacheable"


def test_knowledge_bases_without_a_knowledge_api_are_one_sentence(
    workspace: Workspace, caller: Caller
) -> None:
    with pytest.raises(KnowledgeError, match="Set Knowledge API URL"):
        value(workspace, caller, ONE, knowledge_bases="FAQ")
