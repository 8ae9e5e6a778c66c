"""Any answer, cut anywhere, sent any way: a hit gives exactly what the miss gave."""

import json
import random
import uuid
from typing import Any

import dify_plugin  # noqa: F401 - before requests
import pytest

from tests.fake_upstream import (
    FakeUpstream,
    Script,
    delta,
    fake_upstream,
    finish,
    usage,
)
from tests.plugins.helpers import ask

ALPHABET = 'ab \n"\\{}<>/你好🤔é\u2028\u0000'


def words(chance: random.Random, most: int = 30) -> str:
    return "".join(chance.choice(ALPHABET) for _ in range(chance.randint(0, most)))


def in_pieces(chance: random.Random, text: str) -> list[str]:
    pieces = []
    while text:
        size = chance.randint(1, len(text))
        pieces.append(text[:size])
        text = text[size:]
    return pieces


def answer(chance: random.Random) -> tuple[list[Any], bytes]:
    """Random events of one whole answer, and the same as one JSON object."""
    content = chance.choice(
        ["", words(chance), "<think>\n" + words(chance) + "\n</think>" + words(chance)]
    )
    content += "end"
    reasoning = chance.choice(["", words(chance)])
    calls = [
        {
            "id": f"call_{number}",
            "type": "function",
            "function": {
                "name": f"f{number}",
                "arguments": json.dumps({"x": words(chance)}),
            },
        }
        for number in range(chance.choice([0, 0, 1, 3]))
    ]
    events: list[Any] = [delta(role="assistant", content="")]
    events += [delta(reasoning_content=piece) for piece in in_pieces(chance, reasoning)]
    events += [delta(content=piece) for piece in in_pieces(chance, content)]
    for index, call in enumerate(calls):
        head = {
            **call,
            "index": index,
            "function": {"name": call["function"]["name"], "arguments": ""},
        }
        events.append(delta(tool_calls=[head]))
        for piece in in_pieces(chance, call["function"]["arguments"]):
            events.append(
                delta(tool_calls=[{"index": index, "function": {"arguments": piece}}])
            )
    reason = "tool_calls" if calls else "stop"
    events.append(finish(reason))
    counted = chance.random() < 0.7
    if counted:
        events.append(usage(chance.randint(1, 99), chance.randint(1, 99)))
    if chance.random() < 0.7:
        events.append("[DONE]")
    message = {
        "role": "assistant",
        "content": content,
        "reasoning_content": reasoning,
        "tool_calls": calls,
    }
    whole: dict[str, Any] = {"choices": [{"message": message, "finish_reason": reason}]}
    if counted:
        whole["usage"] = next(event["usage"] for event in events if "usage" in event)
    return events, json.dumps(whole).encode()


def framed(chance: random.Random, events: list[Any]) -> list[bytes]:
    """The events as bytes in one server's manner, cut at random."""
    end = chance.choice(["\n\n", "\r\n\r\n", "\n", "\r\n", "\n\n: comment\n\n"])
    ascii_only = chance.random() < 0.5
    text = "".join(
        f"data: {event if isinstance(event, str) else json.dumps(event, ensure_ascii=ascii_only)}{end}"
        for event in events
    )
    data, largest = text.encode(), chance.choice([1, 7, 100, 10_000])
    pieces = []
    while data:
        size = chance.randint(1, largest)
        pieces.append(data[:size])
        data = data[size:]
    return pieces


def gist(chunks: list[Any]) -> dict[str, Any]:
    """The complete answer that a caller has received, in whatever pieces."""
    last = chunks[-1].delta
    assert [chunk.delta.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert [chunk.delta.finish_reason for chunk in chunks[:-1]] == [None] * (
        len(chunks) - 1
    )
    return {
        "text": "".join(chunk.delta.message.content for chunk in chunks),
        "calls": [
            call.model_dump()
            for chunk in chunks
            for call in chunk.delta.message.tool_calls
        ],
        "finish_reason": last.finish_reason,
        "tokens": (last.usage.prompt_tokens, last.usage.completion_tokens),
    }


@pytest.fixture
def upstream():
    with fake_upstream() as started:
        yield started


@pytest.mark.parametrize(
    ("first", "second"), [(True, True), (True, False), (False, True)]
)
def test_a_hit_gives_exactly_what_the_miss_gave(
    upstream: FakeUpstream, first: bool, second: bool, much: int
) -> None:
    chance = random.Random(first * 2 + second)
    form = {
        "endpoint_url": upstream.url,
        "cache_namespace": uuid.uuid4().hex,
        "api_key": "a key",
        "function_calling_type": "tool_call",
    }
    for number in range(100 * much):
        events, whole = answer(chance)
        upstream.script = (
            Script(events=framed(chance, events)) if first else Script(body=whole)
        )
        calls = upstream.calls
        miss, hit = (
            gist(ask(form, f"question {number}", stream=stream, cache_control="always"))
            for stream in (first, second)
        )
        assert hit == miss
        assert upstream.calls == calls + 1
        assert miss["text"].endswith("end")
