import orjson
import pytest

from cachecore import entry, event_log
from cachecore.answer import Piece, Usage
from cachecore.background import Background
from cachecore.errors import StoreError
from cachecore.event_log import EventLog
from cachecore.events import INTERNAL
from cachecore.keys import Keyspace
from cachecore.stores.memory import MemoryStore
from tests.core.helpers import Bench, FailingFrom, request

SECRET = b"s" * 32


class Logged:
    """A cache with an event log over one store, and the events in the log."""

    def __init__(self, *, texts: bool = False, secret: bytes | None = None) -> None:
        self.memory = MemoryStore()
        self.failing = FailingFrom(self.memory, "append")
        self.failing.mend()
        self.keyspace = Keyspace("n", secret)
        self.lost: list[int] = []
        self.cipher_key = secret
        self.event_log = EventLog(
            self.failing,
            self.keyspace,
            Background(at_once=True),
            lambda: 5.0,
            lambda count, _: self.lost.append(count),
            texts,
            secret,
        )
        self.bench = Bench(event_log=self.event_log, keyspace=self.keyspace)

    @property
    def records(self) -> list[dict[str, object]]:
        self.event_log.flush()
        logged = [
            orjson.loads(e) for _, e in self.memory.tail(self.keyspace.events, "", 1000)
        ]
        return [
            dict(zip(record["fields"], row, strict=True))
            for record in logged
            for row in record["rows"]
        ]


def asking(question: str = "how much?"):
    return request(question, asked=lambda: question)


def test_an_answer_is_logged_by_sizes_and_without_its_text() -> None:
    logged = Logged()
    logged.bench.ask(asking(), "seven ", "euros")
    logged.bench.ask(asking())
    miss, hit = logged.records
    assert (miss["result"], hit["result"]) == ("miss", "hit")
    assert miss["question_characters"] == len("how much?")
    assert miss["answer_characters"] == hit["answer_characters"] == len("seven euros")
    assert (miss["prompt_tokens"], miss["billed"], hit["billed"]) == (7, True, False)
    assert miss["key"] == hit["key"] != ""
    assert miss["number"] != hit["number"]
    everything = str(miss) + str(hit)
    assert "seven" not in everything
    assert "much" not in everything
    assert miss["question"] == ""  # anybody could test guesses against a digest


def test_those_whom_one_load_answered_name_it_and_a_hit_names_none() -> None:
    logged = Logged()
    leading = logged.bench.cache.stream(
        asking(), logged.bench.loader("seven ", "euros")
    )
    next(leading)
    following = logged.bench.cache.stream(asking(), logged.bench.loader("another load"))
    next(following)
    for answer in (leading, following):
        list(answer)
    logged.bench.ask(asking())
    rows = sorted(logged.records, key=lambda row: str(row["result"]))
    assert [row["result"] for row in rows] == ["hit", "miss", "shared"]
    hit, miss, shared = (row["load"] for row in rows)
    assert miss
    assert miss == shared
    assert hit == ""


def test_texts_are_logged_if_the_operator_chose_so_and_are_sealed() -> None:
    logged = Logged(texts=True, secret=SECRET)
    logged.bench.ask(asking(), "seven ", "euros")
    (record,) = logged.records
    sealed = bytes.fromhex(record["texts"])
    assert b"seven" not in sealed
    opened = entry.unseal(sealed, logged.keyspace.events, SECRET)
    assert orjson.loads(opened) == {"question": "how much?", "answer": "seven euros"}
    assert len(record["question"]) == 12


def test_events_that_could_not_be_written_are_written_next_time() -> None:
    logged = Logged()
    logged.failing.fail_in("append")
    logged.bench.ask(asking())
    with pytest.raises(StoreError):
        logged.event_log.flush()
    logged.failing.mend()
    assert len(logged.records) == 1
    assert logged.lost == []


def test_events_over_the_limit_are_dropped_and_counted() -> None:
    logged = Logged()
    logged.event_log._room = 3 * event_log._ROW
    for number in range(5):
        logged.bench.ask(asking(str(number)))
    assert sum(logged.lost) == 2
    assert len(logged.records) == 3
    logged.bench.ask(asking())
    assert len(logged.records) == 4


def test_one_write_is_bounded_in_bytes(monkeypatch) -> None:
    monkeypatch.setattr(event_log, "_MAX_BYTES_AT_ONCE", 5000)
    logged = Logged(texts=True)
    for number in range(6):
        logged.bench.ask(asking(str(number)), "a" * 500)
    assert len(logged.records) == 6
    assert logged.failing.calls.count("append") == 3


def test_no_more_wait_than_cost_little_to_tell(monkeypatch) -> None:
    monkeypatch.setattr(event_log, "_MAX_ROWS_WAITING", 3)
    logged = Logged()
    for number in range(5):
        logged.bench.ask(asking(str(number)))
    assert len(logged.records) == 3
    assert sum(logged.lost) == 2


def test_a_record_has_so_many_rows_at_most() -> None:
    logged = Logged()
    for number in range(120):
        logged.bench.ask(asking(str(number)))
    assert len(logged.records) == 120
    assert len(logged.memory._logs[logged.keyspace.events]) == 3
    assert logged.failing.calls.count("append") == 1


def test_events_that_the_store_always_refuses_are_dropped_and_counted() -> None:
    logged = Logged()
    logged.failing.fail_in("append")
    logged.bench.ask(asking())
    for _ in range(3):
        with pytest.raises(StoreError):
            logged.event_log.flush()
    assert logged.lost == [1]
    logged.failing.mend()
    logged.bench.ask(asking())
    assert len(logged.records) == 1


def test_a_request_that_cannot_be_logged_is_answered() -> None:
    logged = Logged()

    def fails():
        raise ValueError("a fault of ours")

    broken = request(asked=fails, parts=fails)
    assert logged.bench.text(broken, "fine") == "fine"
    assert logged.bench.text(broken) == "fine"
    assert sum(logged.lost) == 2


def test_calls_of_the_cache_itself_are_not_reported() -> None:
    logged = Logged()
    logged.bench.ask(request(label=INTERNAL))
    logged.bench.ask(asking())
    assert [record["label"] for record in logged.records] == ["m"]


def test_a_name_that_is_no_text_fails_no_answer() -> None:
    logged = Logged()
    assert logged.bench.text(request(label="half \ud83d"), "fine") == "fine"
    logged.bench.ask(asking())
    assert [record["label"] for record in logged.records] == ["m"]
    assert logged.lost == [1]


def test_a_failed_answer_is_logged_as_failed() -> None:
    logged = Logged()

    def load():
        yield Piece(text="half")
        raise ConnectionError

    with pytest.raises(ConnectionError):
        list(logged.bench.cache.stream(asking(), load))
    (record,) = logged.records
    assert (record["result"], record["finish_reason"]) == ("failed", None)


def test_long_texts_are_cut(monkeypatch) -> None:
    monkeypatch.setattr(event_log, "_MAX_TEXT", 10)
    logged = Logged(texts=True)
    logged.bench.ask(asking("q" * 50), "a" * 8, "b" * 8, "c" * 8)
    (record,) = logged.records
    text = entry.unseal(bytes.fromhex(record["texts"]), logged.keyspace.events)
    assert orjson.loads(text) == {"question": "q" * 10, "answer": "a" * 8 + "b" * 2}
    assert record["answer_characters"] == 24


def test_usage_is_the_last_that_came() -> None:
    logged = Logged()
    end = Piece(finish_reason="stop", usage=Usage(3, 4))
    logged.bench.ask(asking(), "x", end=end)
    assert logged.records[0]["completion_tokens"] == 4
