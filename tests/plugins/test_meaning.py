"""``match: meaning`` through the plugin: a model server with chats, vectors and a judge."""

import json
import time
import uuid
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import pytest
from dify_plugin.entities.model.message import (
    AssistantPromptMessage,
    ImagePromptMessageContent,
    PromptMessage,
    SystemPromptMessage,
    TextPromptMessageContent,
    UserPromptMessage,
)

from cachecore.errors import ConfigError
from cachecore.meaning.bands import needed
from cached_model import chat
from cached_model import form as forms
from cached_model.body import build
from cached_model.caching import Caller as Asking
from rag_cache import observe
from rag_cache import settings as rag_settings
from rag_cache.caller import Caller
from tests.core.helpers import await_threads
from tests.fake_upstream import FakeUpstream, Script, delta, fake_upstream, finish
from tests.plugins.helpers import ask, text

THINGS = [
    *("order", "parcel", "invoice", "account", "booking", "ticket", "contract"),
    *("quote", "permit", "licence", "refund", "receipt", "voucher", "guarantee"),
    *("coupon", "deposit", "catalogue", "address"),
]
MOST = 0.2
OPTIONS = f"match: meaning, meaning_model: vectors-1, max_wrong: {MOST}"
ENOUGH = needed(MOST, 0)


class Server:
    """A model server with one answer, and one vector, for each thing."""

    def __init__(self, upstream: FakeUpstream) -> None:
        self.chats: list[str] = []
        self.embedded: list[str] = []
        self.judged: list[dict[str, str]] = []
        self.verdict = "yes"
        self.answers: Callable[[str], str] = lambda question: (
            f"about {_thing(question)}"
        )
        upstream.script = self._answer

    def _answer(self, body: dict[str, Any]) -> Script:
        if "input" in body:
            self.embedded += body["input"]
            rows = [
                {"index": n, "embedding": [float(t in text) for t in THINGS] + [0.1]}
                for n, text in enumerate(body["input"])
            ]
            said = {"data": rows, "usage": {"prompt_tokens": 1, "total_tokens": 1}}
            return Script(body=json.dumps(said).encode())
        question = body["messages"][-1]["content"]
        if body["model"] == "judge-1":
            self.judged.append(json.loads(question))
            words = self.verdict
        else:
            self.chats.append(str(question))
            words = self.answers(str(question))
        return Script(events=[delta(content=words), finish(), "[DONE]"])


def _thing(question: str) -> str:
    return next((thing for thing in THINGS if thing in question), "")


@pytest.fixture
def server(upstream: FakeUpstream) -> Server:
    return Server(upstream)


@pytest.fixture
def form(upstream: FakeUpstream) -> dict[str, str]:
    place = {"endpoint_url": upstream.url, "context_size": "4096"}
    secret = f"secret-{uuid.uuid4().hex}"
    return {**place, "cache_secret": secret, "cache_options": OPTIONS}


def say(form: dict[str, str], question: Any, **parameters: Any) -> str:
    said = text(ask(form, question, **parameters))
    await_threads("cache-meaning")
    return said


def trust(form: dict[str, str]) -> None:
    """Collect the comparisons that the band needs; let it serve whenever it may."""
    cache = forms.read(form).cache
    cache._meaning._chance = lambda: 1.0
    for thing in THINGS[:ENOUGH]:
        say(form, f"How do I cancel my {thing}?")
        say(form, f"how can I cancel my {thing}")


LAST = THINGS[-1]
ONE, OTHER = f"How do I cancel my {LAST}?", f"how can I cancel my {LAST}"


def test_a_question_in_other_words_is_answered_once_its_band_has_proved_right(
    server: Server, form: dict[str, str]
) -> None:
    trust(form)
    asked = len(server.chats)
    assert say(form, ONE) == say(form, OTHER) == f"about {LAST}"
    assert server.chats[asked:] == [ONE]
    shown = observe.metrics({"cache_secret": form["cache_secret"]}).decode()
    assert 'reason="meaning"' in shown


def test_before_that_the_model_is_asked_as_always(
    server: Server, form: dict[str, str]
) -> None:
    say(form, ONE)
    say(form, OTHER)
    assert server.chats == [ONE, OTHER]
    summary = observe.summary(Caller({"cache_secret": form["cache_secret"]}), {})
    assert [(b["right"], b["wrong"]) for b in summary["meaning"]] == [(1, 0)]
    assert [part["kind"] for part in summary["by"]] == ["llm"]


def test_each_text_is_embedded_once(server: Server, form: dict[str, str]) -> None:
    for _ in range(3):
        say(form, ONE, cache_control="ask anew")
    assert len(server.embedded) == 1


@pytest.mark.parametrize(
    ("word", "hits"), [("yes", 1), ("Yes.", 1), ("no", 0), ("", 0)]
)
def test_a_judge_sees_both_questions_and_the_answer_and_fails_closed(
    server: Server, form: dict[str, str], word: str, hits: int
) -> None:
    form["cache_options"] += ", meaning_judge: judge-1"
    trust(form)
    say(form, ONE)
    server.verdict, asked = word, len(server.chats)
    say(form, OTHER)
    assert len(server.chats) - asked == 1 - hits
    judged = {key: server.judged[-1][key] for key in ("answered_question", "answer")}
    assert judged["answer"] == f"about {LAST}"
    assert LAST in judged["answered_question"]


def test_evidence_with_a_judge_counts_for_nothing_without_it(
    server: Server, form: dict[str, str]
) -> None:
    trust({**form, "cache_options": f"{OPTIONS}, meaning_judge: judge-1"})
    say(form, ONE)
    asked = len(server.chats)
    say(form, OTHER)
    assert len(server.chats) == asked + 1


def test_a_system_prompt_and_parameters_are_as_exact_as_ever(
    server: Server, form: dict[str, str]
) -> None:
    trust(form)
    say(form, ONE)
    asked = len(server.chats)
    say(form, [SystemPromptMessage(content="x"), UserPromptMessage(content=OTHER)])
    say(form, OTHER, temperature=0.5)
    assert len(server.chats) == asked + 2


def test_a_question_with_a_file_is_never_matched_by_its_meaning(
    server: Server, form: dict[str, str]
) -> None:
    trust(form)
    picture = ImagePromptMessageContent(
        format="png", base64_data="aGk=", mime_type="image/png"
    )
    asked = len(server.embedded)
    parts = [TextPromptMessageContent(data=OTHER), picture]
    say(form, [UserPromptMessage(content=parts)])
    assert len(server.embedded) == asked


def test_a_question_with_a_signed_url_is_never_matched_by_its_meaning(
    server: Server, form: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FILES_URL", "http://dify")
    url = f"http://dify/files/{uuid.uuid4()}/file-preview?timestamp={int(time.time())}&nonce={'0' * 32}"
    say(form, f"What is in {url}&sign={'a' * 43}=")
    assert server.embedded == []
    assert len(server.chats) == 1


def test_a_document_is_no_question(server: Server, form: dict[str, str]) -> None:
    say(form, "How do I cancel it? " * 200)
    assert server.embedded == []


def test_vectors_come_from_another_address_without_the_endpoints_secrets(
    server: Server, form: dict[str, str], upstream: FakeUpstream
) -> None:
    with fake_upstream() as other:
        theirs = Server(other)
        form |= {"api_key": "the-key", "extra_headers": '{"X-Team": "secret"}'}
        form["cache_options"] += f", meaning_url: {other.url}"
        trust(form)
        assert say(form, ONE) == say(form, OTHER) == f"about {LAST}"
    assert server.embedded == []
    assert theirs.chats == []
    assert len(set(theirs.embedded)) == len(theirs.embedded) > ENOUGH
    sent = {name.lower() for headers in other.headers for name in headers}
    assert not sent & {"authorization", "x-team"}


def test_by_default_nothing_is_embedded(server: Server, form: dict[str, str]) -> None:
    form["cache_options"] = ""
    say(form, ONE)
    say(form, OTHER)
    assert server.embedded == []
    assert server.chats == [ONE, OTHER]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("match: meaning", "need meaning_model"),
        ("match: meaning, meaning_model: two words", "for meaning_model"),
        (f"{OPTIONS}, meaning_judge: two words", "for meaning_judge"),
        ("max_wrong: 0", "from 0.01 to 0.2 for max_wrong"),
        ("max_wrong: 0.3", "from 0.01 to 0.2 for max_wrong"),
        ("max_wrong: few", "from 0.01 to 0.2 for max_wrong"),
        ("compare_percent: 0", "from 1 to 100 for compare_percent"),
        ("compare_percent: 101", "from 1 to 100 for compare_percent"),
        (f"{OPTIONS}, meaning_url: host", "(meaning_url) in Cache options"),
        (f"{OPTIONS}, meaning_url: http://u:p@host", "must not hold a user name"),
    ],
)
def test_a_wrong_value_is_one_sentence(options: str, sentence: str) -> None:
    form = {"endpoint_url": "http://host/v1", "context_size": "4096"}
    with pytest.raises(ConfigError) as raised:
        forms.read({**form, "cache_options": options})
    assert sentence in str(raised.value)


def test_a_serverless_runtime_says_that_it_has_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("INSTALL_METHOD", "serverless")
    form = {"endpoint_url": "http://host/v1", "context_size": "4096"}
    with pytest.raises(ConfigError, match="needs a plugin daemon"):
        forms.read({**form, "cache_options": OPTIONS})
    with pytest.raises(ConfigError, match="needs a plugin daemon"):
        rag_settings.read({"cache_secret": "x" * 20, "cache_options": "match: meaning"})


def _conversation(turns: list[dict[str, str]]) -> list[PromptMessage]:
    kinds = {"user": UserPromptMessage, "assistant": AssistantPromptMessage}
    return [kinds[turn["role"]](content=turn["content"]) for turn in turns]


def test_no_conversation_of_fow_caches_is_answered_with_another_ones_answer(
    form: dict[str, str],
) -> None:
    """Trap conversations, up to 40 turns: with equal ends and different questions."""
    folder = files("fow_cache") / "data"
    lines = [
        line
        for kind in ("conv-parts", "conv-long")
        for part in (folder / kind).iterdir()
        for line in part.read_text("utf-8").splitlines()
    ]
    read = forms.read(form)
    keys = set()
    for line in lines:
        for side in ("a", "b"):
            messages = _conversation(json.loads(line)[side])
            ours = dict.fromkeys(chat.CACHE_PARAMETERS)
            call = build(read, "m", messages, {}, [], [])
            request = chat._request(
                read, "m", call, messages, ours, Asking(), names_user=False
            )
            assert request.meaning is None
            keys.add(read.cache.key(request))
    assert len(keys) == 2 * len(lines) > 200
