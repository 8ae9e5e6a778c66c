"""Reasoning: its switches, and the parts of it that are shown."""

from typing import Any

import pytest
from dify_plugin.entities.model import ModelFeature
from dify_plugin.entities.model.message import (
    AssistantPromptMessage,
    UserPromptMessage,
)

from cachecore.answer import spoken
from cached_model import form as forms
from cached_model.body import Call, build
from cached_model.reader import Reader, _Hider
from cached_model.schema import model_schema
from difykit.codec import messages
from tests.fake_upstream import FakeUpstream, Script, delta, finish
from tests.plugins.helpers import ask, text

BASE = {"endpoint_url": "http://host/v1", "context_size": "4096"}
SWITCHES = ("thinking", "enable_thinking", "chat_template_kwargs", "reasoning_format")


def call(parameters: dict[str, Any] | None = None, **fields: str) -> Call:
    form = forms.read(BASE | fields)
    return build(form, "m", [UserPromptMessage(content="hi")], parameters or {}, [], [])


def switches(made: Call) -> dict[str, Any]:
    names = (*SWITCHES, "reasoning_effort")
    return {name: made.body[name] for name in names if name in made.body}


def shown(*texts: str, hidden: bool) -> str:
    events = [delta(content=part) for part in texts]
    pieces = Reader(show_thoughts=not hidden).pieces([*events, finish(), "[DONE]"])
    return "".join(piece.text for piece in pieces)


@pytest.mark.parametrize(
    ("fields", "parameters", "sent", "shows"),
    [
        ({}, {}, {}, True),
        ({}, {"enable_thinking": False}, {}, False),
        ({"agent_thought_support": "not_supported"}, {}, {}, False),
        ({}, {"reasoning_effort": "low"}, {"reasoning_effort": "low"}, True),
        ({}, {"reasoning_effort": "low", "enable_thinking": False}, {}, False),
        ({}, {"reasoning_format": "none"}, {}, True),
        (
            {"compatibility_mode": "extended"},
            {"reasoning_format": "none"},
            {"reasoning_format": "none"},
            True,
        ),
        ({"compatibility_mode": "extended"}, {}, {}, True),
        (
            {"compatibility_mode": "extended"},
            {"enable_thinking": True, "reasoning_effort": "high"},
            {
                "thinking": {"type": "enabled"},
                "enable_thinking": True,
                "reasoning_effort": "high",
                "chat_template_kwargs": {
                    "enable_thinking": True,
                    "thinking": True,
                    "reasoning_effort": "high",
                },
            },
            True,
        ),
        (
            {
                "compatibility_mode": "extended",
                "agent_thought_support": "not_supported",
            },
            {},
            {
                "thinking": {"type": "disabled"},
                "enable_thinking": False,
                "chat_template_kwargs": {"enable_thinking": False, "thinking": False},
            },
            False,
        ),
        (
            {
                "compatibility_mode": "extended",
                "agent_thought_support": "only_thinking_supported",
            },
            {},
            {
                "thinking": {"type": "enabled"},
                "enable_thinking": True,
                "chat_template_kwargs": {"enable_thinking": True, "thinking": True},
            },
            True,
        ),
    ],
)
def test_the_switches_reach_the_servers_that_know_them(
    fields: dict[str, str],
    parameters: dict[str, Any],
    sent: dict[str, Any],
    shows: bool,
) -> None:
    made = call(parameters, **fields)
    assert (switches(made), made.thoughts) == (sent, shows)


def test_an_answer_with_its_reasoning_hidden_is_another() -> None:
    on, off = call({"enable_thinking": True}), call({"enable_thinking": False})
    form = forms.read(BASE)
    assert on.body == off.body
    assert on.key_form(form) != off.key_form(form)


@pytest.mark.parametrize(
    ("texts", "left"),
    [
        (["<think>hm</think>\n\nYes"], "Yes"),
        (["<th", "ink>h", "m</th", "ink>", "\n", " Yes", " indeed"], "Yes indeed"),
        (["\n<think>", "hm", "</think>Yes"], "Yes"),
        (["Yes <think>hm</think>"], "Yes <think>hm</think>"),
        (["<thin", "gs>"], "<things>"),
        (["<", "b>"], "<b>"),
        (["<think>", "never ends"], ""),
        (["<"], "<"),
        ([" ", "\n", "Yes"], " \nYes"),
        (["<think></think>"], ""),
        (["<think>a</think><think>b</think>"], "<think>b</think>"),
    ],
)
def test_reasoning_within_the_text_is_hidden_wherever_it_is_cut(
    texts: list[str], left: str
) -> None:
    assert shown(*texts, hidden=True) == left
    assert shown(*texts, hidden=False) == "".join(texts)


def test_every_cut_of_a_text_hides_the_same() -> None:
    whole = " <think>a </thin b</think> \n<b>Yes</b>"
    for first in range(len(whole)):
        for second in range(first, len(whole)):
            cut = whole[:first], whole[first:second], whole[second:]
            assert shown(*cut, hidden=True) == "<b>Yes</b>"


def test_reasoning_that_is_there_twice_is_shown_once() -> None:
    message = {"content": "<think>\nin\n</think>\nYes", "reasoning": "beside"}
    response = {"choices": [{"message": message, "finish_reason": "stop"}]}
    assert Reader(show_thoughts=True).whole(response).text == message["content"]


def test_hidden_reasoning_is_kept_apart_from_shown(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    upstream.script = Script(
        events=[delta(reasoning="hm"), delta(content="Yes"), finish(), "[DONE]"]
    )
    assert text(ask(form)) == "<think>\nhm\n</think>Yes"
    assert text(ask(form, enable_thinking=False)) == "Yes"
    assert text(ask(form)) == "<think>\nhm\n</think>Yes"
    assert upstream.calls == 2


def test_all_reasoning_is_removed_from_history() -> None:
    form = forms.read(BASE)
    said = "<think>a</think>\nOne <think>b</think>two"
    messages = [AssistantPromptMessage(content=said), UserPromptMessage(content="?")]
    made = build(form, "m", messages, {}, [], [])
    assert made.body["messages"][0]["content"] == "One two"


@pytest.mark.parametrize(
    ("support", "rules"),
    [
        ("supported", {"enable_thinking", "reasoning_format", "reasoning_effort"}),
        ("only_thinking_supported", {"reasoning_format", "reasoning_effort"}),
        ("not_supported", set()),
    ],
)
def test_a_node_shows_the_switches_that_the_model_has(
    support: str, rules: set[str]
) -> None:
    schema = model_schema("m", forms.read(BASE | {"agent_thought_support": support}))
    names = {rule.name for rule in schema.parameter_rules}
    assert {name for name in names if "think" in name or "reason" in name} == rules
    assert (ModelFeature.AGENT_THOUGHT in (schema.features or [])) == bool(rules)


def test_openings_without_an_end_are_read_in_no_time() -> None:
    # A regular expression once took minutes for this, and delayed all other requests.
    text = "<think>" * 200_000
    assert messages.without_thoughts(text) == text
    assert spoken(text) == ""
    assert messages.without_thoughts("<think></think> " * 50_000 + "x") == "x"


@pytest.mark.parametrize(
    ("text", "first", "all_of_it"),
    [
        ("Yes", "Yes", "Yes"),
        ("<think>a</think>\n Yes", "Yes", "Yes"),
        ("A <think>b</think> c", "A <think>b</think> c", "A c"),
        (" <think>a</think>B<think>c</think>D", "B<think>c</think>D", " BD"),
        ("<think>a", "", "<think>a"),
    ],
)
def test_reasoning_is_taken_out_of_a_text(
    text: str, first: str, all_of_it: str
) -> None:
    assert spoken(text) == first
    assert messages.without_thoughts(text) == all_of_it


def test_only_reasoning_before_the_answer_is_hidden() -> None:
    assert shown("Yes", "<think>", "hm</think>", hidden=True) == "Yes<think>hm</think>"


def test_an_answer_with_its_reasoning_hidden_comes_in_its_pieces() -> None:
    hider = _Hider()
    texts = ["<think>", "hm", "</think>", "Yes", " indeed"]
    assert [hider.add(text) for text in texts] == ["", "", "", "Yes", " indeed"]
    hider = _Hider()
    assert [hider.add(text) for text in ("Yes", " indeed")] == ["Yes", " indeed"]
    assert _Hider().add(" " * 1001) == " " * 1001


def test_of_hidden_reasoning_no_more_is_held_than_its_end_takes() -> None:
    hider = _Hider()
    for _ in range(100):
        hider.add("<think>" + "x" * 100)
    assert len(hider._held) < 200
