"""RAG Cache's endpoints over HTTP, as Dify's daemon serves them, with a real Redis."""

import http.client
import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from prometheus_client.parser import text_string_to_metric_families
from servers.documents import Dataset, Document
from servers.knowledge import KEY, FakeKnowledgeApi

from devhost.endpoints import Endpoints
from devhost.host import Host
from tests.integration.test_plugins_in_the_host import MODEL, TOOLS, ask, tool

TOKEN = "a-long-random-text"
PATHS = {
    "/healthz": "GET",
    "/metrics": "GET",
    "/invalidate": "POST",
    "/switch": "POST",
    "/feedback": "POST",
    "/retrieval": "POST",
    "/store": "POST",
}


@pytest.fixture
def faq(api: FakeKnowledgeApi) -> Dataset:
    parcel = Document("parcel.md", "Parcels arrive.", metadata={"lang": "en"})
    return api.add("FAQ", parcel, Document("lamp.md", "Lamps arrive."))


@pytest.fixture
def fields(cache_fields: dict[str, str], api: FakeKnowledgeApi) -> dict[str, str]:
    place = {"knowledge_api_url": api.url, "knowledge_api_key": KEY}
    return cache_fields | place


class Hook:
    """An endpoint group at its URL."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._place, self._path = parts.netloc, parts.path

    def __call__(
        self, path: str, body: Any = None, token: str | None = TOKEN, method: str = ""
    ) -> tuple[int, Any]:
        connection = http.client.HTTPConnection(self._place, timeout=20)
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection.request(
            method or PATHS[path],
            self._path + path,
            None if body is None else data,
            headers,
        )
        response = connection.getresponse()
        said = response.read()
        connection.close()
        if "json" in response.headers.get("Content-Type", ""):
            return response.status, json.loads(said)
        return response.status, said.decode()


@pytest.fixture
def served() -> Iterator[Endpoints]:
    endpoints = Endpoints()
    yield endpoints
    endpoints.close()


@pytest.fixture
def hook(host: Host, served: Endpoints, fields: dict[str, str]) -> Hook:
    settings = fields | {"access_token": TOKEN}
    return Hook(served.add(host.plugin(TOOLS).process, settings))


@pytest.mark.parametrize("path", PATHS)
def test_a_caller_without_the_token_is_refused(
    host: Host, served: Endpoints, hook: Hook, fields: dict[str, str], path: str
) -> None:
    for token in (None, "", "wrong", TOKEN[:-1]):
        status, said = hook(path, {}, token)
        assert status in (401, 403)
        assert "error" in said or "error_code" in said
    open_hook = Hook(served.add(host.plugin(TOOLS).process, fields))
    for token in (None, "", "None"):
        assert open_hook(path, {}, token)[0] == 403


def test_an_invalidated_answer_is_loaded_again(
    host: Host, hook: Hook, form: dict[str, str], upstream: Any
) -> None:
    ask(host, form, "hi", model_parameters={"cache_tags": "faq"})
    status, said = hook("/invalidate", {"target": "tag", "name": "faq"})
    assert (status, said["done"]) == (200, True)
    ask(host, form, "hi", model_parameters={"cache_tags": "faq"})
    assert upstream.calls == 2


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/invalidate", {}, "name"),
        ("/invalidate", {"target": "namespace"}, "confirm"),
        ("/invalidate", {"target": "world", "name": "x"}, "target"),
        ("/invalidate", {"target": "dataset", "name": "FAQ"}, "name"),
        ("/invalidate", b"not json", "JSON"),
        ("/invalidate", [1], "JSON"),
        ("/invalidate", b'{"name": "' + b"x" * 70_000 + b'"}', "65536"),
        ("/switch", {"switch": "sideways"}, "on, read_only or off"),
        ("/feedback", {"cache_key": "x"}, "voter"),
        ("/feedback", {"voter": "u", "cache_key": "x"}, "cache_key"),
        ("/retrieval", {"query": "x"}, "knowledge_id"),
        ("/retrieval", {"query": "x", "knowledge_id": "FAQ"}, "knowledge_id"),
        ("/retrieval", b"[]", "JSON"),
    ],
)
def test_a_bad_request_is_one_sentence(
    hook: Hook, path: str, body: Any, said: str
) -> None:
    status, answer = hook(path, body)
    sentence = answer.get("error") or answer["error_msg"]
    assert status == 400
    assert said in sentence
    assert "Traceback" not in sentence


def test_the_switch_stops_the_model_too(
    host: Host, hook: Hook, form: dict[str, str], upstream: Any
) -> None:
    assert hook("/switch", {"switch": "off"})[0] == 200
    ask(host, form)
    ask(host, form)
    assert upstream.calls == 2
    hook("/switch", {"switch": "on"})
    ask(host, form)
    ask(host, form)
    assert upstream.calls == 3


def test_feedback_by_voters_of_ones_own(
    host: Host, hook: Hook, fields: dict[str, str]
) -> None:
    missed = tool(host, "cache_lookup", fields, key="q")
    tool(host, "cache_store", fields, ticket=missed["ticket"], value="v")
    results = [
        hook("/feedback", {"cache_key": missed["cache_key"], "voter": voter})[1][
            "result"
        ]
        for voter in ("a", "b", "c", "d")
    ]
    assert results == ["counted", "counted", "dropped", "nothing_kept"]
    assert tool(host, "cache_lookup", fields, key="q")["reason"] == "absent"


def test_registering_an_external_knowledge_api_passes(hook: Hook) -> None:
    assert hook("/retrieval", None) == (200, {"records": []})
    assert hook("/retrieval", b"") == (200, {"records": []})
    assert hook("/retrieval", None, "wrong")[0] == 403


def test_a_native_retrieval_node_is_answered_from_the_cache(
    hook: Hook, api: FakeKnowledgeApi, faq: Dataset
) -> None:
    asked = {
        "knowledge_id": faq.id,
        "query": "When do parcels arrive?",
        "retrieval_setting": {"top_k": 1, "score_threshold": 0.0},
    }
    status, first = hook("/retrieval", asked)
    assert status == 200
    (record,) = first["records"]
    assert (record["title"], record["content"]) == ("parcel.md", "Parcels arrive.")
    assert record["score"] > 0
    assert record["metadata"]["lang"] == "en"
    assert record["metadata"]["dataset_id"] == faq.id
    assert hook("/retrieval", asked) == (200, first)
    assert api.retrievals == 1
    condition = {"name": ["lang"], "comparison_operator": "is", "value": "fr"}
    filtered = asked | {
        "metadata_condition": {"logical_operator": "and", "conditions": [condition]}
    }
    assert hook("/retrieval", filtered) == (200, {"records": []})


def test_a_missing_knowledge_base_is_reported(hook: Hook) -> None:
    nobody = "00000000-0000-0000-0000-000000000000"
    status, said = hook("/retrieval", {"knowledge_id": nobody, "query": "x"})
    assert (status, said["error_code"]) == (404, 2001)
    assert nobody in said["error_msg"]


def test_metrics_of_both_plugins_are_read_by_prometheus(
    host: Host, hook: Hook, form: dict[str, str], fields: dict[str, str]
) -> None:
    ask(host, form)
    ask(host, form)
    tool(host, "cache_lookup", fields, key="q", name="report")
    wanted = {("llm", "m", "hit"): 1.0, ("value", "report", "absent"): 1.0}
    found: dict[tuple[str, ...], float] = {}
    ends = time.monotonic() + 15
    while not wanted.items() <= found.items():
        assert time.monotonic() < ends, found
        time.sleep(0.2)
        families = {
            f.name: f for f in text_string_to_metric_families(hook("/metrics")[1])
        }
        found = {
            (s.labels["kind"], s.labels["model"], s.labels["reason"]): s.value
            for s in families["answer_cache_requests"].samples
        }
    assert families["answer_cache_up"].samples[0].value == 1
    instances = {
        s.labels["instance_id"] for s in families["answer_cache_requests"].samples
    }
    assert len(instances) == 2
    hits = [
        s
        for s in families["answer_cache_answer_seconds"].samples
        if s.labels.get("result") == "hit" and s.labels.get("le") == "+Inf"
    ]
    assert [s.value for s in hits] == [1.0]
    assert "hi" not in {value for s in hits for value in s.labels.values()}
    stats = tool(host, "cache_stats", fields)
    assert stats["requests"] >= 3
    assert {part["label"] for part in stats["stats"]["by"]} == {"m", "report"}


def test_an_unreachable_redis_is_a_gauge_and_no_error(
    host: Host, served: Endpoints, fields: dict[str, str]
) -> None:
    gone = fields | {"redis_url": "redis://127.0.0.1:9", "access_token": TOKEN}
    hook = Hook(served.add(host.plugin(TOOLS).process, gone))
    status, said = hook("/metrics")
    assert status == 200
    assert "answer_cache_up 0.0" in said
    assert hook("/healthz")[0] == 503
    assert hook("/invalidate", {"name": "x"})[0] == 503
    assert hook("/switch", {"switch": "off"})[0] == 503


def test_the_model_plugin_needs_no_endpoint(host: Host) -> None:
    assert "endpoints" not in host.plugin(MODEL).package.manifest["plugins"]
