"""Audits: a share of the hits is asked upstream again, in the background.

A hit rate does not show how many hits are still right. An audit compares a fresh answer
with the kept one. No caller waits for it. An audit holds the entry's lease, so that no two
audits of an entry run at once, in any process.
"""

import logging
import math
import random
import re
import threading
import unicodedata
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Final

import orjson

from cachecore.answer import Piece, Recorder, spoken
from cachecore.entry import Entry
from cachecore.errors import StoreError
from cachecore.events import Audited, Hook
from cachecore.flight import Flight
from cachecore.keep import Keeper, Sealed, refusal_of
from cachecore.lease import Lead, Leases
from cachecore.lookup import Look
from cachecore.policy import LENIENT, Reason
from cachecore.question import WIDTH
from cachecore.request import Judgement, Request

logger = logging.getLogger(__name__)

type Load = Callable[[], Iterable[Piece]]

_MINUTE: Final = 60.0
_MOST_AT_ONCE: Final = 4  # audits in progress in one process
_CONFIDENCE: Final = 1.959964  # of a normal distribution, for 95 %
_SPACE: Final = re.compile(r"\s+")
_SORTED: Final = orjson.OPT_SORT_KEYS
# Different notations of one number, but nothing that only looks similar: 2.0.1 is not 2.1,
# and a telephone number is not an amount.
_AMOUNT: Final = re.compile(
    r"(?<![\d.,])[1-9]\d{0,2}(?:[,\u202f\u00a0'’]\d{3})+(?![\d,])"
)
_GROUPS: Final = str.maketrans("", "", ",\u202f\u00a0'’")
_ZEROS: Final = re.compile(r"(?<![\d.])(\d+)\.0+(?![\d.])")


class Verdict(StrEnum):
    """The result of an audit."""

    EQUAL = "equal"
    SAME = "same"  # after normalisation
    JUDGED = "judged"  # a judge model called them the same
    DIFFERENT = "different"
    FAILED = "failed"  # there was no complete answer to compare with


RIGHT: Final = (Verdict.EQUAL, Verdict.SAME, Verdict.JUDGED)


def compare(kept: Piece, fresh: Piece) -> Verdict:
    """Whether a fresh answer and the kept one say the same."""
    # They are compared as bytes, because in Python true equals 1.
    data = [orjson.dumps(_folded(one.data), option=_SORTED) for one in (kept, fresh)]
    if data[0] != data[1]:
        return Verdict.DIFFERENT
    if (kept.text, kept.tool_calls) == (fresh.text, fresh.tool_calls):
        return Verdict.EQUAL
    same = _plain(kept.text) == _plain(fresh.text) and _calls(kept) == _calls(fresh)
    return Verdict.SAME if same else Verdict.DIFFERENT


def compared(
    request: Request, kept: Piece, fresh: Piece
) -> tuple[Verdict, Judgement | None]:
    """The same with the request's judge, which is asked if the texts differ.

    There is no judgement if none was needed, or if the judge failed or could not decide.
    """
    verdict = compare(kept, fresh)
    # A judge reads texts and data: calls that differ are different.
    read = _calls(kept) == _calls(fresh)
    if verdict is not Verdict.DIFFERENT or request.judge is None or not read:
        return verdict, None
    try:
        judgement = request.judge(kept, fresh)
    except Exception as error:  # noqa: BLE001 - a failed judge gives no verdict
        logger.warning("the judge of two answers failed: %s", type(error).__name__)
        return verdict, None
    if judgement is None:
        return verdict, None
    return Verdict.JUDGED if judgement.same else Verdict.DIFFERENT, judgement


def _calls(answer: Piece) -> list[tuple[str, str]]:
    # Their ids are different each time.
    return [(call["name"], call["arguments"]) for call in answer.tool_calls]


def _plain(text: str) -> str:
    """The text without permitted differences: white space, case, notation of numbers."""
    text = unicodedata.normalize("NFC", spoken(text)).translate(WIDTH).casefold()
    text = _AMOUNT.sub(lambda found: found[0].translate(_GROUPS), text)
    text = _ZEROS.sub(r"\1", text)
    return _SPACE.sub(" ", text).strip().rstrip(".!。！")


def _folded(data: object) -> object:
    """The data without irrelevant white space in its texts.

    The texts may be ids and addresses, so letters and numbers are compared exactly.
    """
    if isinstance(data, str):
        return _SPACE.sub(" ", data).strip()
    if isinstance(data, dict):
        return {name: _folded(item) for name, item in data.items()}
    return [_folded(item) for item in data] if isinstance(data, list) else data


def interval(wrong: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a rate, by Wilson's method; (0, 1) for no events.

    Wilson's interval holds for few events too, and near 0 and 1; "exact" ones are wider.
    """
    if not total:
        return 0.0, 1.0
    square = _CONFIDENCE**2
    centre = (wrong + square / 2) / (total + square)
    spread = wrong * (total - wrong) / total + square / 4
    half = _CONFIDENCE * math.sqrt(spread) / (total + square)
    return max(0.0, centre - half), min(1.0, centre + half)


class Auditor:
    """Audits for one cache. Thread-safe."""

    def __init__(
        self,
        leases: Leases,
        keeper: Keeper,
        clock: Callable[[], float],
        timer: Callable[[], float],
        emit: Hook,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._leases = leases
        self._keeper = keeper
        self._clock = clock
        self._timer = timer
        self._emit = emit
        self._chance = chance
        self._lock = threading.Lock()  # guards all below
        self._under_way: set[str] = set()
        self._last: deque[tuple[float, float]] = deque()  # time and price of each

    def begin(
        self, request: Request, look: Look, load: Load, *, outlives_call: bool
    ) -> None:
        """Audit a served hit in a thread, by chance and within the limits.

        A load that ends with its call is not audited, nor is a request under ``only``.
        """
        share, entry, stamps = request.rules.audit_share, look.entry, look.stamps
        if not share or not outlives_call or self._chance() >= share:
            return
        if entry is None or stamps is None or look.reason is not Reason.HIT:
            return
        known = {field: stamp for field, stamp in stamps.items() if stamp is not None}
        if len(known) < len(stamps) or request.control not in LENIENT:
            return
        key = look.key
        if not self._may(request, key, entry):
            return
        thread = threading.Thread(
            target=self._run,
            args=(request, key, known, entry, load),
            name="cache-audit",
            daemon=True,
        )
        try:
            thread.start()
        except RuntimeError:  # no thread can be started
            self._end(key)

    def _may(self, request: Request, key: str, entry: Entry) -> bool:
        rules, now = request.rules, self._timer()
        with self._lock:
            while self._last and now - self._last[0][0] >= _MINUTE:
                self._last.popleft()
            spent = sum(price for _, price in self._last)
            limit = rules.audit_money_a_minute
            if (
                key in self._under_way
                or len(self._under_way) >= _MOST_AT_ONCE
                or len(self._last) >= rules.audits_a_minute
                or (limit and spent + entry.cost.price > limit)
            ):
                return False
            self._under_way.add(key)
            self._last.append((now, entry.cost.price))
            return True

    def _end(self, key: str) -> None:
        with self._lock:
            self._under_way.discard(key)

    def _run(
        self,
        request: Request,
        key: str,
        stamps: Mapping[str, str],
        entry: Entry,
        load: Load,
    ) -> None:
        try:
            lead, _ = self._leases.claim(key, stamps)
            if isinstance(lead, Lead):
                self._audit(request, stamps, entry, load, lead)
        except StoreError:
            pass  # The next hit may be audited.
        except Exception as error:  # noqa: BLE001 - its caller was served
            logger.warning("an audit failed: %s", type(error).__name__)
        finally:
            self._end(key)

    def _audit(
        self,
        request: Request,
        stamps: Mapping[str, str],
        entry: Entry,
        load: Load,
        lead: Lead,
    ) -> None:
        recorder = Recorder(request.rules.max_entry_bytes)
        flight = Flight(stamps, request.credential)
        began, verdict = self._timer(), Verdict.FAILED
        try:
            if self._leases.store.shared:
                # The entry may expire meanwhile: later requests then follow this load.
                lead.attach(flight)
            for piece in load():
                recorder.add(piece)
                flight.publish(piece)
                lead.moved()
        except BaseException as error:
            lead.fail(error, request.credential)
            self._report(request, entry, verdict)
            raise
        flight.complete()
        verdict, price = self._verdict(request, entry, recorder)
        self._report(request, entry, verdict, price)
        if verdict is Verdict.DIFFERENT and request.rules.audit_repairs:
            seconds = self._timer() - began
            sealed = self._keeper.seal_answer(
                request, lead.key, dict(stamps), recorder, seconds, lead.order
            )
            if isinstance(sealed, Sealed):
                lead.commit(sealed.data, sealed.ttl)
                return
            self._keeper.report(request, sealed)
        lead.commit(None, 1)

    def _report(
        self, request: Request, entry: Entry, verdict: Verdict, judging: float = 0.0
    ) -> None:
        age, cost = max(0.0, self._clock() - entry.created_at), entry.cost
        price = cost.price + judging
        self._emit(Audited(request.subject, verdict.value, age, price, cost.currency))

    def _verdict(
        self, request: Request, entry: Entry, recorder: Recorder
    ) -> tuple[Verdict, float]:
        """The result of the comparison, and the price of its judge."""
        answer = recorder.answer()
        # An answer that would not be kept proves nothing about the kept one.
        if refusal_of(request, recorder, answer) is not None:
            return Verdict.FAILED, 0.0
        verdict, judgement = compared(request, entry.payload, answer)
        if judgement is None:
            return verdict, 0.0
        price = request.rules.price.of(*judgement.usage.tokens)
        with self._lock:
            self._last.append((self._timer(), price))
        return verdict, price
