"""cached_llm, cached_app and rerank models, over the real protocol."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from servers.documents import Document
from servers.knowledge import KEY, FakeKnowledgeApi, fake_knowledge_api

from devhost import workflow
from devhost.failures import PluginError
from devhost.host import Host
from tests.fake_upstream import FakeUpstream
from tests.integration.test_plugins_in_the_host import TOOLS, tool

ROOT = Path(__file__).parents[2]
FAQ = ROOT / "examples" / "faq_assistant.yml"
CHOSEN = {
    "provider": "answercache/cached_model/cached_model",
    "model": "chosen",
    "model_type": "llm",
    "mode": "chat",
    "completion_params": {"temperature": 0.1},
}


def chunks_of(
    host: Host, which: str, credentials: dict[str, str], given: dict[str, Any]
) -> Iterator[Any]:
    request = {
        "provider": "rag_cache",
        "tool": which,
        "credentials": credentials,
        "tool_parameters": given,
    }
    return host.plugin(TOOLS).process.invoke("tool", "invoke_tool", request)


def text_of(host: Host, which: str, credentials: dict[str, str], **given: Any) -> str:
    chunks = chunks_of(host, which, credentials, given)
    return "".join(c["message"]["text"] for c in chunks if c["type"] == "text")


def observation(
    host: Host, which: str, credentials: dict[str, str], **given: Any
) -> str:
    """The text that Dify gives to an agent's model: output variables are in it.

    core/tools/tool_engine.py, _convert_tool_response_to_str.
    """
    chunks = chunks_of(host, which, credentials, given)
    texts = (c["message"].get("text") or str(c["message"]) for c in chunks)
    return "".join(texts)


def test_a_crowd_at_one_model_asks_it_once(
    host: Host,
    upstream: FakeUpstream,
    form: dict[str, str],
    cache_fields: dict[str, str],
) -> None:
    host.set_model(CHOSEN["provider"], "chosen", form | {"cache_ttl": "off"})
    said: list[str] = []
    threads = [
        threading.Thread(
            target=lambda: said.append(
                text_of(host, "cached_llm", cache_fields, model=CHOSEN, prompt="hi all")
            )
        )
        for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert said == ["echo: hi all"] * 20
    assert upstream.calls == 1


def test_an_app_runs_once_and_is_then_remembered(
    host: Host,
    upstream: FakeUpstream,
    form: dict[str, str],
    cache_fields: dict[str, str],
) -> None:
    model = {"model_credentials": [{"vendor": "cached_model", "values": form}]}
    host.serve("app", "faq-app", workflow.as_app(host, FAQ, model))
    given = {"app": {"app_id": "faq-app"}, "query": "Do you ship?"}
    cold = tool(host, "cached_app", cache_fields, **given)
    warm = tool(host, "cached_app", cache_fields, **given)
    assert (cold["hit"], warm["hit"]) == (False, True)
    assert cold["outputs"] == warm["outputs"] == {"answer": "echo: Do you ship?"}
    assert text_of(host, "cached_app", cache_fields, **given) == "echo: Do you ship?"
    assert upstream.calls == 1


def test_an_app_that_fails_or_is_not_there_is_one_sentence(
    host: Host, cache_fields: dict[str, str]
) -> None:
    def failing(_: Any) -> Iterator[dict[str, Any]]:
        yield {"event": "error", "status": 500, "message": "the model is away"}

    host.serve("app", "failing", failing)
    for app, said in (("failing", "the model is away"), ("nowhere", "app not found")):
        with pytest.raises(PluginError, match=said):
            tool(host, "cached_app", cache_fields, app={"app_id": app}, query="x")


def test_a_rerank_model_ranks_several_knowledge_bases(
    host: Host, cache_fields: dict[str, str]
) -> None:
    asked: list[dict[str, Any]] = []

    def rerank(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        asked.append(request)
        docs = [
            {"index": n, "text": text, "score": 0.9 if "lamps" in text else 0.2}
            for n, text in enumerate(request["docs"])
        ]
        yield {"model": "ranker", "docs": docs}

    host.serve("rerank", "ranker", rerank)
    with fake_knowledge_api() as api:
        one = api.add("a", Document("a.md", "We ship parcels."))
        two = api.add("b", Document("b.md", "We ship lamps."))
        credentials = cache_fields | {
            "knowledge_api_url": api.url,
            "knowledge_api_key": KEY,
        }
        given = {
            "query": "what do we ship",
            "datasets": [one.id, two.id],
            "rerank_model": {
                "provider": "p/p/p",
                "model": "ranker",
                "model_type": "rerank",
            },
            "score_threshold": 0.1,
            "top_k": 2,
        }
        cold = tool(host, "cached_retrieve", credentials, **given)
        warm = tool(host, "cached_retrieve", credentials, **given)
    assert [item["title"] for item in cold["result"]] == ["b.md", "a.md"]
    assert cold["result"] == warm["result"]
    assert (cold["warning"], warm["hit"]) == ("", True)
    assert len(asked) == 1
    assert (asked[0]["top_n"], asked[0]["score_threshold"]) == (2, 0.1)


def test_an_agent_searches_the_knowledge_bases_that_its_settings_name(
    host: Host, cache_fields: dict[str, str]
) -> None:
    with fake_knowledge_api() as api:
        api.add("Shop", Document("a.md", "We ship parcels."))
        credentials = cache_fields | {
            "knowledge_api_url": api.url,
            "knowledge_api_key": KEY,
        }
        given = {"query": "what do we ship", "knowledge_bases": "Shop"}
        cold = observation(host, "cached_search", credentials, **given)
        warm = observation(host, "cached_search", credentials, **given)
        assert cold == warm == "We ship parcels."
        assert api.retrievals == 1
        with pytest.raises(PluginError, match=r"Knowledge Bases \(knowledge_bases\)"):
            text_of(
                host, "cached_search", credentials, **(given | {"knowledge_bases": "B"})
            )
        with pytest.raises(PluginError, match="knowledge_bases is empty"):
            text_of(host, "cached_search", credentials, query="what")


def test_a_caller_that_leaves_holds_nobody_up(
    host: Host,
    upstream: FakeUpstream,
    form: dict[str, str],
    cache_fields: dict[str, str],
) -> None:
    """The host does not report that the caller has left: the answer simply stops."""
    began = threading.Event()

    def slow(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        first = not began.is_set()
        began.set()
        if first:
            time.sleep(8)
        index = 0
        for index, word in enumerate(("all ", "well")):
            message = {"role": "assistant", "content": word, "tool_calls": []}
            yield {"model": "slow", "delta": {"index": index, "message": message}}
        usage = {
            **dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens"), 1),
            "currency": "USD",
            "latency": 0.1,
        }
        message = {"role": "assistant", "content": "", "tool_calls": []}
        ending = {"index": index + 1, "message": message, "finish_reason": "stop"}
        yield {"model": "slow", "delta": {**ending, "usage": usage}}

    host.serve("llm", "slow", slow)
    credentials = cache_fields | {
        "cache_options": "redis_timeout_ms: 2000, work_silence_seconds: 2"
    }
    given = {"model": CHOSEN | {"model": "slow"}, "prompt": "well?"}
    failed: list[PluginError] = []

    def leave() -> None:
        try:
            text_of(host, "cached_llm", credentials, **given)
        except PluginError as error:
            failed.append(error)

    left = threading.Thread(target=leave)
    left.start()
    assert began.wait(5)
    started = time.monotonic()
    assert text_of(host, "cached_llm", credentials, **given) == "all well"
    assert time.monotonic() - started < 6
    left.join(10)
    assert "in time" in str(failed[0])
    assert tool(host, "cached_llm", credentials, **given)["hit"] is True


def test_knowledge_bases_can_be_picked_from_a_list(
    host: Host, api: FakeKnowledgeApi, cache_fields: dict[str, str]
) -> None:
    faq = api.add("FAQ")
    for number in range(150):
        api.add(f"other {number}")
    credentials = cache_fields | {
        "knowledge_api_url": api.url,
        "knowledge_api_key": KEY,
    }
    (answer,) = host.plugin(TOOLS).process.invoke(
        "dynamic_parameter",
        "fetch_parameter_options",
        {
            "provider": "rag_cache",
            "provider_action": "cached_retrieve",
            "credentials": credentials,
            "parameter": "datasets",
        },
    )
    options = {
        option["label"]["en_US"]: option["value"] for option in answer["options"]
    }
    assert options["FAQ"] == faq.id
    assert len(options) == 151
