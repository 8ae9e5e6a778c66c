"""The cost of events and statistics: hits of one process with them and without.

The other process runs the same package without the three lines that publish. The
processor limits a process that answers hits, so the processor time of a hit decides the
hits a second. It is compared here, because it includes the work in the background, and
other work of the machine does not change it.
"""

import os
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench import through_host
from bench.measure import Result, ratio
from bench.packages import changed
from devhost.host import Host

UNPUBLISHED = "answercache/unpublished_model"
IN_FLIGHT = 32
# The lines that publish, and their replacements.
_PUBLISHES = (
    ("cachecore/opening.py", ", hook=statistics, event_log=event_log", ""),
    (
        "cachecore/cache.py",
        "return self._measured(request, state, pieces)",
        "return pieces",
    ),
    ("cachecore/reports.py", "entry, now = look.entry, self._clock()", "return"),
)
_TURN = 0.5  # seconds
_TURNS = 6  # of each, in a round


def unpublished_package(package: Path, scratch: Path, root: Path) -> Path:
    """The package without events and statistics."""
    own = {}
    for path, publishes, instead in _PUBLISHES:
        source = (root / path).read_text()
        if source.count(publishes) != 1:
            raise AssertionError(f"{path} must have this text once: {publishes}")
        own[path] = source.replace(publishes, instead).encode()
    return changed(package, scratch, "unpublished_model", own)


def run(
    pairs: Sequence[Host],
    form: Mapping[str, str],
    *,
    events: str,
    rounds: int,
    limit: float | None,
) -> Result:
    """Microseconds of processor for a hit, with events and statistics and without.

    Each of ``pairs`` runs both packages, because two equal processes differ.
    """
    ours: list[float] = []
    reference: list[float] = []
    for host in pairs:
        options = f"{form['cache_options']}\nevents: {events}"
        namespace = f"bench-{uuid.uuid4().hex[:8]}"
        own = {**form, "cache_options": options, "cache_namespace": namespace}
        published = _Meter(host, own, through_host.PLUGIN)
        unpublished = _Meter(host, own, UNPUBLISHED)
        for meter in (published, unpublished):
            meter.turn()
            meter.read()
        for _ in range(rounds):
            for turn in range(_TURNS):
                # The second finds the machine as the first has left it.
                for meter in (published, unpublished)[:: 1 if turn % 2 else -1]:
                    meter.turn()
            # Only now: the background work of one runs in the other's turn too.
            ours.append(published.read())
            reference.append(unpublished.read())
    what = f"processor time of a hit, {IN_FLIGHT} in flight"
    name = f"{what}, events published / not published, events: {events}"
    return ratio(name, ours, reference, limit)


class _Meter:
    """Asks one process for hits, and reads their processor time."""

    def __init__(self, host: Host, form: Mapping[str, str], plugin: str) -> None:
        self._host, self._form, self._plugin = host, form, plugin
        self._pid = host.plugin(plugin).process.pid
        self._used, self._hits = processor(self._pid), 0

    def turn(self) -> None:
        ends, counts = time.monotonic() + _TURN, [0] * IN_FLIGHT

        def work(number: int) -> None:
            while time.monotonic() < ends:
                through_host.first_token(
                    self._host, self._form, "m", "the same", self._plugin
                )
                counts[number] += 1

        threads = [threading.Thread(target=work, args=(n,)) for n in range(IN_FLIGHT)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._hits += sum(counts)

    def read(self) -> float:
        """Microseconds for each hit since the last reading."""
        used, hits = processor(self._pid), self._hits
        cost = (used - self._used) / hits * 1e6
        self._used, self._hits = used, 0
        return cost


def processor(pid: int) -> float:
    """The processor seconds of a process (proc(5), stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
