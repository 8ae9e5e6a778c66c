"""The dashboard in a real Chromium: looked at, clicked, in light and dark, on a phone."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from servers.programs import find

from devhost.endpoints import Endpoints
from devhost.host import Host
from tests.fake_upstream import FakeUpstream
from tests.integration.test_plugins_in_the_host import TOOLS, ask
from tests.ops.conftest import TOKEN

# A browser trusts the loopback like https; to other addresses it sends fewer headers.
_MAPPED = "--host-resolver-rules=MAP dify.example 127.0.0.1"
_QUIET = ("--disable-quic", "--no-first-run", "--disable-background-networking")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=find("chromium"),
            args=[
                "--no-sandbox",
                _MAPPED,
                *_QUIET,
                "--disable-component-update",
                "--disable-sync",
            ],
        )
        yield started
        started.close()


class Visitor:
    """Someone with a browser, who looks at the dashboard."""

    def __init__(self, browser: Browser, url: str) -> None:
        self._browser, self._url = browser, url
        self.foreign: list[str] = []
        self.complaints: list[str] = []

    def look(self, password: str = TOKEN, **how: Any) -> Page:
        context = self._browser.new_context(
            http_credentials={"username": "operator", "password": password}, **how
        )
        page = context.new_page()
        page.on("request", self._note)
        page.on("console", lambda message: self._complain(message.type, message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(self._url + "/dashboard")
        return page

    def _note(self, request: Any) -> None:
        if not request.url.startswith((self._url, "data:")):
            self.foreign.append(request.url)

    def _complain(self, kind: str, text: str) -> None:
        # The first request goes without a password, and is answered by 401.
        if kind in ("error", "warning") and "401" not in text:
            self.complaints.append(text)


@pytest.fixture
def visitor(
    browser: Browser, hook: Callable[..., str], host: Host, form: dict[str, str]
) -> Visitor:
    for _ in range(3):
        ask(host, form, "a b", model_parameters={"cache_tags": "faq"})
    ask(host, form, "c d")
    url = hook()
    visitor = Visitor(browser, url)
    page = visitor.look()
    # The counts of the model plugin are there within seconds.
    for _ in range(30):
        if page.locator("section.tile", has_text="50.0%").count():
            break
        page.wait_for_timeout(300)
        page.reload()
    return visitor


def shot(page: Page, name: str, tmp_path: Path) -> None:
    """Save a picture of the whole page in $SCREENSHOTS, for people to look at."""
    folder = Path(os.environ.get("SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=folder / f"dashboard-{name}.png", full_page=True)


@pytest.mark.parametrize(
    ("name", "how"),
    [
        (
            "light",
            {"color_scheme": "light", "viewport": {"width": 1200, "height": 900}},
        ),
        ("dark", {"color_scheme": "dark", "viewport": {"width": 1200, "height": 900}}),
        (
            "phone",
            {
                "color_scheme": "light",
                "viewport": {"width": 390, "height": 844},
                "is_mobile": True,
                "has_touch": True,
                "device_scale_factor": 2,
            },
        ),
    ],
)
def test_it_shows_what_happened_in_every_light(
    visitor: Visitor, tmp_path: Path, name: str, how: dict[str, Any]
) -> None:
    page = visitor.look(**how)
    shot(page, name, tmp_path)
    expect(page.locator("h1")).to_have_text("Answer Cache")
    tiles = page.locator("section.tile")
    expect(tiles.filter(has_text="Hit rate")).to_contain_text("50.0%")
    expect(tiles.filter(has_text="Money saved")).to_contain_text("USD")
    expect(page.locator("main")).to_contain_text("not asked before")
    expect(page.locator("main")).to_contain_text("ask Redis")
    expect(page.locator("main")).to_contain_text("memory:")
    assert page.locator("svg[role=img]").count() >= 5
    wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0  # nothing sticks out
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    light = sum(map(int, re.findall(r"\d+", ground)[:3])) > 3 * 128
    assert light is (name != "dark")
    assert visitor.foreign == []
    assert visitor.complaints == []


def test_a_click_invalidates_a_tag(
    visitor: Visitor, host: Host, form: dict[str, str], upstream: FakeUpstream
) -> None:
    page, calls = visitor.look(), upstream.calls
    page.fill("#tag", "faq")
    page.click("#invalidate")
    expect(page.locator("[role=status]")).to_contain_text("Done")
    expect(page.locator("main")).to_contain_text("tag:faq")
    ask(host, form, "a b", model_parameters={"cache_tags": "faq"})
    assert upstream.calls == calls + 1
    ask(host, form, "c d")
    assert upstream.calls == calls + 1
    assert visitor.complaints == []


def test_the_button_works_over_plain_http_too(visitor: Visitor) -> None:
    visitor._url = visitor._url.replace("127.0.0.1", "dify.example")
    page = visitor.look()
    page.fill("#tag", "faq")
    page.click("#invalidate")
    expect(page.locator("[role=status]")).to_contain_text("Done")
    assert visitor.complaints == []


def test_it_is_kept_up_to_date_while_somebody_looks(
    visitor: Visitor, host: Host, form: dict[str, str]
) -> None:
    page = visitor.look()
    page.fill("#tag", "half-typed")
    for _ in range(4):
        ask(host, form, "a b", model_parameters={"cache_tags": "faq"})
    rate = page.locator("section.tile", has_text="Hit rate")
    expect(rate).to_contain_text("75.0%", timeout=40_000)
    expect(page.locator("#tag")).to_have_value("half-typed")
    assert visitor.complaints == []


def test_times_are_in_the_viewers_zone(visitor: Visitor) -> None:
    def times(zone: str) -> list[str]:
        page = visitor.look(timezone_id=zone)
        expect(page.locator(".zone")).to_have_text(zone)
        return page.locator("td[data-at]").all_text_contents()

    here, there = times("UTC"), times("Asia/Tokyo")
    assert here
    assert all(one != other for one, other in zip(here, there, strict=True))
    assert visitor.complaints == []


def test_the_id_of_an_app_is_shown_short_and_copied_whole(visitor: Visitor) -> None:
    page = visitor.look()
    one = page.locator(".id").first
    whole = one.get_attribute("title")
    copied = page.evaluate(
        """() => { const one = document.querySelector(".id");
        getSelection().selectAllChildren(one); return getSelection().toString(); }"""
    )
    assert copied == whole


def test_windows_are_chosen_by_a_click(visitor: Visitor) -> None:
    page = visitor.look()
    page.click("nav a >> text=Last hour")
    expect(page.locator("nav a[aria-current]")).to_have_text("Last hour")
    expect(page.locator("section.tile", has_text="Hit rate")).to_contain_text("50.0%")


@pytest.mark.parametrize(
    ("locale", "words"),
    [
        ("zh-CN", "命中率"),
        ("ja-JP", "ヒット率"),
        ("pt-BR", "Taxa de acertos"),
        ("fr-FR", "Hit rate"),
    ],
)
def test_it_speaks_the_browsers_language(
    visitor: Visitor, locale: str, words: str
) -> None:
    page = visitor.look(locale=locale)
    expect(page.locator("section.tile").first).to_contain_text(words)


def test_a_wrong_password_shows_nothing(visitor: Visitor) -> None:
    page = visitor.look("wrong")
    assert "Answer Cache" not in page.title()
    assert "access token as the password" in page.content()


def test_an_unreachable_redis_is_reported_at_the_top(
    browser: Browser, host: Host, served: Endpoints, fields: dict[str, str]
) -> None:
    gone = {"redis_url": "redis://127.0.0.1:9", "cache_namespace": "n"}
    url = served.add(host.plugin(TOOLS).process, gone | {"access_token": TOKEN})
    page = Visitor(browser, url).look()
    expect(page.locator("[role=alert]")).to_contain_text("Redis does not answer")
