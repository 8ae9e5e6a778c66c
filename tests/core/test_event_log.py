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


class Told:
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
        told = [
            orjson.loads(e) for _, e in self.memory.tail(self.keyspace.events, "", 1000)
        ]
        return [
            dict(zip(record["fields"], row, strict=True))
            for record in told
            for row in record["rows"]
        ]


def asking(question: str = "how much?"):
    return request(question, asked=lambda: question)


def test_an_answer_is_logged_by_sizes_and_without_its_text() -> None:
    told = Told()
    told.bench.ask(asking(), "seven ", "euros")
    told.bench.ask(asking())
    miss, hit = told.records
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
    told = Told()
    leading = told.bench.cache.stream(asking(), told.bench.loader("seven ", "euros"))
    next(leading)
    following = told.bench.cache.stream(asking(), told.bench.loader("another load"))
    next(following)
    for answer in (leading, following):
        list(answer)
    told.bench.ask(asking())
    rows = sorted(told.records, key=lambda row: str(row["result"]))
    assert [row["result"] for row in rows] == ["hit", "miss", "shared"]
    hit, miss, shared = (row["load"] for row in rows)
    assert miss
    assert miss == shared
    assert hit == ""


def test_texts_are_logged_if_the_operator_chose_so_and_are_sealed() -> None:
    told = Told(texts=True, secret=SECRET)
    told.bench.ask(asking(), "seven ", "euros")
    (record,) = told.records
    sealed = bytes.fromhex(record["texts"])
    assert b"seven" not in sealed
    opened = entry.unseal(sealed, told.keyspace.events, SECRET)
    assert orjson.loads(opened) == {"question": "how much?", "answer": "seven euros"}
    assert len(record["question"]) == 12


def test_events_that_could_not_be_written_are_written_next_time() -> None:
    told = Told()
    told.failing.fail_in("append")
    told.bench.ask(asking())
    with pytest.raises(StoreError):
        told.event_log.flush()
    told.failing.mend()
    assert len(told.records) == 1
    assert told.lost == []


def test_events_over_the_limit_are_dropped_and_counted() -> None:
    told = Told()
    told.event_log._room = 3 * event_log._ROW
    for number in range(5):
        told.bench.ask(asking(str(number)))
    assert sum(told.lost) == 2
    assert len(told.records) == 3
    told.bench.ask(asking())
    assert len(told.records) == 4


def test_one_write_is_bounded_in_bytes(monkeypatch) -> None:
    monkeypatch.setattr(event_log, "_MAX_BYTES_AT_ONCE", 5000)
    told = Told(texts=True)
    for number in range(6):
        told.bench.ask(asking(str(number)), "a" * 500)
    assert len(told.records) == 6
    assert told.failing.calls.count("append") == 3


def test_no_more_wait_than_cost_little_to_tell(monkeypatch) -> None:
    monkeypatch.setattr(event_log, "_MAX_ROWS_WAITING", 3)
    told = Told()
    for number in range(5):
        told.bench.ask(asking(str(number)))
    assert len(told.records) == 3
    assert sum(told.lost) == 2


def test_a_record_has_so_many_rows_at_most() -> None:
    told = Told()
    for number in range(120):
        told.bench.ask(asking(str(number)))
    assert len(told.records) == 120
    assert len(told.memory._logs[told.keyspace.events]) == 3
    assert told.failing.calls.count("append") == 1


def test_events_that_the_store_always_refuses_are_dropped_and_counted() -> None:
    told = Told()
    told.failing.fail_in("append")
    told.bench.ask(asking())
    for _ in range(3):
        with pytest.raises(StoreError):
            told.event_log.flush()
    assert told.lost == [1]
    told.failing.mend()
    told.bench.ask(asking())
    assert len(told.records) == 1


def test_a_request_that_cannot_be_logged_is_answered() -> None:
    told = Told()

    def fails():
        raise ValueError("a fault of ours")

    broken = request(asked=fails, parts=fails)
    assert told.bench.text(broken, "fine") == "fine"
    assert told.bench.text(broken) == "fine"
    assert sum(told.lost) == 2


def test_calls_of_the_cache_itself_are_not_reported() -> None:
    told = Told()
    told.bench.ask(request(label=INTERNAL))
    told.bench.ask(asking())
    assert [record["label"] for record in told.records] == ["m"]


def test_a_name_that_is_no_text_fails_no_answer() -> None:
    told = Told()
    assert told.bench.text(request(label="half \ud83d"), "fine") == "fine"
    told.bench.ask(asking())
    assert [record["label"] for record in told.records] == ["m"]
    assert told.lost == [1]


def test_a_failed_answer_is_logged_as_failed() -> None:
    told = Told()

    def load():
        yield Piece(text="half")
        raise ConnectionError

    with pytest.raises(ConnectionError):
        list(told.bench.cache.stream(asking(), load))
    (record,) = told.records
    assert (record["result"], record["finish_reason"]) == ("failed", None)


def test_long_texts_are_cut(monkeypatch) -> None:
    monkeypatch.setattr(event_log, "_MAX_TEXT", 10)
    told = Told(texts=True)
    told.bench.ask(asking("q" * 50), "a" * 8, "b" * 8, "c" * 8)
    (record,) = told.records
    text = entry.unseal(bytes.fromhex(record["texts"]), told.keyspace.events)
    assert orjson.loads(text) == {"question": "q" * 10, "answer": "a" * 8 + "b" * 2}
    assert record["answer_characters"] == 24


def test_usage_is_the_last_that_came() -> None:
    told = Told()
    end = Piece(finish_reason="stop", usage=Usage(3, 4))
    told.bench.ask(asking(), "x", end=end)
    assert told.records[0]["completion_tokens"] == 4
