"""The same question in other words: compared first, served later, only on evidence."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from cachecore.answer import Piece
from cachecore.errors import StoreError
from cachecore.events import Compared
from cachecore.keys import short_key
from cachecore.meaning.bands import needed
from cachecore.meaning.index import MAX_QUESTIONS, Index, Vector
from cachecore.meaning.score import score
from cachecore.policy import Control, Rules, Switch
from cachecore.request import Meaning, Request
from cachecore.stores.memory import MemoryStore
from tests.core.helpers import Bench, FailingFrom, await_threads, request
from tests.shared_store import FakeSharedStore

THINGS = ["order", "parcel", "invoice", "account", "booking", "ticket", "contract"]
THINGS += ["quote", "permit", "licence"]

MOST = 0.4  # so that a handful of comparisons is enough
ENOUGH = needed(MOST, 0)


def vector(question: str) -> Sequence[float]:
    """Equal for questions about the same thing, and different from all others."""
    return [float(thing in question) for thing in THINGS] + [0.1]


def asking(question: str, *, system: str = "s", **more: Any) -> Request:
    changes = {"embed": vector, "max_wrong": MOST, **more}
    meaning = Meaning(question=question, partition={"system": system}, **changes)
    form = {"system": system, "question": question}
    return replace(request(form=form, asked=lambda: question), meaning=meaning)


def one_way(thing: str) -> str:
    return f"How do I cancel my {thing}?"


def other_way(thing: str) -> str:
    return f"how can I cancel my {thing}"


def ask(bench: Bench, asked: Request, answer: str) -> str:
    said = bench.text(asked, answer)
    await_threads("cache-meaning")
    return said


def trusting(store: Any, **options: Any) -> Bench:
    return Bench(store, draw=1.0, **options)


def earning(store: Any, **options: Any) -> Bench:
    bench = trusting(store, **options)
    for thing in THINGS[:ENOUGH]:
        ask(bench, asking(one_way(thing)), f"about {thing}")
        ask(bench, asking(other_way(thing)), f"about {thing}")
    return bench


@cache
def earned() -> MemoryStore:
    return earning(MemoryStore()).store


def trusted(store: Any = None) -> Bench:
    """A cache whose band has enough evidence to serve, and serves whenever it may."""
    store = store or MemoryStore()
    inner = store.inner if isinstance(store, FailingFrom) else store
    for part in ("_entries", "_hashes", "_ends", "_logs", "_appended", "_last_order"):
        setattr(inner, part, deepcopy(getattr(earned(), part)))
    return trusting(store)


def verdicts(bench: Bench) -> list[bool]:
    return [event.right for event in bench.events if isinstance(event, Compared)]


LAST = THINGS[-1]


def test_nothing_is_served_before_it_has_proved_right() -> None:
    bench = trusting(None)
    for number, thing in enumerate(THINGS[: ENOUGH + 1]):
        ask(bench, asking(one_way(thing)), f"about {thing}")
        loads = bench.loads
        ask(bench, asking(other_way(thing)), f"about {thing}")
        assert bench.loads - loads == (number < ENOUGH)
    assert verdicts(bench) == [True] * ENOUGH
    assert bench.reasons[-1] == "meaning"


def test_a_decision_names_the_short_keys_of_both_questions() -> None:
    bench = trusted()
    ask(bench, asking(one_way(LAST)), "kept")
    ask(bench, asking(other_way(LAST)), "never")
    keys = [bench.cache.key(asking(way(LAST))) for way in (other_way, one_way)]
    (said,) = [
        e.short_key for e in bench.events if getattr(e, "reason", "") == "meaning"
    ]
    assert said == " = ".join(map(short_key, keys))


def test_two_questions_are_evidence_once_however_often_they_are_compared() -> None:
    bench = trusting(None)
    ask(bench, asking(one_way("order")), "about order")
    for _ in range(2 * ENOUGH):
        bench.cache.drop(asking(other_way("order")))
        ask(bench, asking(other_way("order")), "about order")
    assert len(verdicts(bench)) == 2 * ENOUGH
    ask(bench, asking(one_way(LAST)), "kept")
    assert ask(bench, asking(other_way(LAST)), "asked") == "asked"


def test_the_answer_of_the_other_question_is_given_to_its_last_word() -> None:
    bench = trusted()
    ask(bench, asking(one_way(LAST)), "the very answer")
    pieces = bench.ask(asking(other_way(LAST)), "never")
    assert "".join(piece.text for piece in pieces) == "the very answer"
    (usage,) = (piece.usage for piece in pieces if piece.usage)
    assert not usage.billed


def test_a_wrong_one_closes_the_band() -> None:
    bench = trusted()
    bench.draw = 0.0  # now compare
    ask(bench, asking(one_way("permit")), "yes")
    ask(bench, asking(other_way("permit")), "no")
    assert verdicts(bench)[-1] is False
    bench.draw = 1.0
    ask(bench, asking(one_way(LAST)), "kept")
    assert ask(bench, asking(other_way(LAST)), "asked") == "asked"


@pytest.mark.parametrize(
    "asked",
    [
        request(form={"system": "s", "question": other_way(LAST)}),
        asking(other_way(LAST), system="another"),
        replace(asking(other_way(LAST)), tags=("another",)),
        replace(asking(other_way(LAST)), control=Control.REFRESH),
        asking(f"How do I renew my {LAST}?"),
        asking(other_way(LAST), embed=lambda _: [0.0, 0.0]),
        asking(other_way(LAST), judge=lambda *_: False),
    ],
    ids=[
        "who does not opt in",
        "another system prompt",
        "other tags",
        "a refresh",
        "the contrary",
        "no vector",
        "the judge says no",
    ],
)
def test_other_requests_get_nothing_of_it(asked: Request) -> None:
    bench = trusted()
    ask(bench, asking(one_way(LAST)), "kept")
    assert ask(bench, asked, "asked") == "asked"


def away(*_: Any) -> Any:
    raise OSError


@pytest.mark.parametrize("what", ["embed", "judge"])
def test_a_server_that_fails_costs_a_hit_and_no_answer(what: str) -> None:
    bench = trusted()
    ask(bench, asking(one_way(LAST)), "kept")
    changes: dict[str, Callable[..., Any]] = {what: away}
    assert ask(bench, asking(other_way(LAST), **changes), "asked") == "asked"


def test_an_embedding_server_that_failed_is_left_alone_for_a_while() -> None:
    bench, asked = trusted(), []
    tier = bench.cache._meaning
    now = [tier._timer()]
    tier._timer = lambda: now[0]

    def embed(question: str) -> Any:
        asked.append(question)
        raise OSError

    for thing in THINGS[-3:]:
        ask(bench, asking(one_way(thing), embed=embed), "x")
    assert len(asked) == 1
    now[0] += 31
    ask(bench, asking("a question of its own", embed=embed), "x")
    assert len(asked) == 2


def test_an_invalidated_entry_is_never_served() -> None:
    bench = trusted()
    ask(bench, asking(one_way(LAST)), "kept")
    bench.cache.admin.invalidate(["*"])
    assert ask(bench, asking(other_way(LAST)), "asked") == "asked"


@pytest.mark.parametrize("what", ["embed", "judge"])
@pytest.mark.parametrize("how", ["invalidated", "switched off", "dropped"])
def test_a_change_while_a_model_is_asked_counts(what: str, how: str) -> None:
    def judge(*_: Any) -> bool:
        return True

    bench = trusted()
    ask(bench, asking(one_way(LAST), judge=judge), "kept")

    def change(*asked: Any) -> Any:
        if how == "invalidated":
            bench.cache.admin.invalidate(["*"])
        elif how == "dropped":
            bench.cache.drop(asking(one_way(LAST)))
        else:
            bench.cache.admin.turn(Switch.OFF)
        return vector(asked[0]) if what == "embed" else True

    changes: dict[str, Any] = {"judge": judge, what: change}
    assert bench.text(asking(other_way(LAST), **changes), "asked") == "asked"


def test_a_stale_answer_that_was_invalidated_while_a_model_was_asked_is_not_served() -> (
    None
):
    bench = trusted()
    rules = Rules(ttl=10, stale_while_revalidate=1000)
    ask(bench, replace(asking(other_way(LAST)), rules=rules), "old")
    bench.clock.pass_by(15)

    def embed(question: str) -> Any:
        bench.cache.admin.invalidate(["*"])
        return vector(question)

    mine = replace(asking(other_way(LAST), embed=embed), rules=rules)
    assert ask(bench, mine, "new") == "new"


def test_a_judge_of_answers_that_failed_is_left_alone_for_a_while() -> None:
    bench, asked = Bench(), []

    def judge(*_: Any) -> Any:
        asked.append(1)
        raise OSError

    for thing in THINGS[:4]:
        for way, answer in ((one_way, f"about {thing}"), (other_way, f"of {thing}")):
            ask(bench, replace(asking(way(thing)), judge=judge), answer)
    assert len(asked) == 1
    assert verdicts(bench) == []


def test_a_right_comparison_with_an_unconfirmed_record_counts_once() -> None:
    class Unheard(MemoryStore):
        def append(self, *args: Any, **more: Any) -> None:
            super().append(*args, **more)
            if ":comparisons:" in args[0]:
                raise StoreError("no answer came")

    bench = Bench(Unheard())
    for thing in THINGS[:3]:
        ask(bench, asking(one_way(thing)), f"about {thing}")
        ask(bench, asking(other_way(thing)), f"about {thing}")
    ((_, trust),) = bench.cache._meaning._evidence._trusts.items()
    bench.cache._meaning._evidence.trust(
        next(iter(bench.cache._meaning._evidence._trusts)), whole=True
    )
    assert sum(band.right_since for band in trust.bands) == 3


def test_a_process_that_has_not_read_all_comparisons_serves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cachecore.meaning.evidence._AT_ONCE", 4)
    store = FakeSharedStore()
    ask(trusted(store), asking(one_way(LAST)), "kept")
    other = Bench(store)
    other.draw = 1.0
    assert other.text(asking(other_way(LAST)), "asked") == "asked"


def test_a_judge_of_answers_that_fails_proves_nothing() -> None:
    bench = trusted()
    before = verdicts(bench)
    bench.draw = 0.0
    ask(bench, asking(one_way("permit")), "yes")
    ask(bench, replace(asking(other_way("permit")), judge=away), "certainly")
    assert verdicts(bench) == before


def test_a_wrong_one_closes_the_band_here_even_if_the_store_takes_no_word_of_it() -> (
    None
):
    store = FailingFrom(MemoryStore(), "")
    bench = trusted(store)
    bench.draw = 0.0
    ask(bench, asking(one_way("permit")), "yes")
    store.fail_in("append")
    ask(bench, asking(other_way("permit")), "no")
    store.mend()
    bench.draw = 1.0
    ask(bench, asking(one_way(LAST)), "kept")
    assert ask(bench, asking(other_way(LAST)), "asked") == "asked"


def test_an_entry_past_its_end_is_never_served() -> None:
    bench = Bench()
    bench = trusted(MemoryStore(clock=bench.clock))
    ask(bench, asking(one_way(LAST)), "kept")
    bench.clock.pass_by(10**7)
    assert ask(bench, asking(other_way(LAST)), "asked") == "asked"


@pytest.mark.parametrize("method", ["tail", "append"])
def test_a_store_that_fails_costs_a_hit_and_no_answer(method: str) -> None:
    store = FailingFrom(MemoryStore(), "")
    bench = trusted(store)
    ask(bench, asking(one_way(LAST)), "kept")
    store.fail_in(method)
    assert ask(bench, asking(other_way(LAST)), "asked") in ("asked", "kept")


def test_a_request_does_not_use_a_store_that_failed_during_its_comparison() -> None:
    store = FailingFrom(MemoryStore(), "")
    bench = trusted(store)
    ask(bench, asking(one_way(LAST)), "kept")
    store.fail_in("tail")
    store.calls.clear()
    assert ask(bench, asking(other_way(LAST)), "asked") == "asked"
    assert store.calls[-1] == "tail"
    assert bench.reasons[-1] == "cache_unavailable"


def test_another_process_has_the_same_bands_and_neighbours() -> None:
    store = FakeSharedStore()
    ask(trusted(store), asking(one_way(LAST)), "kept")
    other = Bench(store)
    other.draw = 1.0
    # The first look reads the new records; no caller waits for more than one read.
    assert ask(other, asking(other_way(LAST)), "asked") == "kept"


def test_with_a_secret_no_question_is_readable_in_the_store() -> None:
    key = b"k" * 32
    store = MemoryStore()
    bench = Bench(store, cipher_key=key)
    ask(bench, asking(one_way(LAST)), "kept")
    records = [data for log in store._logs.values() for _, data in log]
    assert records
    assert not any(b"cancel" in data for data in records)


def test_records_that_can_not_be_read_are_passed_over() -> None:
    store = MemoryStore()
    index = Index(store, None)
    store.append("log", [b"", b"garbage"], 10, 60)
    index.add("log", "key", "question", Vector.of([1.0, 2.0]))
    ((cosine, found),) = index.nearest("log", Vector.of([1.0, 2.0]), 3, whole=True)
    assert (found.key, found.question) == ("key", "question")
    assert cosine == pytest.approx(1.0)


def test_an_index_is_bounded_and_forgets_the_oldest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert MAX_QUESTIONS == 10_000
    monkeypatch.setattr("cachecore.meaning.index.MAX_QUESTIONS", 3)
    index = Index(MemoryStore(), None)
    for number in range(5):
        index.add("log", f"key {number}", "q", Vector.of([1.0, number + 1.0]))
    found = index.nearest("log", Vector.of([1.0, 1.0]), 9, whole=True)
    assert {one.key for _, one in found} == {"key 2", "key 3", "key 4"}


def test_the_memory_for_all_partitions_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cachecore.meaning.index._MAX_ALL", 3)
    index = Index(MemoryStore(), None)
    for log in ("one", "two", "three"):
        for number in range(2):
            index.add(log, f"{log} {number}", "q", Vector.of([1.0, number + 1.0]))
        index.nearest(log, Vector.of([1.0, 1.0]), 1, whole=True)
    assert len(index._partitions) <= 2
    found = index.nearest("one", Vector.of([1.0, 1.0]), 9, whole=True)
    assert {one.key for _, one in found} == {"one 0", "one 1"}


def test_the_nearest_comes_first() -> None:
    index = Index(MemoryStore(), None)
    for name, numbers in (("far", [1.0, -1.0]), ("near", [1.0, 0.9])):
        index.add("log", name, name, Vector.of(numbers))
    found = index.nearest("log", Vector.of([1.0, 1.0]), 2, whole=True)
    assert [one.key for _, one in found] == ["near", "far"]


@pytest.mark.parametrize("numbers", [[], [0.0, 0.0], [float("inf"), 1.0]])
def test_an_invalid_vector_is_refused(numbers: list[float]) -> None:
    with pytest.raises(ValueError, match="vector"):
        Vector.of(numbers)


def test_vectors_of_different_models_are_not_near() -> None:
    assert Vector.of([1.0, 1.0]).cosine(Vector.of([1.0, 1.0, 1.0])) == 0.0


def test_a_score_tells_a_restatement_from_a_word_exchanged() -> None:
    same = score(one_way("order"), other_way("order"), 0.97)
    slip = score(one_way("parcel"), one_way("pacrel"), 0.9)
    exchanged = score(one_way("order"), one_way("booking"), 0.9)
    assert min(same, slip) > 0.8
    assert exchanged < min(same, slip) - 0.1


def test_the_answer_that_is_compared_is_the_kept_one() -> None:
    seen: list[tuple[str, str]] = []

    def judge(question: str, other: str, answer: Piece) -> bool:
        seen.append((question, answer.text))
        return True

    bench = Bench()
    ask(bench, asking(one_way(LAST), judge=judge), "kept")
    ask(bench, asking(other_way(LAST), judge=judge), "kept")
    assert seen == [(other_way(LAST), "kept")]
