"""The nginx configuration in a real nginx: streams through it are not delayed."""

import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from servers.nginx import nginx
from servers.programs import find

from tests.ops.conftest import DEPLOY
from tests.ops.fake_dify import FakeDify, fake_dify

SILENCE = 90.0  # seconds


def through(folder: Path, dify: FakeDify) -> dict[str, str]:
    """The files of nginx as an operator would fill them in."""
    config = (DEPLOY / "nginx" / "dify.conf").read_text()
    for theirs, ours in (
        ("server 127.0.0.1:80;", f"server {dify.url};"),
        ("/usr/share/answer-cache/web/", f"{DEPLOY / 'web'}/"),
        ("APP_KEY", "app-key-of-the-server"),
    ):
        assert theirs in config
        config = config.replace(theirs, ours)
    streaming = (DEPLOY / "nginx" / "streaming.conf").read_text()
    return {"conf.d/dify.conf": config, "snippets/streaming.conf": streaming}


@pytest.fixture
def dify() -> Iterator[FakeDify]:
    with fake_dify() as started:
        yield started


@pytest.fixture
def front(tmp_path: Path, dify: FakeDify) -> Iterator[str]:
    with nginx(tmp_path / "nginx", through(tmp_path, dify), "listen 8080;") as url:
        yield url


def post(url: str, path: str = "/v1/chat-messages") -> Iterator[tuple[float, str]]:
    """The events of an answer, each with its time of arrival."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=SILENCE + 30)
    body = json.dumps({"query": "hi", "user": "u", "response_mode": "streaming"})
    started = time.monotonic()
    connection.request("POST", path, body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    assert response.status == 200, response.read()
    for line in response:
        if line.startswith(b"data:"):
            event = json.loads(line[5:])
            yield time.monotonic() - started, event["event"]
    connection.close()


def get(url: str, path: str, headers: dict[str, str] | None = None) -> int:
    with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)) as c:
        c.request("GET", path, headers=headers or {})
        response = c.getresponse()
        response.read()
        return response.status


@pytest.fixture(scope="session", autouse=True)
def silence(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, object]]:
    """An answer that is silent for 90 s, requested before the other tests."""
    received: dict[str, object] = {}
    folder = tmp_path_factory.mktemp("silence")
    with fake_dify() as dify:
        dify.silent = SILENCE
        with nginx(folder / "nginx", through(folder, dify), "listen 8080;") as url:

            def listen() -> None:
                try:
                    received["events"] = list(post(url))
                except Exception as error:
                    received["error"] = error

            received["thread"] = thread = threading.Thread(target=listen, daemon=True)
            thread.start()
            yield received


def test_each_word_arrives_when_it_is_sent(front: str, dify: FakeDify) -> None:
    dify.pause = 0.4
    times = [at for at, event in post(front) if event == "message"]
    assert len(times) == 3
    assert times[0] < 0.4 + 0.25  # the first token is not held back
    assert times[-1] - times[0] > 0.6  # and the tokens do not come all at once


def test_calls_of_dify_pass_as_they_are(front: str, dify: FakeDify) -> None:
    headers = {"Authorization": "Bearer app-mine", "Host": "dify.example:8080"}
    asked = "/v1/messages?conversation_id=3333-c&user=u"
    assert get(front, asked, headers) == 200
    (seen,) = dify.headers
    assert seen["Authorization"] == "Bearer app-mine"
    assert seen["Host"] == "dify.example:8080"


@pytest.mark.parametrize(
    "path",
    [
        "/chat/api/conversations",
        "/chat/api/chat-messages/../../apps",
        "/chat/api/workflow/1/events/x",
        "/chat/api/files/upload",
        "/chat/../v1x",
    ],
)
def test_the_key_is_lent_to_the_pages_own_calls_only(
    front: str, dify: FakeDify, path: str
) -> None:
    get(front, path)
    assert not any("app-key" in str(seen) for seen in dify.headers)


# --- the page -----------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=find("chromium"), args=["--no-sandbox"]
        )
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser, front: str) -> Iterator[Page]:
    context = browser.new_context()
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(front + "/chat/")
    yield page
    assert complaints == []
    context.close()


def ask(page: Page) -> None:
    page.fill("#question", "How long do parcels take?")
    page.click("#ask button")


def test_the_page_shows_an_answer_word_by_word(page: Page, dify: FakeDify) -> None:
    dify.pause = 0.7
    ask(page)
    answer = page.locator("#said p").last
    expect(answer).to_have_text("Parcels ")
    expect(answer).to_have_text("Parcels take two days.")
    expect(answer).not_to_have_class("waiting")
    assert dify.posts[0]["conversation_id"] == ""
    ask(page)
    expect(page.locator("#said p").last).to_have_text("Parcels take two days.")
    assert dify.posts[1]["conversation_id"] == "3333-c"
    assert all(h["Authorization"].endswith("of-the-server") for h in dify.headers)
    assert "app-key" not in page.content()


@pytest.mark.parametrize("workflow", [True, False])
def test_an_answer_with_a_broken_connection_is_found_and_not_asked_for_again(
    page: Page, dify: FakeDify, workflow: bool
) -> None:
    dify.workflow, dify.breaks_after, dify.running = workflow, 1, 2
    ask(page)
    answer = page.locator("#said p").last
    expect(answer).to_have_attribute("data-reconnecting", "true")
    expect(answer).to_have_text("Parcels take two days.", timeout=15_000)
    expect(answer).to_have_attribute("data-reconnecting", "false")
    assert len(dify.posts) == 1
    looked = "/events" if workflow else "/messages"
    assert any(looked in path for path in dify.paths[1:])


def test_an_answer_is_stopped_by_a_click(page: Page, dify: FakeDify) -> None:
    dify.words, dify.pause = ["word "] * 40, 0.2
    ask(page)
    expect(page.locator("#said p").last).to_contain_text("word")
    page.click("#stop")
    page.wait_for_timeout(300)
    assert dify.paths[-1] == "/v1/chat-messages/4444-d/stop"


def test_an_answer_is_stopped_before_its_first_word(page: Page, dify: FakeDify) -> None:
    dify.workflow, dify.pause = True, 1.5
    ask(page)
    page.click("#stop")
    expect(page.locator("#ask button").first).to_be_enabled(timeout=15_000)
    assert dify.paths.count("/v1/chat-messages/4444-d/stop") == 1


def test_a_stop_while_it_is_looked_for_keeps_what_was_shown(
    page: Page, dify: FakeDify
) -> None:
    dify.workflow, dify.breaks_after, dify.running = False, 1, 1000
    ask(page)
    answer = page.locator("#said p").last
    expect(answer).to_have_attribute("data-reconnecting", "true")
    page.click("#stop")
    expect(answer).to_have_attribute("data-reconnecting", "false", timeout=15_000)
    expect(answer).to_have_text("Parcels ")


def test_the_key_is_lent_for_reading_and_asking_only(
    front: str, dify: FakeDify
) -> None:
    with closing(http.client.HTTPConnection(urlsplit(front).netloc, timeout=10)) as c:
        c.request("DELETE", "/chat/api/messages")
        assert c.getresponse().status == 403
    assert dify.headers == []


def test_a_refusal_of_dify_is_reported(
    page: Page, front: str, browser: Browser
) -> None:
    page.route(
        "**/chat-messages",
        lambda route: route.fulfill(status=429, json={"message": "Too many requests."}),
    )
    ask(page)
    expect(page.locator("#said .failed")).to_have_text("Too many requests.")


def test_a_silence_of_90_seconds_survives(silence: dict[str, object]) -> None:
    """The last test, because its request was sent before all others."""
    thread = silence["thread"]
    assert isinstance(thread, threading.Thread)
    thread.join(SILENCE + 30)
    assert "error" not in silence
    events = silence["events"]
    assert isinstance(events, list)
    first = next(at for at, event in events if event == "message")
    assert first > SILENCE
    assert events[-1][1] == "workflow_finished"
