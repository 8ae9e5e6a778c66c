"""Votes against an entry, and answers that are data."""

import pytest

from cachecore.admin import Vote
from cachecore.answer import Piece, Usage, data_of
from cachecore.cache import RequestState
from cachecore.entry import Cost
from cachecore.errors import StoreError
from cachecore.policy import Reason
from cachecore.request import Request
from cachecore.stores.memory import MemoryStore
from tests.core.helpers import Bench, FailingFrom, request

DATA = {"result": [{"content": "a", "score": 0.5}], "warnings": []}


def kept_key(bench: Bench) -> str:
    bench.ask(request())
    return bench.cache.key(request())


def vote(bench: Bench, key: str, voter: str, needed: int = 2) -> Vote:
    return bench.cache.admin.vote(key, voter, needed=needed, window=100)


def test_enough_voters_drop_an_entry_and_the_next_answer_is_kept() -> None:
    bench = Bench()
    key = kept_key(bench)
    assert [vote(bench, key, voter) for voter in "aab"] == [
        "counted",
        "counted",
        "dropped",
    ]
    assert bench.text(request(), "a better one") == "a better one"
    assert bench.text(request(), "another") == "a better one"


def test_the_window_counts_from_the_first_vote() -> None:
    bench = Bench()
    key = kept_key(bench)
    vote(bench, key, "a", needed=3)
    bench.clock.pass_by(60)
    vote(bench, key, "b", needed=3)
    vote(bench, key, "a", needed=3)
    bench.clock.pass_by(60)
    assert vote(bench, key, "c", needed=3) == "counted"


def test_votes_are_forgotten_when_their_window_is_over() -> None:
    bench = Bench()
    key = kept_key(bench)
    vote(bench, key, "a")
    bench.clock.pass_by(101)
    assert vote(bench, key, "b") == "counted"
    assert vote(bench, key, "c") == "dropped"


def test_other_entries_are_not_touched() -> None:
    bench = Bench()
    bench.ask(request("other"))
    vote(bench, kept_key(bench), "a", needed=1)
    bench.ask(request("other"))
    assert bench.reasons[-1] == "hit"


def test_a_key_without_an_entry_takes_no_votes() -> None:
    bench = Bench()
    key = bench.cache.key(request())
    assert vote(bench, key, "a", needed=1) == "nothing_kept"


def test_votes_against_an_answer_do_not_count_against_the_next() -> None:
    bench = Bench()
    key = kept_key(bench)
    vote(bench, key, "a")
    bench.cache.admin.invalidate(["*"])
    bench.ask(request(), "a better one")
    assert vote(bench, key, "b") == "counted"
    assert vote(bench, key, "c") == "dropped"


def test_a_vote_that_cannot_be_counted_is_reported() -> None:
    store = MemoryStore()
    failing = FailingFrom(store, "settle")
    bench = Bench(failing)
    key = bench.cache.key(request())
    store.keep(key, b"x", 60)
    with pytest.raises(StoreError):
        vote(bench, key, "a")


def test_only_keys_of_this_namespace_are_its_own() -> None:
    cache = Bench().cache
    own = cache.key(request())
    assert cache.admin.owns(own)
    mark = own[own.index("{") :]
    for other in (
        "",
        own + "x",
        f"dify:cache:v1:other:llm:{mark}",
        f"dify:cache:v1:test:stats:{mark}",
        "dify:cache:v1:test:stamps",
        f"x{own}",
    ):
        assert not cache.admin.owns(other)


# --- data ------------------------------------------------------------------------


def asked(bench: Bench, asked: Request, state: RequestState | None = None) -> object:
    end = Piece(data=DATA, finish_reason="stop")
    return data_of(bench.cache.stream(asked, bench.loader(end=end), state=state))


def test_an_answer_that_is_data_is_kept_and_comes_back_as_it_was() -> None:
    bench = Bench()
    assert asked(bench, request()) == asked(bench, request()) == DATA
    assert bench.loads == 1


def test_an_answer_lives_at_most_as_long_as_it_says() -> None:
    bench = Bench()
    short = request(at_most=lambda answer: 30 if answer.data == DATA else None)
    asked(bench, short)
    bench.clock.pass_by(29)
    asked(bench, short)
    bench.clock.pass_by(2)
    asked(bench, short)
    assert bench.reasons == ["absent", "hit", "absent"]


def test_the_source_of_an_answer_is_reported() -> None:
    bench = Bench()
    first, second = RequestState(), RequestState()
    asked(bench, request(), first)
    asked(bench, request(), second)
    assert first.look is not None
    assert second.look is not None
    assert (first.look.reason, second.look.reason) == (Reason.ABSENT, Reason.HIT)
    assert first.look.entry is None
    assert second.look.entry is not None
    assert not second.shared


def test_a_hit_saves_the_amount_that_was_paid() -> None:
    bench = Bench()
    usage = Usage(10, 5, price=0.25, currency="EUR")
    end = Piece(finish_reason="stop", usage=usage)
    bench.ask(request(), "x", end=end)
    (replayed,) = bench.ask(request())
    saved = [e.saved for e in bench.events if getattr(e, "saved", None)]
    assert isinstance(saved[0], Cost)
    assert (saved[0].price, saved[0].currency) == (0.25, "EUR")
    assert replayed.usage == Usage(10, 5, billed=False, currency="USD")
