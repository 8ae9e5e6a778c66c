"""A kept answer of 20 KB as a stream: the processor's time, ours against LiteLLM's.

Our time is that of the whole plugin process, with the SDK and its connection to the
host; LiteLLM's is that of a process that only calls it.
"""

import uuid
from collections.abc import Mapping
from pathlib import Path

from bench import apart, host_hit
from bench.measure import Result, times_fewer
from bench.texts import prose
from bench.through_host import PLUGIN, ask
from devhost.host import Host

_ROUNDS = 5


def run(
    host: Host,
    form: Mapping[str, str],
    python: Path,
    redis_url: str,
    upstream: str,
    *,
    limit: float,
) -> Result:
    """The multiple of our processor time that LiteLLM needs."""
    own = {**form, "cache_namespace": f"bench-{uuid.uuid4().hex[:8]}"}
    for _ in range(2):
        chunks = list(ask(host, own, "m", "the same"))
        said = "".join(chunk["delta"]["message"]["content"] for chunk in chunks)
        if said != prose(20480):
            raise AssertionError("another answer than the model's")
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(_ROUNDS):
        ours.append(host_hit.turn(host, own, PLUGIN, 1, 1.0).processor)
        (result,) = apart.run(
            "bench.peers.hits",
            "replay",
            python=python,
            redis_url=redis_url,
            upstream=upstream,
            rounds=2,
        )
        theirs.append(result.ours)
    name = f"LiteLLM / processor time of a streamed hit, 20 KB, {len(chunks)} chunk"
    return times_fewer(name, ours, theirs, limit)
