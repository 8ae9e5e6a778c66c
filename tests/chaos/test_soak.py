"""Traffic for a long time: nothing grows that should not grow.

It takes twenty seconds; ``SOAK=600 scripts/test --all`` makes it ten minutes.
"""

import os
import random
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from servers import redis as servers

from devhost.host import Host
from packager.build import RECIPES, build
from tests.chaos.test_crowd import ANSWER, PLUGIN, WORDS, Caller
from tests.fake_upstream import Script, delta, fake_upstream, finish

ROOT = Path(__file__).parents[2]
SECONDS = float(os.environ.get("SOAK", "20"))
CALLERS = 12
# In MB: the permitted growth of a process between the first third and the end. All
# lasting memory, including buffers of connections, is allocated by the first third.
GROWTH = 12.0


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[tuple[Host, Host]]:
    package = build(ROOT, RECIPES[1], tmp_path)
    root = ROOT / ".cache" / "devhost"
    with Host(root) as one, Host(root) as other:
        one.install(package)
        other.install(package)
        yield one, other


def memory(host: Host) -> float:
    """The resident set of a plugin's process, in MB."""
    pid = host.plugin(PLUGIN).process.pid
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def test_memory_connections_leases_and_streams_stay_flat(
    hosts: tuple[Host, Host],
) -> None:
    dice = random.Random(7)
    wrong: list[str] = []
    stop = threading.Event()
    asked = [0]
    with servers.server() as (url, _), fake_upstream() as upstream:
        upstream.script = Script(
            events=[*(delta(content=word) for word in WORDS), finish(), "[DONE]"]
        )
        form = {
            "endpoint_url": upstream.url,
            "context_size": "4096",
            "redis_url": url,
            "cache_namespace": f"soak-{uuid.uuid4().hex[:8]}",
            "cache_options": "redis_timeout_ms: 1000",
        }

        def ask() -> None:
            while not stop.is_set():
                asked[0] += 1
                control = dice.choice(["automatic"] * 8 + ["ask anew", "never"])
                caller = Caller(
                    hosts[asked[0] % 2],
                    form,
                    stop=[str(dice.randrange(200))],
                    model_parameters={"temperature": 0, "cache_control": control},
                )
                if (text := caller.text()) != ANSWER:
                    wrong.append(f"{text!r} {caller.error}")

        crowd = [threading.Thread(target=ask) for _ in range(CALLERS)]
        for thread in crowd:
            thread.start()
        client = redis.Redis.from_url(url, decode_responses=True)
        time.sleep(SECONDS / 3)
        before = [memory(host) for host in hosts]
        clients = len(client.client_list())
        time.sleep(SECONDS * 2 / 3)
        after = [memory(host) for host in hosts]
        at_the_end = len(client.client_list())
        stop.set()
        for thread in crowd:
            thread.join(30)
        time.sleep(1)  # for the work that follows an answer
        leases = list(client.scan_iter("*:lease"))
        endless = [key for key in client.scan_iter("*:flight:*") if client.ttl(key) < 0]
        client.close()
    print(
        f"{asked[0]} questions in {SECONDS:.0f} s; memory of the processes, MB: "
        f"{before[0]:.1f} and {before[1]:.1f}, then {after[0]:.1f} and {after[1]:.1f}; "
        f"connections {clients}, then {at_the_end}"
    )
    assert wrong == []
    assert leases == []
    assert endless == []
    assert at_the_end <= 2 * CALLERS + 2
    for was, became in zip(before, after, strict=True):
        assert became - was < GROWTH
