"""The example turns that Dify writes into the prompts of its own nodes.

A Question Classifier, a Parameter Extractor and the metadata filter of a knowledge
retrieval show the model two examples, as turns of a conversation that never took place.
The examples are constants: only the system text and the last user message vary. So such a
prompt is not a conversation, and its answer depends only on data in the key.

The examples are recognised by digests of the constants. These are the same from Dify 0.6.8
to 1.16 and in graphon 0.1 to 0.8, except for the variants below. One text alone could be a
model's real answer; the whole block can't. If these nodes use real history, they write it
into the system text.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

_DIGITS: Final = 16

# Question Classifier: dify_graph/nodes/question_classifier/template_prompts.py.
_CLASSIFIER: Final = (
    ("470257775202ed8e", "093c0dc0252c4b8b", "c005cd78883cfea9", "46a3e704f6288778"),
    ("b929b44c9755533a", "093c0dc0252c4b8b", "c005cd78883cfea9", "46a3e704f6288778"),
)
# Parameter Extractor, by prompt: dify_graph/nodes/parameter_extractor/prompts.py.
_EXTRACTOR: Final = (
    ("f8a4c1ac55e212fb", "14baa4dbac5cccc9", "0fb7a4eb1f22312f", "0f1d6013f8cfbb3f"),
    ("fb417ffb908971e1", "14baa4dbac5cccc9", "60b7d1cbab7b3eb7", "0f1d6013f8cfbb3f"),
    ("fb417ffb908971e1", "14baa4dbac5cccc9", "60b7d1cbab7b3eb7", "ed9c4b6af536cf05"),
)
# The metadata filter: core/rag/retrieval/template_prompts.py. The query follows twice.
_FILTER: Final = (
    ("5ad07d6e9e62105b", "4b901cf1131e9dbe", "1427f56968f0922b", "8e288dc67ac07ab8"),
)
# Parameter Extractor, by tool call: twice a user turn, a call, its result and an end.
_RESULT, _END = "ab7f18ac9ee3f9e6", "b17ea839d4371968"
_BY_TOOL: Final = tuple(
    (
        *("7c8b5e6992396487", one, _RESULT, _END),
        *("e5df06dcff31658c", other, _RESULT, _END),
    )
    for one, other in (
        ("dc43f94d4bd6053f", "119ab7ea2e8473f5"),
        ("89427f5a3bb62f62", "0817e101116732aa"),
    )
)
_ROLES: Final = ("user", "assistant", "user", "assistant")
_ROLES_BY_TOOL: Final = ("user", "assistant", "tool", "assistant") * 2


def are_all(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether every earlier turn of OpenAI's ``messages`` is one of Dify's examples."""
    turns = messages[1:]
    if not messages or messages[0].get("role") not in ("system", "developer"):
        return False
    plain = not any(m.get("tool_calls") or m.get("function_call") for m in turns)
    return (
        (plain and _are(turns, _CLASSIFIER + _EXTRACTOR, _ROLES, (1,)))
        or (plain and _are(turns, _FILTER, _ROLES, (1, 2)))
        or _are(turns, _BY_TOOL, _ROLES_BY_TOOL, (1,))
    )


def extracts(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the messages are a Parameter Extractor's; its answer is a tool call.

    Dify reads the call's arguments and runs no tool (nodes/parameter_extractor).
    """
    return are_all(messages) and _are(messages[1:], _BY_TOOL, _ROLES_BY_TOOL, (1,))


def _are(
    turns: Sequence[Mapping[str, Any]],
    known: Sequence[Sequence[str]],
    roles: Sequence[str],
    tails: Sequence[int],
) -> bool:
    count = len(roles)
    if len(turns) - count not in tails:
        return False
    if any(message.get("role") != "user" for message in turns[count:]):
        return False
    block = turns[:count]
    played = tuple("tool" if m.get("role") == "function" else m["role"] for m in block)
    if played != tuple(roles):
        return False
    if any(not isinstance(message.get("content"), str) for message in block):
        return False
    return tuple(_digest(message["content"]) for message in block) in known


def _digest(text: str) -> str:
    data = text.encode("utf-8", "replace")
    return hashlib.sha256(data).hexdigest()[:_DIGITS]
