"""Dify's own nodes write examples into their prompts; such a prompt is no conversation.

The prompts are those of graphon, the engine of newer hosts; Dify 1.13.2 has the same texts
except those of the extractor by tool call.
"""

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from graphon.nodes.parameter_extractor import prompts
from graphon.nodes.question_classifier import template_prompts

from difykit.codec import few_shots

type Messages = list[dict[str, Any]]


def said(role: str, content: str, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def classifier(question: str = "Where is my parcel?") -> Messages:
    names = (
        "USER_PROMPT_1",
        "ASSISTANT_PROMPT_1",
        "USER_PROMPT_2",
        "ASSISTANT_PROMPT_2",
    )
    shots = [getattr(template_prompts, f"QUESTION_CLASSIFIER_{name}") for name in names]
    roles = ("user", "assistant") * 2
    return [
        said("system", "classify"),
        *(said(role, text) for role, text in zip(roles, shots, strict=True)),
        said("user", question),
    ]


def by_prompt(question: str = "Three nights in Rome") -> Messages:
    shots = []
    for example in prompts.CHAT_EXAMPLE:
        user, answer = example["user"], example["assistant"]
        asked = prompts.CHAT_GENERATE_JSON_USER_MESSAGE_TEMPLATE.format(
            structure=json.dumps(user["json"]), text=user["query"]
        )
        shots += [said("user", asked), said("assistant", json.dumps(answer["json"]))]
    return [said("system", "extract"), *shots, said("user", question)]


def by_tool(question: str = "Three nights in Rome") -> Messages:
    shots = []
    for example in prompts.FUNCTION_CALLING_EXTRACTOR_EXAMPLE:
        call, name = example["assistant"]["function_call"], uuid.uuid4().hex
        function = {"name": call["name"], "arguments": json.dumps(call["parameters"])}
        calls = [{"id": name, "type": "function", "function": function}]
        done = "Great! You have called the function with the correct parameters."
        shots += [
            said("user", example["user"]["query"]),
            said("assistant", example["assistant"]["text"], tool_calls=calls),
            said("tool", done, tool_call_id=name),
            said("assistant", "I have extracted the parameters, let's move on."),
        ]
    return [said("system", "extract"), *shots, said("user", question)]


each = pytest.mark.parametrize("prompt", [classifier, by_prompt, by_tool])


@each
def test_the_examples_that_dify_writes_are_no_conversation(
    prompt: Callable[[], Messages],
) -> None:
    assert few_shots.are_all(prompt())
    assert few_shots.extracts(prompt()) is (prompt is by_tool)


@each
def test_a_real_turn_among_them_makes_it_one(prompt: Callable[[], Messages]) -> None:
    system, *rest = prompt()
    for changed in (
        [system, said("user", "hi"), said("assistant", "hello"), *rest],
        [system, *rest, said("assistant", "hello"), said("user", "and now?")],
        [system, *rest, said("user", "a second question")],
        [system, *rest[2:]],
        [system, rest[0], said("assistant", rest[1]["content"] + " "), *rest[2:]],
        rest,
    ):
        assert not few_shots.are_all(changed)
