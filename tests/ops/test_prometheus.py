"""A real Prometheus reads the endpoint, the alert rules and the dashboard's queries."""

import json
import re
import threading
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from servers.programs import wait
from servers.prometheus import Prometheus, prometheus, promtool

from cachecore.policy import HITS, MISSES
from devhost.host import Host
from tests.fake_upstream import FakeUpstream, Script, delta, finish
from tests.integration.test_plugins_in_the_host import ask, tool
from tests.ops.conftest import DEPLOY, TOKEN

RULES = DEPLOY / "prometheus"
DASHBOARD = DEPLOY / "grafana" / "dashboards" / "answer-cache.json"
LISTED = re.compile(r'reason=~\\?"([^"\\]+)')
# Metrics of events that never happen in this test: they are absent, not zero.
ABSENT = {"answer_cache_stale_for_error_total", "answer_cache_unanswered_total"}


class FakeModelServer(BaseHTTPRequestHandler):
    """A fake of the metrics of vLLM and dcgm-exporter: they need a GPU."""

    METRICS = (
        'vllm:num_requests_running{model_name="m"} 2\n'
        'vllm:num_requests_waiting{model_name="m"} 1\n'
        'vllm:kv_cache_usage_perc{model_name="m"} 0.5\n'
        'DCGM_FI_DEV_GPU_UTIL{gpu="0",Hostname="h"} 70\n'
    )

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(self.METRICS.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def model_server() -> Iterator[str]:
    """The host and port of a fake of a model server's metrics."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), FakeModelServer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def reads(
    tmp_path: Path, hook: Callable[..., str], model_server: str
) -> Iterator[tuple[Prometheus, str]]:
    """A Prometheus with our rules that scrapes the endpoint; and the endpoint's URL."""
    url = hook()
    place, path = re.fullmatch(r"http://([^/]+)(/.*)", url + "/metrics").groups()
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES / "alerts.yml")],
        "scrape_configs": [
            {
                "job_name": "answer-cache",
                "metrics_path": path,
                "authorization": {"type": "Bearer", "credentials": TOKEN},
                "static_configs": [{"targets": [place]}],
            },
            {
                "job_name": "vllm",
                "static_configs": [{"targets": [model_server]}],
            },
        ],
    }
    with prometheus(tmp_path, config) as started:
        yield started, url


def traffic(
    host: Host, form: dict[str, str], fields: dict[str, str], upstream: FakeUpstream
) -> None:
    """Some of everything: hits, misses, bypasses, refusals, shared loads."""
    upstream.script = Script()
    for minute in range(3):
        asked = {"cache_tags": f"at-{minute}"}
        ask(host, form, "a b", model_parameters=asked)
        ask(host, form, "a b", model_parameters=asked)
    ask(host, form, "warm", model_parameters={"temperature": 2.0})
    upstream.script = Script(events=[delta(content="cut"), finish("length")])
    ask(host, form, "too long")
    upstream.script = Script(delay=0.3)
    crowd = [threading.Thread(target=ask, args=(host, form, "all")) for _ in range(3)]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join()
    upstream.script = Script(status=500)
    with pytest.raises(Exception, match="server"):
        ask(host, form, "broken")
    credentials = {k: v for k, v in fields.items() if k != "cache_options"}
    tool(host, "cache_invalidate", credentials, target="tag", name="at-0")


def test_prometheus_reads_everything_and_every_query_has_an_answer(
    reads: tuple[Prometheus, str],
    host: Host,
    form: dict[str, str],
    fields: dict[str, str],
    upstream: FakeUpstream,
) -> None:
    server, url = reads
    traffic(host, form, fields, upstream)
    request = urllib.request.Request(
        url + "/metrics", headers={"Authorization": f"Bearer {TOKEN}"}
    )

    def counted() -> bool:
        hits = server.query('sum(answer_cache_requests_total{reason="hit"})')
        apart = server.query("answer_cache_misses_kept_apart_total")
        return bool(apart and hits and float(hits[0]["value"][1]) >= 3)

    wait(counted, 30)
    # The rates count only the requests after the first scrape.
    traffic(host, form, fields, upstream)
    wait(lambda: bool(server.query("rate(answer_cache_kept_total[1m]) > 0")), 30)
    for target in server.ask("targets")["activeTargets"]:
        assert (target["health"], target["lastError"]) == ("up", "")
    with urllib.request.urlopen(request) as answer:
        said = answer.read().decode()
    assert promtool("check", "metrics", text=said).strip() == ""
    assert_dashboard(server)
    for group in server.ask("rules")["groups"]:
        for rule in group["rules"]:
            assert rule["health"] == "ok", rule
    labels = server.query("answer_cache_requests_total")[0]["metric"]
    assert set(labels) - {"reason", "app"} == {
        *("__name__", "instance", "instance_id", "job", "kind", "model")
    }


def queries() -> list[tuple[str, str]]:
    """Panel and expression, as Grafana would send them for all jobs and the last hour."""
    found = []
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel["targets"]:
            expression = target["expr"]
            for name, value in (
                *(("$__rate_interval", "1m"), ("$__range", "1h")),
                *((f"${name}", ".*") for name in ("job", "app", "model")),
            ):
                expression = expression.replace(name, value)
            assert "$" not in expression
            found.append((panel["title"], expression))
    return found


def assert_dashboard(server: Prometheus) -> None:
    for panel, expression in queries():
        found = server.query(expression)
        named = set(re.findall(r"answer_cache_\w+", expression))
        if (
            not named & ABSENT
            and "maxmemory" not in expression
            and "> 0" not in expression
        ):
            assert found, f"{panel}: {expression} has no answer"


def test_the_alerts_pass_their_own_tests() -> None:
    promtool("check", "rules", "alerts.yml", cwd=RULES)
    promtool("test", "rules", "alerts.test.yml", cwd=RULES)
    promtool("check", "config", "--syntax-only", "prometheus.yml", cwd=RULES)


def test_every_reason_of_a_hit_or_miss_counts_in_the_hit_rate() -> None:
    sources = ((RULES / "alerts.yml").read_text(), DASHBOARD.read_text())
    listed = {words for text in sources for words in LISTED.findall(text)}
    assert {frozenset(words.split("|")) for words in listed} == {HITS, HITS | MISSES}


def test_every_alert_is_tested_and_explained() -> None:
    named = set(re.findall(r"alert: (\w+)", (RULES / "alerts.yml").read_text()))
    tested = set(
        re.findall(r"alertname: (\w+)", (RULES / "alerts.test.yml").read_text())
    )
    explained = (DEPLOY.parents[1] / "docs" / "operations.md").read_text()
    assert named == tested
    assert {name for name in named if f"`{name}`" not in explained} == set()


def test_the_dashboard_is_what_grafana_can_load() -> None:
    board = json.loads(DASHBOARD.read_text())
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    for panel in board["panels"]:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
        assert panel["datasource"]["uid"] == "${datasource}"
        assert (
            panel["fieldConfig"]["defaults"]["thresholds"]["steps"][0]["value"] is None
        )
    text = DASHBOARD.read_text()
    assert "__inputs" not in text
