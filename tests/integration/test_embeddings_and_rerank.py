"""Embeddings and reranks of the built package, over stdio, with a real Redis."""

import json
from typing import Any

import pytest
import redis

from devhost.failures import PluginError
from devhost.host import Host
from devhost.process import MAX_LINE
from tests.fake_upstream import FakeUpstream, Script, score, vector
from tests.llm_request import llm_request

MODEL = "answercache/cached_model"


def invoke(host: Host, action: str, form: dict[str, str], **data: Any) -> Any:
    kinds = {"invoke_rerank": "rerank", "get_ai_model_schemas": "text-embedding"}
    request = {
        "provider": "cached_model",
        "model": "m",
        "model_type": kinds.get(action, "text-embedding"),
        "credentials": form,
        **data,
    }
    (answer,) = host.plugin(MODEL).process.invoke("model", action, request)
    return answer


def embed(host: Host, form: dict[str, str], *texts: str) -> Any:
    data = {"texts": list(texts), "input_type": "document"}
    return invoke(host, "invoke_text_embedding", form, **data)


def test_only_new_texts_reach_the_model_server(
    host: Host, upstream: FakeUpstream, form: dict[str, str]
) -> None:
    first = embed(host, form, "a", "b")
    again = embed(host, form, "b", "c", "a")
    assert first["embeddings"] == [vector("a"), vector("b")]
    assert again["embeddings"] == [vector("b"), vector("c"), vector("a")]
    assert [request["input"] for request in upstream.requests] == [["a", "b"], ["c"]]
    assert again["usage"]["total_tokens"] == 3


def test_vectors_lie_in_redis_as_bytes_and_unread_with_a_secret(
    host: Host, form: dict[str, str], redis_url: str
) -> None:
    sizes = []
    for secret in ("", "a long enough secret"):
        name = form["cache_namespace"] + ("s" if secret else "")
        embed(host, {**form, "cache_namespace": name, "cache_secret": secret}, "a")
        (key,) = redis.Redis.from_url(redis_url).scan_iter(
            f"dify:cache:v1:{name}:embedding:*"
        )
        value = redis.Redis.from_url(redis_url).get(key)
        assert (b"created_at" in value) == (not secret)  # type: ignore[operator]
        sizes.append(len(value))  # type: ignore[arg-type]
    assert max(sizes) < 600


def test_a_thousand_long_vectors_leave_the_process_alive(
    host: Host, upstream: FakeUpstream, form: dict[str, str]
) -> None:
    upstream.script = lambda request: Script(
        body=json.dumps(
            {"data": [{"embedding": [0.125] * 4096} for _ in request["input"]]}
        ).encode()
    )
    pid = host.plugin(MODEL).process.pid
    with pytest.raises(PluginError, match=r"\(max_chunks\)") as raised:
        embed(host, form, *map(str, range(1024)))
    assert raised.value.error_type == "InvokeBadRequestError"
    assert host.plugin(MODEL).process.pid == pid
    assert len(embed(host, form, "0")["embeddings"][0]) == 4096


def test_the_door_measures_what_only_the_line_shows(
    host: Host, upstream: FakeUpstream, form: dict[str, str]
) -> None:
    # 64 vectors of 4,096 numbers are over 5 MiB at 22 characters a number, not at 6.
    long = {"data": [{"embedding": [-0.1234567890123456789] * 4096}] * 64}
    upstream.script = Script(body=json.dumps(long).encode())
    wide = {**form, "max_chunks": "64"}
    texts = [f"text {number}" for number in range(64)]
    with pytest.raises(PluginError, match=r"bytes, and Dify accepts .*max_chunks"):
        embed(host, wide, *texts)
    assert host.plugin(MODEL).process.longest_line <= MAX_LINE
    # They are kept nevertheless: half of them come from the cache, and fit in the line.
    assert len(embed(host, wide, *texts[:32])["embeddings"]) == 32
    assert upstream.calls == 1


@pytest.mark.parametrize("code", ["A" * 6_000_000, {"echo": "the prompt"}])
def test_an_error_of_a_server_neither_kills_the_process_nor_repeats_it(
    host: Host, upstream: FakeUpstream, form: dict[str, str], code: object
) -> None:
    upstream.script = Script(events=[{"error": {"code": code}}])
    process = host.plugin(MODEL).process
    pid, longest = process.pid, process.longest_line
    with pytest.raises(PluginError, match="reported an error in its answer") as raised:
        list(process.invoke("model", "invoke_llm", llm_request(form, "hi")))
    assert process.pid == pid
    assert process.longest_line <= max(longest, 10_000)
    assert "prompt" not in str(raised.value)


def test_a_schema_of_embeddings_says_how_many_texts_to_send(
    host: Host, form: dict[str, str]
) -> None:
    answer = invoke(host, "get_ai_model_schemas", {**form, "max_chunks": "12"})
    properties = answer["model_schema"]["model_properties"]
    assert (properties["max_chunks"], properties["context_size"]) == (12, 4096)


def test_asking_for_fewer_documents_is_answered_from_redis(
    host: Host, upstream: FakeUpstream, form: dict[str, str]
) -> None:
    documents = ["tax law", "the sea", "a whale in the sea"]
    data = {"query": "sea", "docs": documents}
    # Dify's null arrives as None.
    asked = invoke(
        host, "invoke_rerank", form, **data, score_threshold=None, top_n=None
    )
    best = invoke(host, "invoke_rerank", form, **data, score_threshold=0.0, top_n=1)
    assert [one["score"] for one in asked["docs"]] == sorted(
        (score("sea", text) for text in documents), reverse=True
    )
    assert best["docs"] == asked["docs"][:1]
    assert upstream.calls == 1
