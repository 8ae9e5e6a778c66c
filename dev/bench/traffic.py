"""A day of a shop's assistant: hit rate, times and money, with and without a cache.

Questions are drawn from ``faq`` by a Zipf law with a fixed seed; a fifth of them occur
only once. The cache's clock is that of the day, and its Redis is real. The model's time
is drawn for each question and added, not slept. Five times a day a page of the FAQ
changes, and all answers of its topic are invalidated.
"""

import random
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import redis
from servers import redis as servers

from bench.faq import Question, questions
from bench.measure import Result
from bench.texts import random_prose
from cachecore.answer import Piece, Usage
from cachecore.cache import Cache, RequestState
from cachecore.config import read_ttl
from cachecore.keys import Keyspace
from cachecore.policy import HITS, Price, Rules
from cachecore.redis_url import parse
from cachecore.request import Request
from cachecore.stores.redis import RedisStore

LAWS = (0.7, 0.9, 1.1)
_DAY = 86_400
_NEVER_AGAIN = 0.2
_PAGES_CHANGED = 5
# Dollars for a million tokens, in and out, as small models cost today; and the tokens
# of the prompt around a question.
_PRICE = Price(0.15, 0.6)
_PROMPT = 1_500
_CHARACTERS = {"en": 4.0, "zh": 1.5}  # of a token
# Seconds past its lifetime in which an answer is served while it is refreshed.
_LAG = 3600


@dataclass(frozen=True)
class _Asked:
    at: float
    question: Question
    answer: str
    seconds: float  # the model's time for it


@dataclass
class _Day:
    """The result of a day. ``paid`` in dollars, ``times`` in milliseconds."""

    hits: int = 0
    paid: float = 0.0
    evicted: int = 0
    times: list[float] = field(default_factory=list)


def run(
    *, requests: int, laws: Sequence[float] = LAWS, quick: bool = False, seed: int = 20
) -> Iterator[Result]:
    """For each law: hit rate against the best possible, P50 and P99, money; then a full Redis."""
    for law in laws:
        trace = _trace(law, requests, seed)
        best = 1 - len({asked.question.text for asked in trace}) / requests
        with servers.server() as (url, _):
            before = _used(url)
            day = _replay(url, trace)
            used = _used(url) - before
        rate = day.hits / requests
        where = f"Zipf {law}"
        yield Result(
            f"traffic, {where}: hit rate / the best",
            100 * rate,
            100 * best,
            rate / best,
            (rate / best, rate / best),
            None if quick else 0.95,
            of="%",
            least=True,
        )
        if law == LAWS[-1] and not quick:
            yield Result(
                f"traffic, {where}: hit rate",
                100 * rate,
                100 * best,
                rate,
                (rate, rate),
                0.6,
                of="%",
                least=True,
            )
        yield from _told(where, day, trace)
        if quick:
            continue
        small = before + used * 2 // 5
        options = ("--maxmemory", str(small), "--maxmemory-policy", "allkeys-lru")
        with servers.server(*options) as (url, _):
            lacking = _replay(url, trace)
        if not lacking.evicted:
            raise AssertionError("no entry was evicted: the memory was large enough")
        share = lacking.hits / day.hits
        yield Result(
            f"traffic, {where}: hit rate in 2/5 of the memory",
            100 * lacking.hits / requests,
            100 * rate,
            share,
            (share, share),
            of="%",
        )


def _told(where: str, day: _Day, trace: list[_Asked]) -> Iterator[Result]:
    without = [1e3 * asked.seconds for asked in trace]
    for name, place in (("P50", 49), ("P99", 98)):
        ours, theirs = (
            statistics.quantiles(times, n=100)[place] for times in (day.times, without)
        )
        share = ours / theirs
        yield Result(
            f"traffic, {where}: {name} / without",
            ours,
            theirs,
            share,
            (share, share),
            of="ms",
        )
    bill = sum(_cost(asked) for asked in trace)
    share = day.paid / bill
    yield Result(
        f"traffic, {where}: paid / without",
        100 * day.paid,
        100 * bill,
        share,
        (share, share),
        of="ct",
    )


def _trace(law: float, requests: int, seed: int) -> list[_Asked]:
    rng = random.Random(seed)
    known = questions()
    rng.shuffle(known)
    answers: dict[str, tuple[str, float]] = {}
    weights = list(accumulate(1 / rank**law for rank in range(1, len(known) + 1)))
    # The middle of the day is busier than the night.
    moments = sorted(rng.triangular(0, _DAY, 0.6 * _DAY) for _ in range(requests))
    trace = []
    for number, at in enumerate(moments):
        if rng.random() < _NEVER_AGAIN:
            text = f"Where is my order {number}-{rng.randrange(10**6)}?"
            question = Question(text, "orders", "volatile", "en")
        else:
            question = rng.choices(known, cum_weights=weights)[0]
        if question.text not in answers:
            size = int(min(8_000, rng.lognormvariate(6.8, 0.6)))
            text = random_prose(size, question.language, rng)
            seconds = rng.lognormvariate(-0.7, 0.4) + 0.02 * _tokens(question, text)
            answers[question.text] = text, seconds
        trace.append(_Asked(at, question, *answers[question.text]))
    return trace


def _replay(url: str, trace: list[_Asked]) -> _Day:
    now, day = 1_800_000_000.0, _Day()
    began = now
    cache = Cache(RedisStore(parse(url), 2.0), Keyspace("traffic"), clock=lambda: now)
    topics = sorted({asked.question.topic for asked in trace})
    changes = [
        (_DAY * (n + 1) / (_PAGES_CHANGED + 1), n) for n in range(_PAGES_CHANGED)
    ]
    rules = Rules(price=_PRICE, stale_while_revalidate=_LAG)
    for asked in trace:
        while changes and asked.at >= changes[0][0]:
            cache.admin.invalidate(
                [f"topic:{topics[7 * changes.pop(0)[1] % len(topics)]}"]
            )
        now = began + asked.at
        loads: list[float] = []

        def load(asked: _Asked = asked, loads: list[float] = loads) -> list[Piece]:
            loads.append(_cost(asked))
            tokens = int(_tokens(asked.question, asked.answer))
            return [Piece(asked.answer, (), "stop", Usage(_PROMPT, tokens))]

        request = Request(
            "llm",
            "m",
            {"question": asked.question.text},
            rules,
            tags=(f"topic:{asked.question.topic}",),
            ttl=read_ttl(asked.question.lifetime),
        )
        state, started = RequestState(), time.perf_counter()
        said = "".join(piece.text for piece in cache.stream(request, load, state=state))
        took = time.perf_counter() - started
        if said != asked.answer:
            raise AssertionError("the answer of another question")
        hit = state.look is not None and state.look.reason in HITS
        day.hits += hit
        day.times.append(1e3 * (took if hit else took + asked.seconds))
        _settle()
        day.paid += sum(loads)
    client = redis.Redis.from_url(url)
    day.evicted = client.info("stats")["evicted_keys"]
    client.close()
    return day


def _settle() -> None:
    """Wait for a refresh in the background: a day has a minute between two questions."""
    for thread in threading.enumerate():
        if thread.name == "cache-refresh":
            thread.join()


def _cost(asked: _Asked) -> float:
    return _PRICE.of(_PROMPT, int(_tokens(asked.question, asked.answer)))


def _tokens(question: Question, text: str) -> float:
    return len(text) / _CHARACTERS[question.language]


def _used(url: str) -> int:
    client = redis.Redis.from_url(url)
    used: int = client.info("memory")["used_memory"]
    client.close()
    return used
