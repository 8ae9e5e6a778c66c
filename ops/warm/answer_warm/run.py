"""Sends rows to a target: several at a time, each once, with progress and faults."""

import hashlib
import json
import re
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import batched, islice
from pathlib import Path
from typing import Final

from answer_warm.http import Failed, Useless
from answer_warm.rows import BadFile, BadRow, Row
from answer_warm.targets import Target

_EVERY: Final = 2.0  # seconds between two lines of progress
_MOST_SHOWN: Final = 50
# After this many failures in a row, the run stops: the rest would fail too.
_FAILURES_IN_A_ROW: Final = 20
_LINE: Final = re.compile(r"([0-9a-f]{32}) ([0-9a-f]{16})")


class Done:
    """The finished rows, in a file: the digests of each question and answer.

    A stopped run continues at its place. Thread-safe. Raises BadFile for a file with another
    content, or one that can't be written.
    """

    def __init__(self, path: Path, *, again: bool = False) -> None:
        self._path = path
        self._lock = threading.Lock()  # guards the file
        self._known: dict[str, str] = {}
        try:
            text = path.read_text("utf-8", "replace") if path.exists() else ""
            for line in text.splitlines():
                found = _LINE.fullmatch(line)
                if found is None:
                    msg = f"{path} is no list of rows that are done; name another --progress."
                    raise BadFile(msg)
                self._known[found[1]] = found[2]
            if again:
                path.unlink(missing_ok=True)
                self._known.clear()
            path.open("a").close()  # It fails here, before anything is paid for.
        except OSError as error:
            msg = f"{path} can't be written: {error.strerror}; name another --progress."
            raise BadFile(msg) from error

    def has(self, question: str, answer: str) -> bool:
        """Whether this answer is the last one that was sent for the row."""
        return self._known.get(question) == answer

    def add(self, digests: Iterable[tuple[str, str]]) -> None:
        """Note rows as done; they are on the disk when this returns."""
        with self._lock, self._path.open("a", encoding="ascii") as file:
            file.writelines(f"{question} {answer}\n" for question, answer in digests)


@dataclass
class Counts:
    """The counts of a run. ``faults`` has place and reason of the first few faults."""

    done: int = 0
    before: int = 0  # done by an earlier run, or equal to an earlier row
    bad: int = 0
    failed: int = 0
    faults: list[str] = field(default_factory=list)
    stopped: str = ""  # the reason why it stopped

    def fault(self, place: str, reason: str) -> None:
        """Note a row that failed."""
        if len(self.faults) < _MOST_SHOWN:
            self.faults.append(f"{place}: {reason}")

    def line(self, seconds: float) -> str:
        """The counts as one line."""
        rate = self.done / seconds if seconds else 0.0
        return (
            f"{self.done} done, {self.before} done before, {self.failed} failed, "
            f"{self.bad} skipped; {rate:,.0f} a second"
        )


def digests(target: Target, row: Row) -> tuple[str, str]:
    """The digests of a row's question, with its target, and of its answer."""
    return _digest([target.name, row.question, row.inputs], 32), _digest(row.answer, 16)


def _digest(parts: object, length: int) -> str:
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


@dataclass
class _Run:
    """One run; ``under_way`` has the rows of each request in progress."""

    target: Target
    done: Done
    counts: Counts
    pool: ThreadPoolExecutor
    under_way: dict[Future[list[str]], Sequence[Row]] = field(default_factory=dict)
    in_a_row: int = 0

    def begin(self, rows: Sequence[Row]) -> None:
        """Send rows to the target."""
        self.under_way[self.pool.submit(self.target.warm, rows)] = rows

    def end(self, future: Future[list[str]]) -> None:
        """Note the results of rows."""
        rows, counts = self.under_way.pop(future), self.counts
        if future.cancelled():
            return
        try:
            reasons = future.result()
        except Useless as error:
            counts.stopped = str(error)
            counts.failed += len(rows)
            return
        except Exception as error:  # noqa: BLE001 - it is a fault of these rows
            if len(rows) > 1 and not counts.stopped:
                # One of them may be the reason: the others shall not pay for it.
                middle = len(rows) // 2
                self.begin(rows[:middle])
                self.begin(rows[middle:])
                return
            reason = str(error) if isinstance(error, Failed) else type(error).__name__
            reasons = [reason] * len(rows)
        results = list(zip(rows, reasons, strict=True))
        self.done.add(digests(self.target, row) for row, why in results if not why)
        for row, why in results:
            counts.done += not why
            counts.failed += bool(why)
            if why:
                counts.fault(row.place, why)
        all_failed = all(reasons)
        self.in_a_row = self.in_a_row + 1 if all_failed else 0
        if self.in_a_row >= _FAILURES_IN_A_ROW and not counts.stopped:
            counts.stopped = f"{self.in_a_row} requests failed one after another."

    def give_up(self) -> None:
        """Begin nothing more, and note the rows in progress, which are paid for."""
        for future in self.under_way:
            future.cancel()
        wait(self.under_way)
        self.counts.stopped = self.counts.stopped or "it was interrupted."
        for future in list(self.under_way):
            self.end(future)


def run(
    rows: Iterable[Row | BadRow],
    target: Target,
    done: Done,
    counts: Counts,
    *,
    workers: int = 4,
) -> None:
    """Warm ``target`` with ``rows``; ``counts`` has the results, also after an error.

    Raises the errors of ``rows``.
    """
    began = reported = time.monotonic()
    parcels = batched(_wanted(rows, target, done, counts), target.at_once)
    with ThreadPoolExecutor(workers) as pool:
        state = _Run(target, done, counts, pool)
        try:
            while True:
                # Only a few rows at a time: a file may be larger than the memory.
                free = 0 if counts.stopped else 2 * workers - len(state.under_way)
                for parcel in islice(parcels, max(0, free)):
                    state.begin(parcel)
                if not state.under_way:
                    break
                ended, _ = wait(state.under_way, _EVERY, return_when=FIRST_COMPLETED)
                for future in ended:
                    state.end(future)
                if time.monotonic() - reported >= _EVERY:
                    reported = time.monotonic()
                    print(counts.line(reported - began), file=sys.stderr)
        except BaseException:
            state.give_up()
            raise
        finally:
            print(counts.line(time.monotonic() - began), file=sys.stderr)


def _wanted(
    rows: Iterable[Row | BadRow], target: Target, done: Done, counts: Counts
) -> Iterator[Row]:
    seen: dict[str, str] = {}
    for row in rows:
        if isinstance(row, BadRow):
            counts.bad += 1
            counts.fault(row.place, row.reason)
            continue
        question, answer = digests(target, row)
        if question in seen and seen[question] != answer:
            # Otherwise the order of equal questions would be random.
            counts.bad += 1
            counts.fault(row.place, "has another answer than an earlier row")
        elif question in seen or done.has(question, answer):
            counts.before += 1
        else:
            yield row
        seen.setdefault(question, answer)
