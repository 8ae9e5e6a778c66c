"""``match: normalized``: questions that are typed differently share an answer."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from dify_plugin.entities.model.message import (
    AssistantPromptMessage,
    PromptMessage,
    PromptMessageTool,
    SystemPromptMessage,
    TextPromptMessageContent,
    UserPromptMessage,
)

from cachecore.answer import Piece
from cachecore.errors import ConfigError
from cached_model import form as forms
from rag_cache import wrapping
from rag_cache.caller import Caller
from rag_cache.work import cached
from rag_cache.work.meaning import Models
from tests.fake_upstream import FakeUpstream
from tests.plugins.helpers import ask, text

NORMALIZED = {"cache_options": "match: normalized"}
TYPED = "  When do   you open"
ASKED = "When do you open?"


@pytest.fixture
def form(upstream: FakeUpstream) -> dict[str, str]:
    secret = f"secret-{uuid.uuid4().hex}"
    place = {"endpoint_url": upstream.url, "context_size": "4096"}
    return {**place, "cache_secret": secret}


def test_by_default_a_space_is_another_question(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    ask(form, ASKED)
    ask(form, TYPED)
    assert upstream.calls == 2


def test_a_question_typed_otherwise_hits_and_goes_up_as_it_was_typed(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    form |= NORMALIZED
    assert text(ask(form, TYPED)) == text(ask(form, ASKED))
    (request,) = upstream.requests
    assert request["messages"][-1]["content"] == TYPED


def test_an_exact_model_is_given_nothing_that_was_kept_for_another_typing(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    ask(form | NORMALIZED, "when do you open")
    ask(form, "when do you open")
    assert upstream.calls == 2


def test_all_but_the_last_user_text_is_as_exact_as_ever(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    form |= NORMALIZED
    for system in ("Be brief.", "Be  brief."):
        ask(form, [SystemPromptMessage(content=system), UserPromptMessage(content="q")])
    assert upstream.calls == 2
    ask(form, "q", temperature=0.1)
    assert upstream.calls == 3


def test_parts_of_a_question_are_matched_each(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    form |= NORMALIZED
    for typed in (ASKED, TYPED):
        part = TextPromptMessageContent(data=typed)
        ask(form, [UserPromptMessage(content=[part])])
    assert upstream.calls == 1


def _conversation(last: str) -> list[PromptMessage]:
    return [
        UserPromptMessage(content="a"),
        AssistantPromptMessage(content="b"),
        UserPromptMessage(content=last),
    ]


TOOL = PromptMessageTool(name="f", description="", parameters={"type": "object"})


@pytest.mark.parametrize(
    ("asked", "more"),
    [(_conversation, {}), (str, {"tools": [TOOL]})],
    ids=["a conversation", "tools are offered"],
)
def test_a_question_that_depends_on_others_is_matched_exactly(
    upstream: FakeUpstream, form: dict[str, str], asked: Any, more: dict[str, Any]
) -> None:
    form |= {**NORMALIZED, "function_calling_type": "tool_call"}
    for typed in (ASKED, TYPED):
        ask(form, asked(typed), cache_control="always", **more)
    assert upstream.calls == 2


def test_cache_lookup_finds_a_key_typed_otherwise() -> None:
    caller = Caller({"cache_secret": uuid.uuid4().hex, **NORMALIZED})
    found = wrapping.look_up(caller, {"key": ASKED})
    wrapping.store(caller, {"ticket": found.ticket, "value": "at 9"})
    assert wrapping.look_up(caller, {"key": TYPED}).value == "at 9"
    assert wrapping.look_up(caller, {"key": TYPED, "name": "x"}).value is None


def no_vectors(*_: Any) -> Any:
    raise AssertionError


MODEL = {"provider": "a/b/c", "model": "gpt", "model_type": "llm", "mode": "chat"}


@pytest.mark.parametrize("what", ["model", "app"])
def test_cached_llm_and_cached_app_answer_a_question_typed_otherwise(what: str) -> None:
    caller = Caller({"cache_secret": uuid.uuid4().hex, **NORMALIZED}, app_id="here")
    loads: list[Any] = []

    def work(*asked: Any) -> Iterator[Piece]:
        loads.append(asked)
        yield Piece("at 9")
        yield Piece(finish_reason="stop")

    for typed in (ASKED, TYPED):
        given: dict[str, Any] = {"model": MODEL, "prompt": typed}
        if what == "app":
            given = {"app": {"app_id": "shop"}, "query": typed, "inputs": {}}
        models = Models(work, no_vectors)
        if what == "app":
            begun = cached.app(caller, given, work, models)
        else:
            begun = cached.model(caller, given, models)
        assert "".join(begun.texts()) == "at 9"
    assert len(loads) == 1


@pytest.mark.parametrize("option", ["match: no"])
def test_a_wrong_value_is_one_sentence_that_names_the_option(option: str) -> None:
    form = {"endpoint_url": "http://host/v1", "context_size": "4096"}
    with pytest.raises(
        ConfigError, match="need exact, normalized or meaning for match"
    ):
        forms.read({**form, "cache_options": option})
