"""Both packages, built, installed and running as the daemon runs them."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from devhost.host import Host
from packager.build import RECIPES, build
from tests.fake_upstream import FakeUpstream, fake_upstream

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    scratch = tmp_path_factory.mktemp("packages")
    with Host(ROOT / ".cache" / "devhost") as started:
        for recipe in RECIPES:
            started.install(build(ROOT, recipe, scratch))
        yield started


@pytest.fixture
def upstream() -> Iterator[FakeUpstream]:
    with fake_upstream() as started:
        yield started


@pytest.fixture
def cache_fields(redis_url: str) -> dict[str, str]:
    return {
        "redis_url": redis_url,
        "cache_namespace": f"test-{uuid.uuid4().hex}",
        "cache_options": "redis_timeout_ms: 2000",
    }


@pytest.fixture
def form(upstream: FakeUpstream, cache_fields: dict[str, str]) -> dict[str, str]:
    return {"endpoint_url": upstream.url, "context_size": "4096", **cache_fields}
