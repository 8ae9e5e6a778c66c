"""Cached Model in front of a real server: llama.cpp, with a small model."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from servers import model

from devhost.host import Host
from tests.integration.test_embeddings_and_rerank import embed, invoke
from tests.integration.test_plugins_in_the_host import ask, text

SCHEMA = {"type": "object", "properties": {"open": {"type": "boolean"}}}


@pytest.fixture(scope="module")
def chats() -> Iterator[str]:
    with model.model_server() as url:
        yield url


@pytest.fixture(scope="module")
def embeds() -> Iterator[str]:
    with model.model_server(embeds=True) as url:
        yield url


def parameters(**more: Any) -> dict[str, Any]:
    return {"model_parameters": {"temperature": 0, "max_tokens": 16, **more}}


def checked(host: Host, form: dict[str, str], kind: str) -> Any:
    return invoke(host, "validate_model_credentials", form, model_type=kind)["result"]


def test_an_answer_of_a_real_model_is_given_once_more_without_it(
    host: Host, chats: str, cache_fields: dict[str, str]
) -> None:
    form = {**cache_fields, "endpoint_url": chats, "context_size": "4096"}
    assert checked(host, form, "llm")
    cold = ask(host, form, "Say yes.", stop=[".", "!"], **parameters(max_tokens=64))
    done = model.work_done(chats)
    warm = ask(host, form, "Say yes.", stop=[".", "!"], **parameters(max_tokens=64))
    assert text(cold) == text(warm)
    assert len(cold) > len(warm)
    assert model.work_done(chats) == done
    assert warm[-1]["delta"]["usage"]["total_tokens"] > 0


def test_a_real_model_keeps_to_a_schema(
    host: Host, chats: str, cache_fields: dict[str, str]
) -> None:
    form = {**cache_fields, "endpoint_url": chats, "context_size": "4096"}
    wanted = {"response_format": "json_schema", "json_schema": json.dumps(SCHEMA)}
    said = text(ask(host, form, "Are you open?", **parameters(max_tokens=64, **wanted)))
    assert isinstance(json.loads(said), dict)


def test_vectors_of_a_real_model_come_back_number_by_number(
    host: Host, embeds: str, cache_fields: dict[str, str]
) -> None:
    form = {**cache_fields, "endpoint_url": embeds, "context_size": "4096"}
    assert checked(host, form, "text-embedding")
    cold = embed(host, form, "We open at nine.", "我们九点开门。")
    done = model.work_done(embeds)
    warm = embed(host, form, "我们九点开门。", "We open at nine.")
    assert warm["embeddings"] == cold["embeddings"][::-1]
    assert model.work_done(embeds) == done
    assert cold["usage"]["total_tokens"] == warm["usage"]["total_tokens"] > 0
