import uuid
from collections.abc import Iterator

import dify_plugin  # noqa: F401 - patches, before requests and redis are imported
import pytest

from tests.fake_upstream import FakeUpstream, fake_upstream


@pytest.fixture
def upstream() -> Iterator[FakeUpstream]:
    with fake_upstream() as started:
        yield started


@pytest.fixture
def form(upstream: FakeUpstream) -> dict[str, str]:
    """A model's form: the fake upstream, and a memory of its own."""
    return {
        "endpoint_url": upstream.url,
        "api_key": "the-key",
        "context_size": "4096",
        "cache_namespace": f"test-{uuid.uuid4().hex}",
    }
