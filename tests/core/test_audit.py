"""Audits: hits that are asked upstream again, in the background."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from math import comb

import pytest

from cachecore.answer import Piece, Usage
from cachecore.audit import Verdict, compare, compared, interval
from cachecore.events import Audited
from cachecore.policy import Control, Price, Rules
from cachecore.request import Judgement
from tests.core.helpers import END, Bench, await_threads, each, request
from tests.core.test_cache_stale import failing
from tests.shared_store import FakeSharedStore

ALL = Rules(audit_share=1.0, audits_a_minute=100)
ASKED = request(rules=ALL)


def under_way() -> set[threading.Thread]:
    return {one for one in threading.enumerate() if one.name == "cache-audit"}


def audits(bench: Bench) -> list[str]:
    await_threads("cache-audit")
    return [event.verdict for event in bench.events if isinstance(event, Audited)]


def served(bench: Bench, asked: object, *fresh: str, **how: object) -> str:
    """The text of a hit whose audit gets the fresh answer ``fresh``."""
    pieces = bench.cache.stream(asked, bench.loader(*fresh), **how)  # type: ignore[arg-type]
    return "".join(piece.text for piece in pieces)


def bench_with(text: str, asked: object = ASKED, **options: object) -> Bench:
    bench = Bench(**options)
    bench.ask(asked, text)  # type: ignore[arg-type]
    return bench


def test_a_hit_is_asked_again_and_compared_in_the_background() -> None:
    bench = bench_with("three days")
    assert served(bench, ASKED, "three days") == "three days"
    assert audits(bench) == ["equal"]
    assert served(bench, ASKED, "five days") == "three days"
    assert audits(bench) == ["equal", "different"]


def test_an_audit_is_never_in_the_answers_way() -> None:
    bench, go = bench_with("kept"), threading.Event()

    def load() -> Iterator[Piece]:
        bench.loads += 1
        assert go.wait()
        yield Piece("fresh")
        yield END

    # The whole answer is there before the audit has ended, and there is only one audit.
    for _ in range(3):
        assert list(bench.cache.stream(ASKED, load))[-1].finish_reason == "stop"
    go.set()
    assert audits(bench) == ["different"]
    assert bench.loads == 2


def test_no_two_processes_audit_one_entry_at_once() -> None:
    store = FakeSharedStore()
    one, other = bench_with("kept", store=store), Bench(store)
    began, go = threading.Event(), threading.Event()

    def load() -> Iterator[Piece]:
        began.set()
        assert go.wait()
        yield Piece("kept")
        yield END

    list(one.cache.stream(ASKED, load))
    assert began.wait()
    first = under_way()
    assert served(other, ASKED, "x") == "kept"
    for thread in under_way() - first:
        thread.join()
    go.set()
    assert (audits(one), audits(other)) == (["equal"], [])


def test_a_request_after_the_entry_expired_follows_its_audit() -> None:
    store = FakeSharedStore()
    one, other = bench_with("kept", store=store), Bench(store)
    began, go = threading.Event(), threading.Event()

    def load() -> Iterator[Piece]:
        began.set()
        yield Piece("fresh ")
        assert go.wait()
        yield Piece("words")
        yield END

    list(one.cache.stream(ASKED, load))
    assert began.wait()
    other.clock.pass_by(10**6)
    pieces = other.cache.stream(ASKED, other.loader("a second call"))
    assert next(pieces).text == "fresh "
    go.set()
    assert "".join(piece.text for piece in pieces) == "words"
    assert audits(one) == ["different"]
    assert other.loads == 0


def test_without_a_shared_store_nobody_waits_for_the_audit_of_what_is_over() -> None:
    asked = request(rules=replace(ALL, ttl=1))
    bench, began, go = bench_with("kept", asked), threading.Event(), threading.Event()

    def load() -> Iterator[Piece]:
        began.set()
        assert go.wait()
        yield Piece("late")
        yield END

    list(bench.cache.stream(asked, load))
    assert began.wait()
    bench.clock.pass_by(1.5)  # The audit's lease would have 1.5 s left.
    assert bench.text(asked, "at once") == "at once"
    assert under_way(), "the audit must still be in progress"
    go.set()
    await_threads("cache-audit")


def test_a_different_answer_replaces_the_kept_one_where_that_is_wished() -> None:
    for repairs in (False, True):
        asked = request(rules=replace(ALL, audit_repairs=repairs))
        bench = bench_with("old", asked)
        served(bench, asked, "new")
        assert audits(bench) == ["different"]
        assert bench.text(request(), "x") == ("new" if repairs else "old")


def test_a_repair_never_revives_what_was_invalidated_meanwhile() -> None:
    asked = request(rules=replace(ALL, audit_repairs=True))
    bench, go = bench_with("old", asked), threading.Event()

    def load() -> Iterator[Piece]:
        assert go.wait()
        yield Piece("between")
        yield END

    list(bench.cache.stream(asked, load))
    bench.cache.admin.invalidate(["*"])
    go.set()
    await_threads("cache-audit")
    assert bench.text(request(), "new") == "new"


@pytest.mark.parametrize(
    "asked",
    [
        request(),
        request(rules=replace(ALL, audit_share=0.0)),
        request(rules=ALL, control=Control.ONLY),
    ],
    ids=["by default", "off", "only kept answers"],
)
def test_nothing_is_audited_unasked(asked: object) -> None:
    bench = bench_with("kept", request())
    assert served(bench, asked, "x") == "kept"
    assert audits(bench) == []
    assert bench.loads == 1


def test_a_load_that_dies_with_its_call_is_not_audited() -> None:
    bench = bench_with("kept")
    served(bench, ASKED, "x", outlives_call=False)
    assert audits(bench) == []


def test_audits_are_bounded_by_the_minute_in_calls_and_in_money() -> None:
    priced = Rules(price=Price(output=1_000_000.0))  # 2 for each answer of 2 tokens
    for rules, most in (
        (replace(ALL, audits_a_minute=3), 3),
        (replace(priced, audit_share=1, audits_a_minute=9, audit_money_a_minute=5), 2),
    ):
        bench = Bench()
        for number in range(6):
            asked = request(str(number), rules=rules)
            bench.ask(asked, "kept")
            served(bench, asked, "kept")
            await_threads("cache-audit")
        assert len(audits(bench)) == most


def test_a_fresh_answer_that_would_not_be_kept_proves_nothing() -> None:
    bench = bench_with("kept")
    list(bench.cache.stream(ASKED, failing))
    assert audits(bench) == ["failed"]
    list(
        bench.cache.stream(
            ASKED, bench.loader("cut", end=Piece(finish_reason="length"))
        )
    )
    assert audits(bench) == ["failed", "failed"]


def test_a_judge_is_asked_of_different_answers_only_and_counts_in_the_minute() -> None:
    asked_of: list[tuple[str, str]] = []

    def same(kept: Piece, fresh: Piece) -> Judgement:
        asked_of.append((kept.text, fresh.text))
        return Judgement(same=True, usage=Usage(10, 1))

    rules = replace(ALL, audits_a_minute=3, price=Price(output=1_000_000.0))
    asked = replace(ASKED, rules=rules, judge=same)
    bench = bench_with("three days", asked)
    # One audit, then one with a call of its judge: the three calls of the minute.
    for fresh in ("three days", "3 days", "unseen"):
        served(bench, asked, fresh)
        await_threads("cache-audit")
    assert audits(bench) == ["equal", "judged"]
    assert asked_of == [("three days", "3 days")]
    prices = [event.price for event in bench.events if isinstance(event, Audited)]
    assert prices[1] == prices[0] + 1


def test_a_judge_is_not_asked_of_calls_that_differ() -> None:
    def same(kept: Piece, fresh: Piece) -> Judgement:
        return Judgement(same=True)

    def paying(euros: int) -> Piece:
        call = {"id": "1", "type": "function", "name": "pay", "arguments": str(euros)}
        return Piece("done", tool_calls=(call,))

    asked = replace(ASKED, judge=same)
    assert compared(asked, paying(1), paying(9))[0] is Verdict.DIFFERENT


def test_a_judge_that_raises_calls_nothing_the_same() -> None:
    def away(kept: Piece, fresh: Piece) -> Judgement:
        raise OSError

    asked = replace(ASKED, judge=away)
    bench = bench_with("three days", asked)
    served(bench, asked, "3 days")
    assert audits(bench) == ["different"]


@each(
    ("kept", "fresh", "verdict"),
    [
        ("Three days.", "Three days.", Verdict.EQUAL),
        ("Three  days.\n", "three days", Verdict.SAME),
        ("It costs 1,200.00 euros", "It costs 1200 euros", Verdict.SAME),
        ("\uff13 days", "3 days", Verdict.SAME),
        ("<think>hm</think>3 days", "<think>well</think>3 days", Verdict.SAME),
        ("3 days", "5 days", Verdict.DIFFERENT),
        ("1.5 mg", "15 mg", Verdict.DIFFERENT),
        ("1,200", "1,20", Verdict.DIFFERENT),
        ("not allowed", "allowed", Verdict.DIFFERENT),
    ],
)
def test_answers_are_compared_by_what_they_say(
    kept: str, fresh: str, verdict: Verdict
) -> None:
    assert compare(Piece(kept), Piece(fresh)) is verdict


@each(
    ("kept", "fresh"),
    [
        *(("2.0.1", "2.1"), ("10.0.0.1", "10.1"), ("10² m", "102 m")),
        *(("030 123", "030123"), ("1,200,5", "12005"), ("0,123", "0123")),
    ],
)
def test_a_text_that_only_looks_like_the_same_number_is_different(
    kept: str, fresh: str
) -> None:
    assert compare(Piece(kept), Piece(fresh)) is Verdict.DIFFERENT


@each(
    ("kept", "fresh", "verdict"),
    [
        ({"ok": True}, {"ok": 1}, "different"),
        ({"ok": False}, {"ok": 0}, "different"),
        ({"id": "aBc"}, {"id": "AbC"}, "different"),
        ([1, 2], [2, 1], "different"),
        ({"a": None}, {}, "different"),
        ({"v": "2.0"}, {"v": "2"}, "different"),
        ({"a": 1, "b": "x  y"}, {"b": "x y ", "a": 1}, "equal"),
    ],
)
def test_data_is_compared_by_letter_and_type(
    kept: object, fresh: object, verdict: str
) -> None:
    assert compare(Piece(data=kept), Piece(data=fresh)) == verdict


def test_calls_are_compared_without_their_ids() -> None:
    def calling(name: str, **call: str) -> Piece:
        one = {"id": name, "type": "function", "name": "f", "arguments": "{}", **call}
        return Piece(tool_calls=(one,))

    assert compare(calling("a"), calling("b")) is Verdict.SAME
    assert compare(calling("a"), calling("a", arguments="[]")) is Verdict.DIFFERENT


def test_the_interval_covers_the_true_rate_in_95_of_100_streams() -> None:
    def covers(wrong: int, rate: float) -> bool:
        low, high = interval(wrong, 400)
        return low <= rate <= high

    def share(rate: float) -> float:
        return sum(
            comb(400, wrong) * rate**wrong * (1 - rate) ** (400 - wrong)
            for wrong in range(401)
            if covers(wrong, rate)
        )

    assert 0.95 <= share(0.05) < 0.97
    for rate in (0.01, 0.2, 0.5):
        assert 0.93 < share(rate) < 0.97
    assert interval(0, 0) == (0.0, 1.0)
    assert interval(0, 10)[0] == 0.0
    assert interval(10, 10)[1] == 1.0
