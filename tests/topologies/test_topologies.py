"""The store's contract on every form of Redis that a URL can name (scripts/test --all)."""

import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from servers import redis as servers
from servers import topologies

from cachecore.answer import Piece
from cachecore.cache import Cache
from cachecore.errors import StoreError
from cachecore.keys import Keyspace, flight_key, lease_key
from cachecore.policy import Switch
from cachecore.redis_url import parse
from cachecore.request import Request
from cachecore.stores.base import Heartbeat
from cachecore.stores.redis import RedisStore
from tests.chaos.traffic import Traffic, recovers, sound, troubled
from tests.contract.store_contract import SharedStoreContract

FORMS = [
    "standalone",
    "valkey",
    "unix",
    "tls",
    "tls with client certificates",
    "sentinel",
    "cluster",
]


@pytest.fixture(scope="module", params=FORMS)
def url(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("redis")
    match request.param:
        case "standalone":
            with servers.server() as (place, _):
                yield place
        case "valkey":
            with servers.valkey() as place:
                yield place
        case "unix":
            with topologies.unix(folder) as place:
                yield place
        case "tls":
            with topologies.tls(folder) as place:
                yield place
        case "tls with client certificates":
            with topologies.tls(folder, clients=True) as place:
                yield place
        case "sentinel":
            with topologies.sentinel(folder) as (place, _):
                yield place
        case "cluster":
            with topologies.cluster(folder) as place:
                yield place


class TestEveryForm(SharedStoreContract):
    @pytest.fixture
    def store(self, url: str) -> Iterator[RedisStore]:
        opened = RedisStore(parse(url), timeout=2)
        yield opened
        opened.close()

    @pytest.fixture
    def let_pass(self) -> Callable[[float], None]:
        return time.sleep


def ask(store: RedisStore, text: str) -> str:
    cache = Cache(store, Keyspace("t"))
    request = Request(kind="llm", label="m", form={"q": "a question"})
    pieces = cache.stream(request, lambda: iter([Piece(text, finish_reason="stop")]))
    return "".join(piece.text for piece in pieces)


def test_a_repeated_question_is_answered_through_every_form(url: str) -> None:
    store = RedisStore(parse(url), timeout=2)
    assert ask(store, "kept") == ask(store, "another") == "kept"
    store.close()


def test_a_failover_costs_hits_and_no_answer(tmp_path: Path) -> None:
    with topologies.sentinel(tmp_path) as (url, master):
        store = RedisStore(parse(url), timeout=0.2)
        assert ask(store, "kept") == "kept"
        master.kill()
        deadline = time.monotonic() + 30
        answers = set()
        while True:
            answers.add(ask(store, "from upstream"))
            try:
                store.check("t:check", "t:stamps")
                break
            except StoreError:
                assert time.monotonic() < deadline, "the new master was never found"
                time.sleep(0.2)
        assert answers <= {"kept", "from upstream"}
        assert ask(store, "new") in {"kept", "from upstream", "new"}
        store.close()


@pytest.mark.parametrize(
    ("scheme", "says"),
    [
        ("rediss://127.0.0.1:{port}", "could not be reached over TLS"),
        ("redis://127.0.0.1:{port}", ""),
    ],
    ids=["an authority that nobody knows", "plain text to a TLS port"],
)
def test_a_mistake_about_tls_is_one_sentence(
    tmp_path: Path, scheme: str, says: str
) -> None:
    with topologies.tls(tmp_path) as url:
        port = url.partition("127.0.0.1:")[2].partition("?")[0]
        store = RedisStore(parse(scheme.format(port=port)), timeout=2)
        with pytest.raises(StoreError) as raised:
            store.check("k", "h")
        assert says in str(raised.value)
        assert str(raised.value).endswith(".")


@pytest.mark.parametrize(
    "url", ["redis://{place}", "redis://:wrong@{place}", "redis://me:wrong@{place}"]
)
def test_a_missing_or_wrong_password_is_one_sentence(url: str) -> None:
    with servers.server("--requirepass", "right") as (plain, _):
        place = plain.removeprefix("redis://")
        store = RedisStore(parse(url.format(place=place)), timeout=2)
        with pytest.raises(StoreError, match="user name or password"):
            store.check("k", "h")
        right = RedisStore(parse(f"redis://:right@{place}"), timeout=2)
        right.check("k", "h")
        right.close()


def test_a_replica_is_distinguished_from_its_master() -> None:
    with servers.server() as (master, _):
        port = master.rpartition(":")[2]
        with servers.server("--replicaof", f"127.0.0.1 {port}") as (replica, _):
            store = RedisStore(parse(replica), timeout=2)
            with pytest.raises(StoreError, match="read-only replica"):
                store.check("k", "h")
            store.close()


def test_a_clusters_node_taken_for_a_server_is_one_sentence(tmp_path: Path) -> None:
    with topologies.cluster(tmp_path) as url:
        node = url.removeprefix("redis+cluster://").partition(",")[0]
        store = RedisStore(parse(f"redis://{node}"), timeout=2)
        # Some of twenty keys are on another node.
        with pytest.raises(StoreError, match=r"redis\+cluster://"):
            _ = [
                store.look_up(f"k{number}", f"h{number}", ["a"]) for number in range(20)
            ]
        store.close()


def test_a_full_redis_is_one_sentence_and_still_answers_hits() -> None:
    with servers.server("--maxmemory", "1mb", "--maxmemory-policy", "noeviction") as (
        url,
        _,
    ):
        store = RedisStore(parse(url), timeout=2)

        def fill() -> None:
            for number in range(1000):
                store.keep(f"k{number}", b"x" * 10_000, 60)

        with pytest.raises(StoreError, match="allkeys-lru"):
            fill()
        assert store.look_up("k0", "h", ["a"]).fields == (None,)
        store.close()


def test_a_frozen_redis_costs_one_wait_and_no_answer() -> None:
    """SIGSTOP: it accepts connections and answers nothing."""
    with servers.server() as (url, process):
        store = RedisStore(parse(url), timeout=0.05)
        assert ask(store, "kept") == "kept"
        process.send_signal(signal.SIGSTOP)
        try:
            assert [ask(store, "from upstream") for _ in range(50)] == [
                "from upstream"
            ] * 50
        finally:
            process.send_signal(signal.SIGCONT)
        deadline = time.monotonic() + 20
        while ask(store, "from upstream") != "kept":
            assert time.monotonic() < deadline, "the breaker never closed"
            time.sleep(0.1)
        store.close()


def test_a_failover_in_mid_load_costs_no_answer(tmp_path: Path) -> None:
    with topologies.sentinel(tmp_path) as (url, master), troubled(url) as traffic:
        killed: list[bool] = []

        def kill(passed: float) -> None:
            if passed > 0.5 and not killed:
                killed.append(True)
                master.kill()

        sound(traffic.run(3.0, kill), "failover by Sentinel")
        recovers(traffic)


def test_a_slot_that_moves_in_mid_load_costs_no_answer(tmp_path: Path) -> None:
    with topologies.cluster(tmp_path) as url, troubled(url) as traffic:
        moved: list[bool] = []

        def move(passed: float) -> None:
            if passed > 0.3 and not moved:
                moved.append(True)
                topologies.move_slots(url, 400)

        sound(traffic.run(2.0, move), "slots of a Cluster moved (MOVED, ASK)")
        recovers(traffic)


def documented_acl(namespace: str) -> list[str]:
    """The line of docs/correctness.md, word for word."""
    text = (Path(__file__).parents[2] / "docs" / "correctness.md").read_text()
    (line,) = (line for line in text.splitlines() if "ACL SETUSER <name>" in line)
    line = line.replace("<name>", "cache").replace("<password>", "secret-word")
    return line.strip().replace("<namespace>", namespace).split()


def test_the_documented_acl_line_is_all_that_a_namespace_needs_and_all_it_may() -> None:
    with servers.server() as (url, _):
        admin = redis.Redis.from_url(url)
        admin.execute_command(*documented_acl("mine"))
        place = url.replace("redis://", "redis://cache:secret-word@")
        own = Traffic(place, "mine", timeout=2)
        own.cache.admin.check()
        sound(own.run(0.5), "a user limited to its namespace")
        assert own.run(0.3).loads == 0
        leader = own.cache.find(Request(kind="llm", label="m", form={"q": 1}))
        stream = flight_key(leader.key, "t.m")
        own.store.claim(leader.key, lease_key(leader.key), "t.m", 60)
        own.store.read(stream, lease_key(leader.key), "t.m", "0", 0, subscribe=60)
        beat = Heartbeat(lease_key(leader.key), stream, "t.m", 1, records=(b"x",))
        assert own.store.heartbeat([beat]) == [2]
        own.cache.admin.invalidate(["*"])
        own.cache.admin.turn(Switch.OFF)
        # INFO is not in the ACL line: its facts are unknown, and nothing fails.
        assert own.store.facts() == []
        assert "closed" in repr(own.store)
        own.store.append("dify:cache:v1:mine:events", [b"{}"], 10, 60)
        other = Traffic(place, "theirs", timeout=2)
        with pytest.raises(StoreError, match="ACL"):
            other.cache.admin.check()
        for traffic in (own, other):
            traffic.close()
        admin.close()


def test_in_a_cluster_the_documented_rights_more_are_enough(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "correctness.md").read_text()
    more = re.findall(r"(\+[a-z|]+)", text[text.index("In a Cluster, the client") :])
    rights = [*documented_acl("mine"), *more[:3]]
    with topologies.cluster(tmp_path) as url:
        for place in url.removeprefix("redis+cluster://").split(","):
            node = redis.Redis.from_url(f"redis://{place}")
            node.execute_command(*rights)
            node.close()
        limited = url.replace("cluster://", "cluster://cache:secret-word@")
        own = Traffic(limited, "mine", timeout=2)
        own.cache.admin.check()
        sound(own.run(0.5), "a user limited to its namespace, in a Cluster")
        for _ in range(3):
            assert own.store.facts() == []
        assert "closed" in repr(own.store)
        assert own.run(0.3).loads == 0
        own.close()


@pytest.mark.parametrize(
    ("option", "says"),
    [
        (("--maxmemory", "0"), "no maxmemory"),
        (("--maxmemory", "50mb", "--maxmemory-policy", "noeviction"), "allkeys-lru"),
    ],
)
def test_a_redis_that_is_set_up_badly_earns_advice_and_no_error(
    option: tuple[str, ...], says: str
) -> None:
    with servers.server(*option) as (url, _):
        traffic = Traffic(url, timeout=2)
        (advice,) = traffic.cache.admin.check()
        assert says in advice
        traffic.close()


def test_difys_own_redis_earns_advice_and_no_error() -> None:
    with servers.server("--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru") as (
        url,
        _,
    ):
        traffic = Traffic(url, timeout=2)
        assert traffic.cache.admin.check() == ()
        client = redis.Redis.from_url(url)
        client.sadd("_kombu.binding.celery", "x")
        client.close()
        (advice,) = traffic.cache.admin.check()
        assert "of its own" in advice
        traffic.close()
