"""Two processes of the built Cached Model, one real Redis, one fake upstream."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import redis as servers

from devhost.host import Host
from packager.build import RECIPES, build
from tests.chaos.callers import PLUGIN, WORDS
from tests.fake_upstream import FakeUpstream, Script, delta, fake_upstream, finish

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, RECIPES[1], tmp_path_factory.mktemp("package"))


@pytest.fixture(scope="module")
def nodes(package: Path) -> Iterator[list[Host]]:
    """Two nodes of a daemon. A node that a test has killed is started again."""
    root = ROOT / ".cache" / "devhost"
    with Host(root) as one, Host(root) as other:
        one.install(package)
        other.install(package)
        yield [one, other]


@pytest.fixture
def hosts(nodes: list[Host], package: Path) -> tuple[Host, Host]:
    for host in nodes:
        if host.plugin(PLUGIN).process.why_gone:
            host.install(package)
    return nodes[0], nodes[1]


@pytest.fixture(scope="module")
def redis_at() -> Iterator[str]:
    with servers.server() as (url, _):
        yield url


@pytest.fixture
def upstream() -> Iterator[FakeUpstream]:
    """Deterministic, like a model at temperature 0; each event takes 0.08 s."""
    with fake_upstream() as started:
        started.script = Script(
            events=[*(delta(content=word) for word in WORDS), finish(), "[DONE]"],
            delay=0.08,
        )
        yield started


@pytest.fixture
def form(upstream: FakeUpstream, redis_at: str) -> dict[str, str]:
    return {
        "endpoint_url": upstream.url,
        "context_size": "4096",
        "redis_url": redis_at,
        "cache_namespace": f"crowd-{uuid.uuid4().hex[:8]}",
        # Both processes and the test process share two cores here.
        "cache_options": "redis_timeout_ms: 1000",
    }
