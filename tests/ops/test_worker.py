"""From an answer of a plugin to Elasticsearch, over real brokers."""

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import redis
from kombu import Connection
from servers.elasticsearch import elasticsearch
from servers.programs import Missing, running, wait
from servers.rabbitmq import rabbitmq
from servers.redis import free_port, server

from answer_worker.queues import DEAD
from devhost.host import Host
from tests.fake_upstream import FakeUpstream
from tests.integration.test_plugins_in_the_host import ask
from tests.ops.conftest import ROOT
from tests.ops.fake_elasticsearch import fake_elasticsearch

SECRET = "a long secret of the cache"
PLUGGED = ",".join(
    f"answer_worker.examples.{name}"
    for name in ("behaviour:record", "survey:trigger", "scoring:score")
)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Elasticsearch where there is Java; otherwise the fake, and a message."""
    folder = tmp_path_factory.mktemp("elasticsearch")
    with ExitStack() as stack:
        try:
            yield stack.enter_context(elasticsearch(folder))
        except Missing as missing:
            print(f"a fake Elasticsearch: {missing}")
            yield stack.enter_context(fake_elasticsearch(free_port()))


@pytest.fixture(scope="module", params=["rabbitmq", "redis"])
def broker(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    if request.param == "rabbitmq":
        with rabbitmq(tmp_path_factory.mktemp("rabbitmq")) as url:
            yield url
    else:
        with server() as (url, _):
            yield f"{url}/0"


class Worker:
    """A relay and a Celery worker, as the deployment starts them."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self._folder, self._environ = folder, environ

    def said(self, who: str) -> str:
        """The logs of the relays or of the workers."""
        return "".join(p.read_text() for p in self._folder.glob(f"{who}-*.log"))

    @contextmanager
    def relay(self) -> Iterator[Any]:
        log = self._folder / f"relay-{uuid.uuid4().hex[:4]}.log"
        with running(
            *(sys.executable, "-m", "answer_worker.relay"),
            env=self._environ,
            log=log,
            ready=lambda: b"relaying" in log.read_bytes(),
        ) as process:
            yield process

    @contextmanager
    def celery(self) -> Iterator[Any]:
        log = self._folder / f"celery-{uuid.uuid4().hex[:4]}.log"
        with running(
            *(sys.executable, "-m", "celery", "-A", "answer_worker.app", "worker"),
            *("--loglevel", "INFO", "--concurrency", "2", "--without-gossip"),
            env=self._environ,
            log=log,
            ready=lambda: b"ready." in log.read_bytes(),
            within=40,
        ) as process:
            yield process


@pytest.fixture
def surveys() -> Iterator[tuple[str, list[Any]]]:
    asked: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            asked.append((self.headers["Idempotency-Key"], json.loads(body)))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{made.server_port}/", asked
    made.shutdown()
    made.server_close()


@pytest.fixture
def environ(
    fields: dict[str, str], broker: str, index: str, surveys: tuple[str, list[Any]]
) -> dict[str, str]:
    name = f"test-{uuid.uuid4().hex[:8]}"
    return {
        "PYTHONPATH": f"{ROOT}:{ROOT / 'ops' / 'worker'}",
        "ANSWER_CACHE_WORKER_REDIS_URL": fields["redis_url"],
        "ANSWER_CACHE_WORKER_NAMESPACES": fields["cache_namespace"],
        "ANSWER_CACHE_WORKER_CACHE_SECRET": SECRET,
        "ANSWER_CACHE_WORKER_BROKER_URL": broker,
        "ANSWER_CACHE_WORKER_ELASTICSEARCH_URL": index,
        "ANSWER_CACHE_WORKER_INDEX": name,
        "ANSWER_CACHE_WORKER_TASKS": PLUGGED,
        "ANSWER_CACHE_WORKER_FIRST_PAUSE": "0.3",
        "ANSWER_CACHE_WORKER_SURVEY_URL": surveys[0],
        "ANSWER_CACHE_WORKER_SURVEY_EVERY": "1",
    }


@pytest.fixture
def worker(tmp_path: Path, environ: dict[str, str]) -> Worker:
    return Worker(tmp_path, environ)


@pytest.fixture
def answers(
    host: Host, form: dict[str, str], upstream: FakeUpstream
) -> Callable[..., None]:
    """Answers of the plugin, with their texts in the events."""
    with_texts = {**form, "cache_secret": SECRET}
    with_texts["cache_options"] += ", events: texts"

    def ask_all(*questions: str) -> None:
        for question in questions:
            ask(host, with_texts, question)

    return ask_all


def found(environ: dict[str, str]) -> dict[str, dict[str, Any]]:
    """All documents of the index, by id."""
    place = environ["ANSWER_CACHE_WORKER_ELASTICSEARCH_URL"]
    place += f"/{environ['ANSWER_CACHE_WORKER_INDEX']}"
    try:
        urllib.request.urlopen(urllib.request.Request(place + "/_refresh", b"")).close()
        with urllib.request.urlopen(place + "/_search?size=500") as reply:
            hits = json.load(reply)["hits"]["hits"]
    except urllib.error.HTTPError:  # no such index yet
        return {}
    return {hit["_id"]: hit["_source"] for hit in hits}


def dead(broker: str) -> list[Any]:
    """Take the messages out of the queue of failed events."""
    with Connection(broker) as connection:
        queue = connection.SimpleQueue(DEAD)
        taken = []
        with suppress(queue.Empty):
            while True:
                message = queue.get(timeout=0.2)
                taken.append(message.payload)
                message.ack()
        queue.close()
        return taken


def test_each_answer_is_shipped_once_and_handed_to_what_is_plugged_in(
    worker: Worker,
    environ: dict[str, str],
    answers: Callable[..., None],
    surveys: tuple[str, list[Any]],
) -> None:
    with worker.relay(), worker.celery():
        answers("how are you", "how are you", "another one")
        wait(lambda: len(found(environ)) >= 12, 40)
        documents = found(environ)
    plain = [one for one in documents.values() if "task" not in one]
    assert sorted(one["result"] for one in plain) == ["hit", "miss", "miss"]
    assert {one["namespace"] for one in plain} == {
        environ["ANSWER_CACHE_WORKER_NAMESPACES"]
    }
    assert all("@timestamp" in one for one in plain)
    # Texts go no further than the operator has allowed.
    assert "how are you" not in str(documents)
    assert "texts" not in str(documents)
    by_task: dict[str, list[Any]] = {}
    for one in documents.values():
        by_task.setdefault(one.get("task", ""), []).append(one)
    assert [
        len(by_task[name])
        for name in tuple(PLUGGED.split(",")[place] for place in (0, 2, 1))
    ] == [3, 3, 3]
    assert sum(one["cached"] for one in by_task[PLUGGED.split(",")[0]]) == 1
    scored = by_task[PLUGGED.split(",")[2]]
    # An echo is reported from three words on: "another one" has two.
    assert sorted("echo" in one["faults"] for one in scored) == [False, True, True]
    assert len({key for key, _ in surveys[1]}) == 3


@pytest.mark.parametrize("broker", ["redis"], indirect=True)
def test_an_event_that_is_delivered_twice_is_one_document(
    worker: Worker, environ: dict[str, str], answers: Callable[..., None]
) -> None:
    with worker.relay(), worker.celery():
        answers("once", "once")
        wait(lambda: len(found(environ)) >= 8, 40)
        before = set(found(environ))
    with redis.Redis.from_url(environ["ANSWER_CACHE_WORKER_REDIS_URL"]) as client:
        stream = f"dify:cache:v1:{environ['ANSWER_CACHE_WORKER_NAMESPACES']}:events"
        client.xgroup_setid(stream, "answer-worker", "0")
        assert client.xpending(stream, "answer-worker")["pending"] == 0
        with worker.relay(), worker.celery():
            last = client.xinfo_stream(stream)["last-generated-id"]
            wait(
                lambda: client.xinfo_groups(stream)[0]["last-delivered-id"] == last, 20
            )
            answers("a new one, so that it is known when the old are through")
            wait(lambda: len(found(environ)) >= 12, 40)
    assert before < set(found(environ))
    assert len(found(environ)) == 12


@pytest.mark.parametrize("broker", ["rabbitmq"], indirect=True)
def test_texts_are_shipped_where_the_operator_says_so(
    worker: Worker, environ: dict[str, str], answers: Callable[..., None]
) -> None:
    environ["ANSWER_CACHE_WORKER_SHIP_TEXTS"] = "yes"
    environ["ANSWER_CACHE_WORKER_TASKS"] = ""
    with worker.relay(), worker.celery():
        answers("what is it")
        wait(lambda: len(found(environ)) >= 1, 40)
    (document,) = found(environ).values()
    assert document["question_text"] == "what is it"
    assert document["answer_text"] == "echo: what is it"


def test_events_of_an_outage_are_shipped_after_it(
    worker: Worker,
    environ: dict[str, str],
    answers: Callable[..., None],
    tmp_path: Path,
) -> None:
    port = free_port()
    environ["ANSWER_CACHE_WORKER_ELASTICSEARCH_URL"] = f"http://127.0.0.1:{port}"
    environ["ANSWER_CACHE_WORKER_TASKS"] = ""
    answers("while nobody listened")  # no relay, no worker, no Elasticsearch
    with worker.relay(), worker.celery() as process:
        answers("while Elasticsearch was away")
        wait(lambda: "retry of a bulk" in worker.said("celery"), 20)
        with fake_elasticsearch(port):
            wait(lambda: len(found(environ)) >= 2, 40)
            # The tasks of a killed worker are delayed, and not lost.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            answers("while no worker was there")
            with worker.celery():
                wait(lambda: len(found(environ)) >= 3, 40)


def test_a_document_that_is_refused_is_kept_for_people_to_look_at(
    worker: Worker, environ: dict[str, str], answers: Callable[..., None], broker: str
) -> None:
    index = environ["ANSWER_CACHE_WORKER_ELASTICSEARCH_URL"]
    with urllib.request.urlopen(index) as reply:
        real = "cluster_name" in json.load(reply)
    if not real:
        pytest.skip("the fake has no mappings, and refuses no document for them")
    mapping = {"mappings": {"properties": {"seconds": {"type": "ip"}}}}
    request = urllib.request.Request(
        f"{index}/{environ['ANSWER_CACHE_WORKER_INDEX']}",
        json.dumps(mapping).encode(),
        {"Content-Type": "application/json"},
        method="PUT",
    )
    urllib.request.urlopen(request).close()
    environ["ANSWER_CACHE_WORKER_TASKS"] = ""
    dead(broker)
    lying: list[Any] = []

    def mine() -> list[Any]:
        # Messages of another test's worker may be there as well.
        lying.extend(dead(broker))
        size = len("refused")
        return [one for one in lying if one["event"]["question_characters"] == size]

    with worker.relay(), worker.celery():
        answers("refused")
        wait(lambda: bool(mine()), 40)
    refused = mine()[0]
    assert refused["reason"].startswith("Elasticsearch: ")
    assert found(environ) == {}
    # The cause of the failure is removed, and the messages are delivered again.
    place = f"{index}/{environ['ANSWER_CACHE_WORKER_INDEX']}"
    urllib.request.urlopen(urllib.request.Request(place, method="DELETE")).close()
    with Connection(broker) as connection:
        again = connection.SimpleQueue(DEAD)
        again.put(refused)
        again.close()
    with worker.celery():
        replay = [sys.executable, "-m", "answer_worker.replay"]
        done = subprocess.run(
            replay, env={**os.environ, **environ}, capture_output=True, check=True
        )
        assert b"1 handed over anew" in done.stdout
        wait(lambda: len(found(environ)) == 1, 40)


@pytest.mark.parametrize("broker", ["redis"], indirect=True)
def test_a_record_that_is_none_of_ours_holds_nobody_up(
    worker: Worker, environ: dict[str, str], answers: Callable[..., None]
) -> None:
    environ["ANSWER_CACHE_WORKER_TASKS"] = ""
    stream = f"dify:cache:v1:{environ['ANSWER_CACHE_WORKER_NAMESPACES']}:events"
    head = {"version": 1, "writer": "w", "namespace": "n", "fields": ["number", "at"]}
    with redis.Redis.from_url(environ["ANSWER_CACHE_WORKER_REDIS_URL"]) as client:
        for bad in (
            b"no JSON",
            json.dumps({**head, "rows": [[1, None]]}),
            json.dumps({**head, "rows": [[1, 1e300]]}),
            json.dumps({**head, "rows": 5}),
            json.dumps({**head, "version": 99, "rows": []}),
        ):
            client.xadd(stream, {"e": bad})
        with worker.relay(), worker.celery():
            answers("a good one")
            wait(lambda: len(found(environ)) == 1, 40)
            # A record of a newer plugin waits for a newer worker. All others are
            # acknowledged, a little later than they are shipped.
            group = "answer-worker"
            wait(lambda: client.xpending(stream, group)["pending"] == 1, 40)


@pytest.mark.parametrize("broker", ["redis"], indirect=True)
def test_a_setting_that_is_missing_is_one_sentence(environ: dict[str, str]) -> None:
    for name, value, said in (
        ("REDIS_URL", "", "ANSWER_CACHE_WORKER_REDIS_URL is empty"),
        ("BROKER_URL", "", "ANSWER_CACHE_WORKER_BROKER_URL is empty"),
        ("BROKER_URL", "ampq://u:s3cret@h", "ANSWER_CACHE_WORKER_BROKER_URL is no URL"),
        ("NAMESPACES", "", "ANSWER_CACHE_WORKER_NAMESPACES is empty"),
        ("NAMESPACES", " , ", "ANSWER_CACHE_WORKER_NAMESPACES must be"),
        ("NAMESPACES", "Shop Floor", "ANSWER_CACHE_WORKER_NAMESPACES must be"),
        (
            "ELASTICSEARCH_URL",
            "https://u:s3cret#@h",
            "ANSWER_CACHE_WORKER_ELASTICSEARCH_URL",
        ),
        ("TASKS", "os:nothing", "ANSWER_CACHE_WORKER_TASKS names"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "answer_worker.relay"],
            env={**os.environ, **environ, f"ANSWER_CACHE_WORKER_{name}": value},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert done.stderr.startswith(said)
        assert "Traceback" not in done.stderr
        assert "s3cret" not in done.stderr
