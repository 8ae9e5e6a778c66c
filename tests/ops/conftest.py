"""The servers beside the plugins: real ones, from Debian's packages."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devhost.endpoints import Endpoints
from devhost.host import Host
from tests.fake_upstream import FakeUpstream
from tests.integration import conftest as integration

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "ops" / "deploy"
TOOLS = "answercache/rag_cache"
TOKEN = "a-long-random-text"
host, upstream = integration.host, integration.upstream


@pytest.fixture
def fields(redis_url: str) -> dict[str, str]:
    return {
        "redis_url": redis_url,
        "cache_namespace": f"test-{uuid.uuid4().hex}",
        "cache_options": "redis_timeout_ms: 2000, price: {input: 1, output: 2}",
    }


@pytest.fixture
def form(upstream: FakeUpstream, fields: dict[str, str]) -> dict[str, str]:
    return {"endpoint_url": upstream.url, "context_size": "4096", **fields}


@pytest.fixture
def served() -> Iterator[Endpoints]:
    endpoints = Endpoints()
    yield endpoints
    endpoints.close()


@pytest.fixture
def hook(host: Host, served: Endpoints, fields: dict[str, str]) -> Callable[..., str]:
    """The URL of an endpoint group with these fields, and more."""

    def add(**more: str) -> str:
        settings = {**fields, "access_token": TOKEN, **more}
        options = settings["cache_options"].partition(", price")[0]
        settings["cache_options"] = options
        return served.add(host.plugin(TOOLS).process, settings)

    return add
