"""Cache on ≡ cache off: 300 requests, asked with the cache off, cold and warm."""

import hashlib
import json
from typing import Any

from devhost.host import Host
from tests.fake_upstream import FakeUpstream, Script, delta, finish, usage
from tests.integration.requests_of_many_kinds import requests


def determined(request: dict[str, Any]) -> Script:
    """An answer that is a function of the request, and different for each."""
    known = {k: v for k, v in request.items() if k not in ("stream", "stream_options")}
    mark = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()
    number = int(mark[:8], 16)
    events: list[Any] = []
    if number % 3 == 0:
        events += [
            delta(reasoning_content=f"thinking of {mark[:6]}"),
            delta(reasoning_content=" 🤔"),
        ]
    if "response_format" in request:
        text = json.dumps({"reason": mark, "answer": number})
    else:
        text = f"答 {mark} " * (number % 40 + 1)
    events += [delta(content=text[at : at + 7]) for at in range(0, len(text), 7)]
    if "tools" in request and number % 2:
        function = {"name": "get_weather", "arguments": json.dumps({"city": mark})}
        part = {
            "index": 0,
            "id": f"call_{mark[:8]}",
            "type": "function",
            "function": function,
        }
        events.append(delta(tool_calls=[part]))
        events.append(finish("tool_calls"))
    else:
        events.append(finish())
    return Script(events=[*events, usage(number % 90 + 1, number % 70 + 1), "[DONE]"])


def gist(chunks: list[Any]) -> dict[str, Any]:
    last = chunks[-1]["delta"]
    tokens = ("prompt_tokens", "completion_tokens", "total_tokens", "currency")
    return {
        "model": {chunk["model"] for chunk in chunks},
        "text": "".join(chunk["delta"]["message"]["content"] for chunk in chunks),
        "calls": [
            call for chunk in chunks for call in chunk["delta"]["message"]["tool_calls"]
        ],
        "finish_reason": last["finish_reason"],
        "usage": {name: last["usage"][name] for name in tokens},
    }


def test_300_requests_have_equal_answers_with_the_cache_off_cold_and_warm(
    host: Host, upstream: FakeUpstream, form: dict[str, str]
) -> None:
    upstream.script = determined
    form |= {
        "function_calling_type": "tool_call",
        "structured_output_support": "supported",
    }
    process = host.plugin("answercache/cached_model").process

    def ask(request: dict[str, Any], mode: str) -> dict[str, Any]:
        data = {
            "provider": "cached_model",
            "model_type": "llm",
            "model": "m",
            "credentials": form | {"cache_ttl": mode},
            **request,
        }
        return gist(list(process.invoke("model", "invoke_llm", data, user_id="u")))

    asked = list(requests())
    off = [ask(request, "off") for request in asked]
    cold = [ask(request, "6 hours") for request in asked]
    calls = upstream.calls
    warm = [ask(request, "6 hours") for request in asked]
    assert len(asked) == 300
    assert calls == 600
    assert upstream.calls == calls, "every warm answer came from the cache"
    for request, answers in zip(asked, zip(off, cold, warm, strict=True), strict=True):
        assert answers[0] == answers[1] == answers[2], request
    assert len({answer["text"] for answer in off}) == 300
