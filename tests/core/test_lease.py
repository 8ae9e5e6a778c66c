"""One load for many processes: each Bench here represents one process."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import orjson
import pytest

from cachecore import entry as entries
from cachecore import lease, stamps
from cachecore.answer import Piece, Usage
from cachecore.errors import FlightBroken, StoreError
from cachecore.keys import flight_key, lease_key
from cachecore.lease import Pace
from cachecore.policy import Control, Rules
from cachecore.request import Request
from cachecore.stores.base import Claim, Commit, Heartbeat
from tests.core.helpers import END, Bench, FailingFrom, request
from tests.shared_store import FakeSharedStore
from tests.virtual_time import VirtualTime


@pytest.fixture
def store(now: VirtualTime) -> FakeSharedStore:
    return FakeSharedStore(now)


process = Bench


class UpstreamFailed(Exception):
    """An error of an upstream."""


class Asked:
    """A request in progress, in a thread of its own."""

    def __init__(self, ask: Callable[[], Iterator[Piece]]) -> None:
        self.pieces: list[Piece] = []
        self.error: Exception | None = None
        self._ask = ask
        self.first = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            for piece in self._ask():
                self.pieces.append(piece)
                self.first.set()
        except Exception as error:
            self.error = error

    def text(self) -> str:
        self._thread.join()
        assert not self._thread.is_alive()
        return "".join(piece.text for piece in self.pieces)


class Gate:
    """An upstream that waits for ``go`` after its first piece."""

    def __init__(self) -> None:
        self.loads = 0
        self.began, self.go = threading.Event(), threading.Event()

    def __call__(self) -> Iterator[Piece]:
        self.loads += 1
        yield Piece("first ")
        self.began.set()
        assert self.go.wait()
        yield Piece("second")
        yield END


def until(true: Callable[[], bool]) -> None:
    for _ in range(10_000):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("it never came true")


class FakeLeader:
    """A leader in another process; a test calls each of its steps."""

    claims = True

    def __init__(self, store: FakeSharedStore, asked: Request | None = None) -> None:
        bench = process(store)
        self.store = store
        self.request = asked or request()
        look = bench.cache.find(self.request)
        self.stamps = bench.cache.settle(look)
        assert self.stamps is not None
        self.key = look.key
        self.token = f"leader.{stamps.stamps_digest(self.stamps)}"
        self.count = 0
        self.stream = flight_key(self.key, self.token)
        self.lease = lease_key(self.key)
        if self.claims:
            store.claim(self.key, self.lease, self.token, 60, take_over="*")

    def write(self, record: dict[str, Any], number: int | None = None) -> None:
        n = self.count if number is None else number
        self.write_bytes(lease.seal_record({"n": n, **record}, self.stream, None))
        self.count += 1

    def write_bytes(self, data: bytes) -> None:
        self.store.heartbeat(
            [Heartbeat(self.lease, self.stream, self.token, 60, records=(data,))]
        )

    def say(self, *texts: str) -> None:
        self.write({"pieces": [Piece(text) for text in texts]})

    def die(self) -> None:
        """Let its lease and its stream expire. It sends nothing more."""
        names = self.key, self.lease, "another stream", self.token
        self.store.commit(Commit(*names, None, 1))
        self.store._streams.pop(self.stream, None)

    def await_follower(self) -> None:
        beat = Heartbeat(self.lease, self.stream, self.token, 60)
        until(lambda: self.store.heartbeat([beat])[0] > 0)


def following(
    store: FakeSharedStore, *own: str, end: Piece | None = END
) -> tuple[FakeLeader, Bench, Asked]:
    """A leader, and a process that follows it; ``own`` is its own load."""
    leader = FakeLeader(store)
    bench = process(store)
    load = bench.loader(*own, end=end)
    follower = Asked(lambda: bench.cache.stream(request(), load))
    leader.await_follower()
    return leader, bench, follower


def lead_and_follow(one: Bench, other: Bench, upstream: Gate) -> tuple[Asked, Asked]:
    """A load that ``one`` leads, and a follower in ``other`` that got a piece."""
    leader = Asked(lambda: one.cache.stream(request(), upstream))
    assert upstream.began.wait()
    follower = Asked(lambda: other.cache.stream(request(), other.loader("never")))
    assert follower.first.wait()
    return leader, follower


def test_two_processes_load_once_and_both_stream(store: FakeSharedStore) -> None:
    upstream = Gate()
    leader = Asked(lambda: process(store).cache.stream(request(), upstream))
    assert upstream.began.wait()
    follower = Asked(lambda: process(store).cache.stream(request(), upstream))
    assert follower.first.wait(), "the follower waited for the end of the load"
    upstream.go.set()
    assert leader.text() == follower.text() == "first second"
    assert upstream.loads == 1
    assert leader.pieces[-1].usage == Usage(7, 2)
    assert follower.pieces[-1].usage == Usage(7, 2, billed=False)
    assert process(store).text(request(), "another") == "first second"


def test_a_crowd_in_each_of_two_processes_is_one_load(store: FakeSharedStore) -> None:
    upstream = Gate()
    one, other = process(store), process(store)
    crowd = [Asked(lambda: one.cache.stream(request(), upstream)) for _ in range(5)]
    assert upstream.began.wait()
    crowd += [Asked(lambda: other.cache.stream(request(), upstream)) for _ in range(5)]
    upstream.go.set()
    assert {asked.text() for asked in crowd} == {"first second"}
    assert upstream.loads == 1


def test_an_entry_that_another_process_kept_since_the_look_up_is_served(
    store: FakeSharedStore,
) -> None:
    late = process(store)
    honest = store.claim

    def claim_late(*args: Any, **options: Any) -> Any:
        store.claim = honest  # type: ignore[method-assign]
        process(store).ask(request(), "kept meanwhile")
        return honest(*args, **options)

    store.claim = claim_late  # type: ignore[method-assign]
    assert late.text(request(), "loaded again") == "kept meanwhile"


def test_a_leader_that_dies_before_its_first_piece_is_replaced(
    store: FakeSharedStore,
) -> None:
    leader, _, follower = following(store, "own")
    leader.die()
    assert follower.text() == "own"
    assert process(store).text(request(), "x") == "own", "the new leader keeps it"


@pytest.mark.parametrize("way", ["dies", "skips a number", "writes rubbish"])
@pytest.mark.parametrize(
    ("own", "ends"),
    [("part and rest", None), ("par", FlightBroken), ("x", FlightBroken)],
)
def test_a_follower_that_has_shown_a_part_goes_on_only_with_an_answer_that_begins_so(
    store: FakeSharedStore, way: str, own: str, ends: type[Exception] | None
) -> None:
    leader, _, follower = following(store, own)
    leader.say("part")
    assert follower.first.wait()
    if way == "skips a number":
        leader.count += 1
        leader.say("hole")
    elif way == "writes rubbish":
        leader.write_bytes(b"rubbish")
    leader.die()
    assert follower.text() == ("part and rest" if ends is None else "part")
    assert type(follower.error) is (ends or type(None))


def test_a_follower_takes_a_complete_answer_of_a_leader_that_died_after_it(
    store: FakeSharedStore,
) -> None:
    leader, _, follower = following(store, "own")
    leader.write({"end": "landed"})
    leader.die()
    assert follower.text() == "own"


@pytest.mark.parametrize(
    "record",
    [
        {"end": "error", "who": lease.credential_digest(""), "error": "not a pair"},
        {"end": "error", "who": lease.credential_digest("")},
        {"end": ["no", "word"]},
        {"pieces": "text"},
    ],
)
def test_a_record_of_another_shape_counts_as_a_dead_leader(
    store: FakeSharedStore, record: dict[str, Any]
) -> None:
    leader, _, follower = following(store, "own")
    text = orjson.dumps({"pieces": [], **record, "n": 0})
    leader.write_bytes(entries.seal(text, leader.stream))
    leader.die()
    assert follower.text() == "own"
    assert follower.error is None


def test_after_three_leaders_that_failed_it_a_caller_asks_the_upstream_itself(
    store: FakeSharedStore,
) -> None:
    bench = process(store)
    leaders = []

    def claim_again(*args: Any, **options: Any) -> Any:
        leader = FakeLeader(store)
        leader.token = f"leader{len(leaders)}.{stamps.stamps_digest(leader.stamps)}"
        leaders.append(leader)
        return Claim(leader.token, None, 1)

    store.claim, honest = claim_again, store.claim  # type: ignore[method-assign]
    FakeLeader.claims = False
    try:
        assert bench.text(request(), "own") == "own"
    finally:
        FakeLeader.claims = True
        store.claim = honest  # type: ignore[method-assign]
    assert len(leaders) == 3


def test_the_leaders_error_is_shared_within_one_credential_and_keeps_its_type(
    store: FakeSharedStore,
) -> None:
    def rebuild_error(name: str, text: str) -> Exception | None:
        return UpstreamFailed(text) if name == "UpstreamFailed" else None

    asked = request(credential="payer", rebuild_error=rebuild_error)
    other = request(credential="another payer", rebuild_error=rebuild_error)
    begun, fail = threading.Event(), threading.Event()

    def load() -> Iterator[Piece]:
        begun.set()
        assert fail.wait()
        raise UpstreamFailed("429")
        yield END

    leader = Asked(lambda: process(store).cache.stream(asked, load))
    assert begun.wait()
    benches = process(store), process(store)
    colleague = Asked(
        lambda: benches[0].cache.stream(asked, benches[0].loader("never"))
    )
    stranger = Asked(lambda: benches[1].cache.stream(other, benches[1].loader("own")))
    key = process(store).cache.key(asked)
    token = store.claim(key, lease_key(key), "x." + stamps_digest(store, asked), 1)
    stream = flight_key(key, token.holder)

    def subscriptions() -> int:
        news = store.read(stream, lease_key(key), token.holder, "0", 0)
        return [data for _, data in news.records].count(None)

    until(lambda: subscriptions() == 2)
    fail.set()
    assert leader.text() == ""
    assert type(leader.error) is UpstreamFailed
    assert colleague.text() == ""
    assert (type(colleague.error), str(colleague.error)) == (UpstreamFailed, "429")
    assert stranger.text() == "own"
    assert benches[0].loads == 0


def stamps_digest(store: FakeSharedStore, asked: Request) -> str:
    cache = process(store).cache
    settled = cache.settle(cache.find(asked))
    assert settled is not None
    return stamps.stamps_digest(settled)


def test_a_load_that_began_before_an_invalidation_is_not_followed(
    store: FakeSharedStore,
) -> None:
    upstream = Gate()
    before = Asked(lambda: process(store).cache.stream(request(), upstream))
    assert upstream.began.wait()
    after = process(store)
    after.cache.admin.invalidate(["*"])
    assert after.text(request(), "new") == "new"
    upstream.go.set()
    assert before.text() == "first second"
    assert process(store).text(request(), "x") == "new"


def test_a_refresh_leads_and_the_older_load_serves_its_own_and_is_not_kept(
    store: FakeSharedStore,
) -> None:
    upstream = Gate()
    old = Asked(lambda: process(store).cache.stream(request(), upstream))
    assert upstream.began.wait()
    follower = Asked(lambda: process(store).cache.stream(request(), upstream))
    assert follower.first.wait()
    assert process(store).text(request(control=Control.REFRESH), "new") == "new"
    upstream.go.set()
    assert old.text() == follower.text() == "first second"
    assert process(store).text(request(), "x") == "new"


def test_a_leader_that_lost_its_lease_replaces_nothing(
    store: FakeSharedStore,
) -> None:
    upstream = Gate()
    # A heartbeat would take the evicted lease back.
    one = process(store, pace=Pace(heartbeat=60, batch=60))
    slow = Asked(lambda: one.cache.stream(request(), upstream))
    assert upstream.began.wait()
    key = one.cache.key(request())
    store._leases.clear()  # evicted
    other = process(store)
    assert other.text(request(), "other") == "other"
    upstream.go.set()
    assert slow.text() == "first second"
    assert one.refusals == ["superseded"]
    assert process(store).text(request(), "x") == "other"
    assert store.claim(key, lease_key(key), "x.y", 1).holder == "x.y"


@pytest.mark.parametrize("method", ["claim", "read", "heartbeat", "commit"])
def test_a_store_that_fails_at_any_step_costs_no_answer(
    store: FakeSharedStore, method: str
) -> None:
    upstream = Gate()
    upstream.go.set()
    failing = FailingFrom(store, method)
    assert Asked(lambda: process(failing).cache.stream(request(), upstream)).text() == (
        "first second"
    )
    assert method == "read" or failing.calls.count(method) <= 1


def test_a_follower_whose_store_fails_asks_the_upstream_and_not_the_store(
    store: FakeSharedStore,
) -> None:
    FakeLeader(store)
    failing = FailingFrom(store, "read")
    bench = process(failing)
    assert bench.text(request(), "own") == "own"
    assert failing.calls[-1] == "read"
    assert bench.refusals == ["cache_unavailable"]


def test_a_live_leader_that_cannot_be_heard_is_not_waited_for(
    store: FakeSharedStore,
) -> None:
    leader = FakeLeader(store)
    leader.write({"end": "gone"})  # its answer became too long to publish
    assert process(store).text(request(), "own") == "own"
    assert process(store).text(request(), "x") == "own", "the lease was taken over"


def test_text_that_json_cannot_carry_is_followed_by_nobody_and_fails_nobody(
    store: FakeSharedStore,
) -> None:
    bench = process(store)
    begun, go = threading.Event(), threading.Event()

    def load() -> Iterator[Piece]:
        begun.set()
        assert go.wait()
        yield Piece("\ud83d")
        yield END

    leader = Asked(lambda: bench.cache.stream(request(), load))
    assert begun.wait()
    other = process(store)
    follower = Asked(lambda: other.cache.stream(request(), other.loader("own")))
    until(lambda: bool(store._streams))
    go.set()
    assert leader.text() == "\ud83d"
    assert follower.text() == "own"


def test_a_load_without_followers_leaves_no_stream_and_no_lease(
    store: FakeSharedStore,
) -> None:
    process(store).ask(request(), "answer")
    assert store._streams == {}
    assert store._leases == {}


def test_with_a_secret_nothing_of_an_answer_is_readable_in_the_stream(
    store: FakeSharedStore,
) -> None:
    key = bytes(32)
    upstream = Gate()
    one = process(store, cipher_key=key)
    other = process(store, cipher_key=key)
    leader = Asked(lambda: one.cache.stream(request(), upstream))
    assert upstream.began.wait()
    follower = Asked(lambda: other.cache.stream(request(), upstream))
    assert follower.first.wait()
    upstream.go.set()
    assert leader.text() == follower.text()
    stored = [data or b"" for held, _ in store._streams.values() for _, data in held]
    assert stored
    assert b"first" not in b"".join(stored)


def test_an_operator_is_still_shown_that_a_check_failed() -> None:
    bench = Bench(FailingFrom(FakeSharedStore(), "check"))
    with pytest.raises(StoreError):
        bench.cache.admin.check()


def test_an_entry_invalidated_while_a_follower_waited_is_not_served_to_it(
    store: FakeSharedStore,
) -> None:
    leader, _, follower = following(store, "new")
    other = process(store)
    dead = Piece("dead", (), "stop", None).payload()
    assert other.cache.keep(request(), leader.key, leader.stamps, dead) is None
    other.cache.admin.invalidate(["*"])
    leader.die()
    assert follower.text() == "new"
    assert process(store).text(request(), "x") == "new", "kept under current stamps"


def test_an_answer_of_which_only_the_last_word_is_missing_is_whole(
    store: FakeSharedStore,
) -> None:
    leader, bench, follower = following(store, "never")
    leader.write({"pieces": [Piece("whole", finish_reason="stop", usage=Usage(1, 2))]})
    assert follower.first.wait()
    leader.write({"end": "gone"})
    assert follower.text() == "whole"
    assert (follower.error, bench.loads) == (None, 0)


def test_an_own_answer_that_ends_before_what_was_shown_is_not_taken_for_it(
    store: FakeSharedStore,
) -> None:
    leader = FakeLeader(store)
    bench = process(store)
    follower = Asked(
        lambda: bench.cache.stream(request(), bench.loader("par", end=None))
    )
    leader.await_follower()
    leader.say("part")
    assert follower.first.wait()
    leader.write({"end": "gone"})
    assert follower.text() == "part"
    assert type(follower.error) is FlightBroken


class Unspeakable(Exception):
    """An error that ``str`` fails for."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


def test_an_error_that_cannot_be_published_reaches_its_own_caller_unchanged(
    store: FakeSharedStore,
) -> None:
    def load() -> Iterator[Piece]:
        raise Unspeakable
        yield END

    with pytest.raises(Unspeakable):
        list(process(store).cache.stream(request(), load))
    until(lambda: not store._leases)


@pytest.mark.parametrize("method", ["delete"])
def test_a_store_that_failed_a_request_is_not_asked_for_a_stale_answer_either(
    store: FakeSharedStore, method: str
) -> None:
    failing = FailingFrom(store, method)
    bench = process(failing)
    asked = request(rules=Rules(stale_if_error=60))
    if method == "delete":
        store.keep(bench.cache.key(asked), b"rubbish", 60)

    def load() -> Iterator[Piece]:
        yield from ()
        raise UpstreamFailed

    with pytest.raises(UpstreamFailed):
        list(bench.cache.stream(asked, load))
    assert failing.calls.count("look_up") == 1


def test_a_crowd_of_failed_loads_does_not_silence_one_that_lives(
    store: FakeSharedStore,
) -> None:
    one, other = process(store), process(store)
    upstream = Gate()
    alive = Asked(lambda: one.cache.stream(request("alive"), upstream))
    assert upstream.began.wait()

    def fail() -> Iterator[Piece]:
        raise UpstreamFailed
        yield END

    for number in range(100):
        with pytest.raises(UpstreamFailed):
            list(one.cache.stream(request(str(number)), fail))
    follower = Asked(lambda: other.cache.stream(request("alive"), upstream))
    assert follower.first.wait()
    upstream.go.set()
    assert alive.text() == follower.text() == "first second"
    until(lambda: not store._leases)


# --- loads without a piece for a long time --------------------------------------


def test_a_load_without_progress_says_so_and_lets_its_lease_go(
    store: FakeSharedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cachecore.cache.CALL_IDLE_LIMIT", 1)
    beats: list[Heartbeat] = []
    send = store.heartbeat

    def heartbeat(sent: Sequence[Heartbeat]) -> list[int | None]:
        beats.extend(sent)
        return send(sent)

    monkeypatch.setattr(store, "heartbeat", heartbeat)
    slow, bench = Gate(), process(store)
    leader = Asked(lambda: bench.cache.stream(request(), slow, outlives_call=False))
    assert slow.began.wait()
    until(lambda: bool(beats) and not beats[-1].renews)
    time.sleep(Pace().lease)
    other = process(store)
    assert other.text(request(), "its own") == "its own"
    slow.go.set()
    assert leader.text() == "first second"
    assert process(store).text(request(), "nobody's") == "its own"


def test_data_too_large_for_a_stream_is_followed_by_nobody(
    store: FakeSharedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cachecore.lease.MAX_BUFFER", 1000)
    begun, go = threading.Event(), threading.Event()

    def load() -> Iterator[Piece]:
        begun.set()
        assert go.wait()
        yield Piece(data=["x" * 2000], finish_reason="stop")

    bench = process(store)
    leader = Asked(lambda: bench.cache.stream(request(), load))
    assert begun.wait()
    follower = Asked(lambda: process(store).cache.stream(request(), lambda: [END]))
    until(lambda: bool(store._streams))
    go.set()
    leader.text()
    follower.text()
    assert leader.error is follower.error is None
    assert leader.pieces[-1].data == ["x" * 2000]


# --- alive leaders, and takeovers -----------------------------------------------


def test_a_new_follower_gets_nothing_from_a_leader_that_may_be_dead(
    store: FakeSharedStore,
) -> None:
    leader, _, early = following(store, "own answer")
    leader.say("half a ")
    assert early.first.wait()
    late = process(store)
    newcomer = Asked(lambda: late.cache.stream(request(), late.loader("own answer")))
    (stream,) = store._streams.values()
    until(lambda: [data for _, data in stream[0]].count(None) == 2)
    leader.die()
    assert newcomer.text() == "own answer"
    assert newcomer.error is None


def test_a_newcomer_is_shown_everything_once_the_leader_has_given_a_sign(
    store: FakeSharedStore,
) -> None:
    leader, _, early = following(store)
    leader.say("half a ")
    assert early.first.wait()
    late = process(store)
    newcomer = Asked(lambda: late.cache.stream(request(), late.loader("never")))
    (stream,) = store._streams.values()
    until(lambda: [data for _, data in stream[0]].count(None) == 2)
    assert newcomer.pieces == []
    leader.write({"pieces": ()})
    assert newcomer.first.wait()
    leader.write({"pieces": [Piece("word"), END]})
    leader.write({"end": "landed"})
    assert newcomer.text() == early.text() == "half a word"
    assert late.loads == 0


def test_of_the_followers_that_have_shown_nothing_one_takes_over_and_the_rest_follow(
    store: FakeSharedStore,
) -> None:
    leader = FakeLeader(store)
    benches = [process(store) for _ in range(3)]
    crowd = [
        Asked(lambda b=bench: b.cache.stream(request(), b.loader("own")))  # type: ignore[misc]
        for bench in benches
        for _ in range(3)
    ]
    leader.await_follower()
    until(lambda: len(store._streams[leader.stream][0]) == 3)
    leader.die()
    assert [asked.text() for asked in crowd] == ["own"] * 9
    assert sum(bench.loads for bench in benches) == 1


def test_followers_that_have_shown_a_part_take_over_with_one_call_too(
    store: FakeSharedStore,
) -> None:
    leader = FakeLeader(store)
    benches = [process(store) for _ in range(3)]
    crowd = [
        Asked(
            lambda b=bench: b.cache.stream(request(), b.loader("one ", "two ", "six"))
        )  # type: ignore[misc]
        for bench in benches
    ]
    leader.await_follower()
    until(lambda: len(store._streams[leader.stream][0]) == 3)
    leader.say("one tw")
    assert all(asked.first.wait() for asked in crowd)
    leader.die()
    assert [asked.text() for asked in crowd] == ["one two six"] * 3
    assert sum(bench.loads for bench in benches) == 1
    assert process(store).text(request(), "x") == "one two six", "and it is kept"


def test_a_leader_that_is_silent_is_waited_for_as_long_as_its_lease_lives(
    store: FakeSharedStore,
) -> None:
    leader, bench, follower = following(store, "never")
    leader.say("a part ")
    assert follower.first.wait()
    late = process(store)
    waiting = Asked(lambda: late.cache.stream(request(), late.loader("never")))
    until(
        lambda: [data for _, data in store._streams[leader.stream][0]].count(None) == 2
    )
    leader.say("and the rest")
    leader.write({"pieces": [END]})
    leader.write({"end": "landed"})
    assert follower.text() == waiting.text() == "a part and the rest"
    assert bench.loads == late.loads == 0


def test_a_store_that_fails_for_a_moment_breaks_no_answer_that_was_begun(
    store: FakeSharedStore,
) -> None:
    failing = FailingFrom(store, "")
    leader = FakeLeader(store)
    bench = process(failing, pace=Pace(outage=1e9))
    follower = Asked(lambda: bench.cache.stream(request(), bench.loader("never")))
    leader.await_follower()
    leader.say("a part ")
    assert follower.first.wait()
    failing.fail_in("read")
    until(lambda: failing.failed)
    leader.say("and the rest")
    leader.write({"pieces": [END]})
    leader.write({"end": "landed"})
    failing.mend()
    assert follower.text() == "a part and the rest"
    assert bench.loads == 0


def test_a_stream_that_loses_records_again_and_again_splices_nothing(
    store: FakeSharedStore,
) -> None:
    """The leader stays alive, so there is no lease to take over."""
    leader, bench, follower = following(store, "one ", "two ", "three")
    leader.say("one ")
    assert follower.first.wait()
    store._streams.pop(leader.stream)
    leader.count = 5
    leader.say("four ")
    assert follower.text() == "one two three"
    assert follower.error is None
    assert bench.loads == 1


@pytest.mark.parametrize(
    ("own", "rest"), [(("a part ", "of mine"), "of mine"), (("other",), "of theirs")]
)
def test_a_long_outage_of_the_store_costs_no_error(
    store: FakeSharedStore, own: tuple[str, ...], rest: str
) -> None:
    """Only the connection to the leader is cut: it may be alive, and come back."""
    failing = FailingFrom(store, "")
    leader = FakeLeader(store)
    bench = process(failing)
    follower = Asked(lambda: bench.cache.stream(request(), bench.loader(*own)))
    leader.await_follower()
    leader.say("a part ")
    assert follower.first.wait()
    failing.fail_in("read")
    until(lambda: bench.loads == 1)
    leader.say("of theirs")
    leader.write({"pieces": [END]})
    leader.write({"end": "landed"})
    failing.mend()
    assert follower.text() == f"a part {rest}"
    assert follower.error is None


def test_records_that_were_sent_twice_are_read_once(store: FakeSharedStore) -> None:
    leader, _, follower = following(store, "never")
    leader.say("one ")
    leader.write({"pieces": [Piece("one ")]}, number=0)
    leader.count = 1
    leader.write({"pieces": [Piece("two"), END]})
    leader.write({"end": "landed"})
    assert follower.text() == "one two"


def test_a_heartbeat_that_fails_is_repeated_with_all_that_it_had_to_say(
    store: FakeSharedStore,
) -> None:
    failing = FailingFrom(store, "")
    upstream = Gate()
    one, other = process(failing), process(store)
    leader, follower = lead_and_follow(one, other, upstream)
    failing.fail_in("heartbeat")
    upstream.go.set()
    assert leader.text() == follower.text() == "first second"
    assert other.loads == 0


def test_words_that_a_failing_store_did_not_take_are_sent_when_it_is_back(
    store: FakeSharedStore,
) -> None:
    failing = FailingFrom(store, "")
    upstream = Gate()
    one, other = process(failing), process(store)
    leader, follower = lead_and_follow(one, other, upstream)
    failing.fail_in("commit")
    upstream.go.set()
    assert leader.text() == "first second"
    assert one.refusals == ["cache_unavailable"]
    failing.mend()
    assert follower.text() == "first second"
    assert other.loads == 0
    until(lambda: not store._leases)


@pytest.mark.parametrize("newer", [False, True])
def test_a_load_that_lost_its_lease_is_kept_unless_one_was_asked_for_later(
    store: FakeSharedStore, newer: bool
) -> None:
    upstream = Gate()
    slow = Asked(lambda: process(store).cache.stream(request(), upstream))
    assert upstream.began.wait()
    store._leases.clear()
    if newer:
        process(store).ask(request(control=Control.REFRESH), "newest")
    upstream.go.set()
    assert slow.text() == "first second"
    kept = "newest" if newer else "first second"
    assert process(store).text(request(), "x") == kept


def test_a_load_that_nobody_took_over_takes_its_lease_again(
    store: FakeSharedStore,
) -> None:
    upstream = Gate()
    slow = Asked(lambda: process(store).cache.stream(request(), upstream))
    assert upstream.began.wait()
    store._leases.clear()
    until(lambda: bool(store._leases))
    follower = Asked(lambda: process(store).cache.stream(request(), upstream))
    assert follower.first.wait()
    upstream.go.set()
    assert slow.text() == follower.text() == "first second"
    assert upstream.loads == 1
