"""The built packages, over stdio, with a real Redis."""

import json
import threading
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
import redis

from devhost import workflow
from devhost.endpoints import Endpoints
from devhost.failures import PluginError
from devhost.host import Host
from tests.fake_upstream import FakeUpstream, Script, delta, finish
from tests.llm_request import llm_request

ROOT = Path(__file__).parents[2]
MODEL, TOOLS = "answercache/cached_model", "answercache/rag_cache"


def ask(
    host: Host,
    form: dict[str, str],
    question: str = "hi",
    user: str = "u",
    **changes: Any,
) -> list[Any]:
    request = llm_request(form, question, **changes)
    return list(
        host.plugin(MODEL).process.invoke("model", "invoke_llm", request, user_id=user)
    )


def text(chunks: list[Any]) -> str:
    return "".join(chunk["delta"]["message"]["content"] for chunk in chunks)


def tool(
    host: Host, which: str, credentials: dict[str, str], **parameters: Any
) -> dict[str, Any]:
    request = {
        "provider": "rag_cache",
        "tool": which,
        "credentials": credentials,
        "credential_type": "api-key",
        "tool_parameters": parameters,
    }
    chunks = host.plugin(TOOLS).process.invoke(
        "tool", "invoke_tool", request, user_id="u"
    )
    messages = [chunk["message"] for chunk in chunks if chunk["type"] == "variable"]
    return {message["variable_name"]: message["variable_value"] for message in messages}


def test_a_repeated_question_is_answered_from_redis(
    host: Host, upstream: FakeUpstream, form: dict[str, str]
) -> None:
    cold, warm = ask(host, form, "a b"), ask(host, form, "a b")
    assert len(cold) == 4
    assert len(warm) == 1
    assert text(cold) == text(warm) == "echo: a b"
    assert upstream.calls == 1
    for chunks in (cold, warm):
        assert chunks[-1]["delta"]["finish_reason"] == "stop"
        assert chunks[-1]["delta"]["usage"]["total_tokens"] == 12


def test_a_blocking_call_shares_the_entry(
    host: Host, upstream: FakeUpstream, form: dict[str, str]
) -> None:
    ask(host, form)
    (answer,) = ask(host, form, stream=False)
    assert answer["delta"]["message"]["content"] == "echo: hi"
    assert upstream.calls == 1


def test_an_upstreams_error_keeps_its_type_up_to_the_host(
    host: Host, upstream: FakeUpstream, form: dict[str, str]
) -> None:
    for script, expected in (
        (Script(status=429), "InvokeRateLimitError"),
        (Script(events=[delta(content="half")]), "InvokeServerUnavailableError"),
    ):
        upstream.script = script
        with pytest.raises(PluginError) as raised:
            ask(host, form)
        assert raised.value.error_type == expected


def test_credentials_are_checked_with_a_sentence(
    host: Host, form: dict[str, str]
) -> None:
    process = host.plugin(MODEL).process
    request = {"provider": "cached_model", "model_type": "llm", "model": "m"}
    good = {**request, "credentials": form}
    (result,) = process.invoke("model", "validate_model_credentials", good)
    assert result["result"] is True
    bad = {**request, "credentials": form | {"redis_url": "redis://127.0.0.1:9"}}
    with pytest.raises(PluginError) as raised:
        list(process.invoke("model", "validate_model_credentials", bad))
    assert raised.value.error_type == "CredentialsValidateFailedError"
    assert raised.value.message.startswith("Redis URL (redis_url): ")


def test_the_schema_shows_the_caches_parameters(
    host: Host, form: dict[str, str]
) -> None:
    request = {
        "provider": "cached_model",
        "model_type": "llm",
        "model": "m",
        "credentials": form,
    }
    (answer,) = host.plugin(MODEL).process.invoke(
        "model", "get_ai_model_schemas", request
    )
    rules = [rule["name"] for rule in answer["model_schema"]["parameter_rules"]]
    assert rules[-3:] == ["cache_control", "cache_ttl", "cache_tags"]


def test_a_crowd_asks_the_upstream_once(
    host: Host, upstream: FakeUpstream, form: dict[str, str]
) -> None:
    upstream.script = Script(delay=0.05)
    answers: list[str] = []
    threads = [
        threading.Thread(target=lambda: answers.append(text(ask(host, form))))
        for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert answers == ["echo: hi"] * 20
    assert upstream.calls == 1


def test_an_invalidation_by_one_plugin_is_seen_by_the_other(
    host: Host,
    upstream: FakeUpstream,
    form: dict[str, str],
    cache_fields: dict[str, str],
) -> None:
    tagged = {"model_parameters": {"cache_tags": "prices"}}
    ask(host, form, **tagged)
    assert (
        tool(host, "cache_invalidate", cache_fields, target="tag", name="prices")[
            "done"
        ]
        is True
    )
    ask(host, form, **tagged)
    assert upstream.calls == 2


def test_the_switch_of_one_plugin_stops_the_other(
    host: Host,
    upstream: FakeUpstream,
    form: dict[str, str],
    cache_fields: dict[str, str],
) -> None:
    ask(host, form)
    tool(host, "cache_invalidate", cache_fields, target="switch", name="off")
    ask(host, form)
    tool(host, "cache_invalidate", cache_fields, target="switch", name="on")
    ask(host, form)
    assert upstream.calls == 2


def test_any_nodes_result_is_kept_and_found(
    host: Host, cache_fields: dict[str, str]
) -> None:
    missed = tool(host, "cache_lookup", cache_fields, key="q", cache_tags="t")
    assert missed["hit"] is False
    assert missed["reason"] == "absent"
    value = [{"content": "x", "score": 0.5}]
    stored = tool(
        host, "cache_store", cache_fields, ticket=missed["ticket"], value=value
    )
    assert stored == {"stored": True, "reason": "stored"}
    found = tool(host, "cache_lookup", cache_fields, key="q", cache_tags="t")
    assert found["hit"] is True
    assert found["value_list"] == value


def test_nothing_of_a_prompt_is_in_a_key_or_a_plain_value(
    host: Host, form: dict[str, str], cache_fields: dict[str, str], redis_url: str
) -> None:
    form |= {"cache_secret": "a long enough secret", "api_key": "hunter2hunter2"}
    ask(host, form, "what is alice's salary?")
    client = redis.Redis.from_url(redis_url)
    keys = list(client.scan_iter(f"dify:cache:v1:{cache_fields['cache_namespace']}:*"))
    assert len(keys) == 2
    stored = b"".join(
        client.get(key)
        if client.type(key) == b"string"
        else repr(client.hgetall(key)).encode()
        for key in keys
    )
    for word in (b"alice", b"salary", b"hunter2"):
        assert word not in b"".join(keys) + stored
    assert all(client.pttl(key) > 0 for key in keys if client.type(key) == b"string")
    for plugin in (MODEL, TOOLS):
        assert not [line for line in host.plugin(plugin).process.log if "alice" in line]


def test_an_endpoint_serves_a_caller_with_the_token(
    host: Host, cache_fields: dict[str, str]
) -> None:
    endpoints = Endpoints()
    try:
        url = endpoints.add(
            host.plugin(TOOLS).process, {"access_token": "t", **cache_fields}
        )
        request = Request(f"{url}/healthz", headers={"Authorization": "Bearer t"})
        with urlopen(request, timeout=10) as response:
            assert json.load(response)["status"] == "ok"
        for path, header, status in (
            ("/healthz", "Bearer wrong", 401),
            ("/nothing", "Bearer t", 404),
        ):
            with pytest.raises(HTTPError) as raised:
                urlopen(
                    Request(url + path, headers={"Authorization": header}), timeout=10
                )
            assert raised.value.code == status
            raised.value.close()
        assert_unavailable(endpoints, host)
    finally:
        endpoints.close()


def assert_unavailable(endpoints: Endpoints, host: Host) -> None:
    broken = {
        "access_token": "t",
        "redis_url": "redis://127.0.0.1:9",
        "cache_namespace": "n",
    }
    url = endpoints.add(host.plugin(TOOLS).process, broken)
    request = Request(f"{url}/healthz", headers={"Authorization": "Bearer t"})
    with pytest.raises(HTTPError) as raised:
        urlopen(request, timeout=10)
    assert raised.value.code == 503
    assert b"could not be reached" in raised.value.read()
    raised.value.close()


def test_the_example_workflow_answers_cold_and_warm(
    host: Host, upstream: FakeUpstream, form: dict[str, str]
) -> None:
    credentials = {"model_credentials": [{"vendor": "cached_model", "values": form}]}
    dsl = ROOT / "examples/faq_assistant.yml"
    cold, warm = (
        workflow.run(host, dsl, {"query": "退货流程是什么？"}, credentials=credentials)
        for _ in range(2)
    )
    assert cold.text == warm.text == "echo: 退货流程是什么？"
    assert warm.node_outputs["llm"]["finish_reason"] == "stop"
    assert warm.node_outputs["llm"]["usage"]["total_tokens"] == 12
    assert upstream.calls == 1


def test_a_failing_node_fails_the_workflow_with_its_sentence(
    host: Host, upstream: FakeUpstream, form: dict[str, str]
) -> None:
    upstream.script = Script(status=401)
    credentials = {"model_credentials": [{"vendor": "cached_model", "values": form}]}
    with pytest.raises(workflow.WorkflowFailed, match="check API Key"):
        workflow.run(
            host,
            ROOT / "examples/faq_assistant.yml",
            {"query": "x"},
            credentials=credentials,
        )


def test_a_cut_answer_reaches_the_host_and_is_asked_again(
    host: Host, upstream: FakeUpstream, form: dict[str, str]
) -> None:
    upstream.script = Script(events=[delta(content="half"), finish("length")])
    for _ in range(2):
        assert ask(host, form)[-1]["delta"]["finish_reason"] == "length"
    assert upstream.calls == 2


@pytest.mark.parametrize("plugin", [MODEL, TOOLS])
def test_a_warning_reaches_the_hosts_log(
    host: Host, form: dict[str, str], cache_fields: dict[str, str], plugin: str
) -> None:
    nowhere = {"redis_url": "redis://127.0.0.1:1", "cache_namespace": "logged"}
    log = host.plugin(plugin).process.log
    log.clear()
    if plugin == MODEL:
        assert text(ask(host, form | nowhere)) == "echo: hi"
    else:
        found = tool(host, "cache_lookup", cache_fields | nowhere, key="q")
        assert found["reason"] == "cache_unavailable"
    (line,) = [line for line in log if "is unavailable" in line]
    assert line.startswith("WARNING the cache at ")
