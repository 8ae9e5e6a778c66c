"""Takes rows to a target: several at once, each once, with progress and a list of faults."""

import hashlib
import json
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import batched, islice
from pathlib import Path
from typing import Final

from answer_warm.http import Failed, Useless
from answer_warm.rows import BadRow, Row
from answer_warm.targets import Target

_EVERY: Final = 2.0  # seconds between two lines of progress
_MOST_SHOWN: Final = 50
# So many failures without a success between them, and the rest would fail as well.
_FAILURES_IN_A_ROW: Final = 20


class Done:
    """Which rows are done, in a file beside them: a digest a line. Thread-safe.

    A run that was stopped goes on where it was.
    """

    def __init__(self, path: Path, *, again: bool = False) -> None:
        self._path = path
        self._lock = threading.Lock()  # guards the file
        if again:
            path.unlink(missing_ok=True)
        known = path.read_text("ascii").split() if path.exists() else ()
        self._known = frozenset(known)

    def has(self, digest: str) -> bool:
        """Whether an earlier run did this row."""
        return digest in self._known

    def add(self, digests: Iterable[str]) -> None:
        """Note rows as done, on the disk when this returns."""
        with self._lock, self._path.open("a", encoding="ascii") as file:
            file.writelines(f"{digest}\n" for digest in digests)


@dataclass
class Counts:
    """How it went. ``faults`` are a place and a reason each, the first few of them."""

    done: int = 0
    before: int = 0  # done by an earlier run
    bad: int = 0
    failed: int = 0
    faults: list[str] = field(default_factory=list)
    stopped: str = ""  # why it did not go on

    def fault(self, place: str, reason: str) -> None:
        """Remember a row that came to nothing."""
        if len(self.faults) < _MOST_SHOWN:
            self.faults.append(f"{place}: {reason}")

    def line(self, seconds: float) -> str:
        """The counts as one line."""
        rate = self.done / seconds if seconds else 0.0
        return (
            f"{self.done} done, {self.before} done before, {self.failed} failed, "
            f"{self.bad} skipped; {rate:,.0f} a second"
        )


def digest(target: Target, row: Row) -> str:
    """What tells a row of a target from others."""
    parts = [target.name, row.question, row.answer, row.inputs]
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def run(
    rows: Iterable[Row | BadRow],
    target: Target,
    done: Done,
    *,
    workers: int = 4,
) -> Counts:
    """Warm ``target`` with ``rows``; returns how it went. Raises what ``rows`` raises."""
    counts = Counts()
    began = told = time.monotonic()
    parcels = batched(_wanted(rows, target, done, counts), target.at_once)
    in_a_row = 0
    with ThreadPoolExecutor(workers) as pool:
        under_way: dict[Future[list[str]], tuple[Row, ...]] = {}
        while True:
            # Not all at once: a file may be larger than the memory.
            free = 0 if counts.stopped else 2 * workers - len(under_way)
            for parcel in islice(parcels, free):
                under_way[pool.submit(target.warm, parcel)] = parcel
            if not under_way:
                break
            ended, _ = wait(under_way, _EVERY, return_when=FIRST_COMPLETED)
            for future in ended:
                parcel = under_way.pop(future)
                reasons = _reasons(future, parcel, counts)
                fine = [
                    row for row, why in zip(parcel, reasons, strict=True) if not why
                ]
                done.add(digest(target, row) for row in fine)
                counts.done += len(fine)
                in_a_row = 0 if fine else in_a_row + len(parcel)
                for row, why in zip(parcel, reasons, strict=True):
                    if why:
                        counts.failed += 1
                    # What stopped it all is said once.
                    if why and why != counts.stopped:
                        counts.fault(row.place, why)
            if in_a_row >= _FAILURES_IN_A_ROW and not counts.stopped:
                counts.stopped = f"{in_a_row} rows failed one after another."
            if time.monotonic() - told >= _EVERY:
                told = time.monotonic()
                print(counts.line(told - began), file=sys.stderr)
    print(counts.line(time.monotonic() - began), file=sys.stderr)
    return counts


def _wanted(
    rows: Iterable[Row | BadRow], target: Target, done: Done, counts: Counts
) -> Iterator[Row]:
    seen: set[str] = set()
    for row in rows:
        if isinstance(row, BadRow):
            counts.bad += 1
            counts.fault(row.place, row.reason)
            continue
        name = digest(target, row)
        if name in seen or done.has(name):
            counts.before += 1
        else:
            seen.add(name)
            yield row


def _reasons(
    future: Future[list[str]], parcel: tuple[Row, ...], counts: Counts
) -> list[str]:
    try:
        return future.result()
    except Useless as error:
        counts.stopped = str(error)
        return [str(error)] * len(parcel)
    except Failed as error:
        return [str(error)] * len(parcel)
