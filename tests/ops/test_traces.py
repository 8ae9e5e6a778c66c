"""Answers as spans of OpenTelemetry, from the plugin's stream to a collector."""

import gzip
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import redis
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)
from opentelemetry.sdk.trace import ReadableSpan

from answer_worker import events, traces
from cachecore.keys import Keyspace
from devhost.host import Host
from tests.fake_upstream import FakeUpstream, Script
from tests.integration.test_plugins_in_the_host import ask
from tests.ops.conftest import ROOT


@dataclass
class FakeCollector:
    """A fake: it decodes requests with OpenTelemetry's own messages, and keeps them."""

    url: str = ""
    spans: list[Any] = field(default_factory=list)
    resources: list[Any] = field(default_factory=list)


@contextmanager
def fake_collector() -> Iterator[FakeCollector]:
    collector = FakeCollector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                data = gzip.decompress(data)
            request = ExportTraceServiceRequest.FromString(data)
            for resource in request.resource_spans:
                collector.resources.append(resource.resource)
                for scope in resource.scope_spans:
                    collector.spans += scope.spans
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    collector.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()


def logged_events(
    form: dict[str, str], count: int, patience: float = 20.0
) -> list[dict[str, Any]]:
    """The events of a namespace, as soon as there are ``count`` of them."""
    client = redis.Redis.from_url(form["redis_url"])
    stream = Keyspace(form["cache_namespace"]).events
    ends = time.monotonic() + patience
    while True:
        records = client.xrange(stream)
        found = [event for _, data in records for event in events.read(data[b"e"])]
        if len(found) >= count:
            return found
        assert time.monotonic() < ends, f"{len(found)} of {count} events"
        time.sleep(0.05)


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def test_a_hit_says_what_it_saved_and_a_miss_what_it_took(
    host: Host, form: dict[str, str], upstream: FakeUpstream
) -> None:
    for _ in range(2):
        ask(host, form, "one two")
    miss, hit = map(traces.span, logged_events(form, 2))
    assert miss.name == hit.name
    assert miss.name.startswith("chat ")
    paid, free = attributes(miss), attributes(hit)
    assert (paid["answer_cache.result"], free["answer_cache.result"]) == ("miss", "hit")
    assert paid["gen_ai.usage.input_tokens"] > 0
    assert free["gen_ai.usage.input_tokens"] == 0
    used = paid["gen_ai.usage.input_tokens"] + paid["gen_ai.usage.output_tokens"]
    assert (paid["answer_cache.saved_tokens"], free["answer_cache.saved_tokens"]) == (
        0,
        used,
    )
    assert free["gen_ai.response.finish_reasons"] == ("stop",)
    assert miss.start_time < miss.end_time
    assert not miss.links
    assert not hit.links


def test_an_answer_of_anothers_load_is_linked_to_the_leaders_span(
    host: Host, form: dict[str, str], upstream: FakeUpstream
) -> None:
    upstream.script = Script(delay=0.2)
    crowd = [
        threading.Thread(target=ask, args=(host, form, "one two")) for _ in range(3)
    ]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join()
    spans = [traces.span(event) for event in logged_events(form, 3)]
    (leader,) = [one for one in spans if not one.links]
    followers = [one for one in spans if one.links]
    assert len(followers) == 2
    for one in followers:
        assert [link.context for link in one.links] == [leader.context]
        assert attributes(one)["answer_cache.result"] == "shared"
    assert len({one.context.span_id for one in spans}) == 3


def test_no_text_and_no_secret_is_in_a_span(
    host: Host, form: dict[str, str], upstream: FakeUpstream
) -> None:
    texts = {**form, "cache_options": "events: texts, redis_timeout_ms: 2000"}
    ask(host, {**texts, "api_key": "sk-hidden", "user": "u"}, "a very private question")
    (event,) = logged_events(form, 1)
    said = traces.span(event).to_json()
    assert "private" not in said
    assert "hidden" not in said


def test_spans_arrive_at_a_collector(
    host: Host, form: dict[str, str], upstream: FakeUpstream
) -> None:
    ask(host, form, "one two")
    (event,) = logged_events(form, 1)
    with fake_collector() as collector:
        exported(event, collector.url)
        (span,) = collector.spans
        (resource,) = collector.resources
    assert span.name.startswith("chat ")
    names = {one.key: one.value for one in span.attributes}
    assert names["answer_cache.result"].string_value == "miss"
    service = {one.key: one.value.string_value for one in resource.attributes}
    assert service["service.name"] == "answer-cache"


def test_an_unreachable_collector_fails_no_task(
    host: Host, form: dict[str, str], upstream: FakeUpstream
) -> None:
    ask(host, form, "one two")
    (event,) = logged_events(form, 1)
    exported(
        event, "http://127.0.0.1:9", flush=False
    )  # It returns, and raises nothing.


def exported(event: dict[str, Any], url: str, *, flush: bool = True) -> None:
    """Export in a process of its own, as Celery has them."""
    code = (
        "import json, os, sys\n"
        "from answer_worker import traces\n"
        "traces.export(json.load(sys.stdin))\n"
        f"if {flush}: traces._processor().force_flush()\n"
        "os._exit(0)\n"
    )
    path = os.pathsep.join([str(ROOT), str(ROOT / "ops" / "worker")])
    subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(event),
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": path, "OTEL_EXPORTER_OTLP_ENDPOINT": url},
        check=True,
    )
