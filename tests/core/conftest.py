from collections.abc import Iterator

import pytest

from tests.virtual_time import VirtualTime


@pytest.fixture(autouse=True)
def now() -> Iterator[VirtualTime]:
    """The time of the test, which no test of the core waits for."""
    with pytest.MonkeyPatch.context() as patch:
        time = VirtualTime()
        time.install(patch)
        yield time
        time.close()
