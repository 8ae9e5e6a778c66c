"""What events and statistics cost: hits of one process with them and without.

The other process runs the same package, but for the three lines that tell.
A process that answers hits is bound by its processor, so that hits a second are one
over its processor's time for a hit; that is what is compared, for it holds what runs
behind the answers, and this machine's other work does not disturb it.
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

SILENT = "answercache/silent_model"
IN_FLIGHT = 32
# What tells, and what is there instead where nothing does.
_TOLD = (
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


def silent_package(package: Path, scratch: Path, root: Path) -> Path:
    """The package, its cache telling nobody anything."""
    own = {}
    for path, told, silent in _TOLD:
        source = (root / path).read_text()
        if source.count(told) != 1:
            raise AssertionError(f"{path}: what tells was not found: {told}")
        own[path] = source.replace(told, silent).encode()
    return changed(package, scratch, "silent_model", own)


def run(
    pairs: Sequence[Host],
    form: Mapping[str, str],
    *,
    events: str,
    rounds: int,
    limit: float | None,
) -> Result:
    """Microseconds of processor for a hit, with events and statistics and without.

    Each of ``pairs`` runs both packages: no two processes are alike, however equal.
    """
    ours: list[float] = []
    reference: list[float] = []
    for host in pairs:
        options = f"{form['cache_options']}\nevents: {events}"
        namespace = f"bench-{uuid.uuid4().hex[:8]}"
        own = {**form, "cache_options": options, "cache_namespace": namespace}
        told = _Meter(host, own, through_host.PLUGIN)
        silent = _Meter(host, own, SILENT)
        for meter in (told, silent):
            meter.turn()
            meter.read()
        for _ in range(rounds):
            for turn in range(_TURNS):
                # Who comes second finds the machine as the first has left it.
                for meter in (told, silent)[:: 1 if turn % 2 else -1]:
                    meter.turn()
            # Only now: what runs behind the answers runs in the other's turn too.
            ours.append(told.read())
            reference.append(silent.read())
    what = f"processor time of a hit, {IN_FLIGHT} in flight"
    name = f"{what}, events published / not published, events: {events}"
    return ratio(name, ours, reference, limit)


class _Meter:
    """Asks one process for hits, and reads what they cost its processor."""

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
    """Seconds of processor that a process has used (proc(5), stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
