from collections.abc import Iterator

import pytest
from servers import redis as servers
from servers.knowledge import FakeKnowledgeApi, fake_knowledge_api


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A real Redis; the tests write only under namespaces of their own."""
    with servers.redis_url() as url:
        yield url


@pytest.fixture
def api() -> Iterator[FakeKnowledgeApi]:
    with fake_knowledge_api() as started:
        yield started
