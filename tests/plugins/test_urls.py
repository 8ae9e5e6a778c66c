"""Dify's signed file URLs: a new signature is the same file, and it expires."""

import time
import uuid
from typing import Any

import pytest
from dify_plugin.entities.model.message import (
    ImagePromptMessageContent,
    UserPromptMessage,
)

from cachecore.keys import canonical
from cached_model import form as forms
from cached_model.body import build
from difykit.codec import urls
from rag_cache import wrapping
from rag_cache.caller import Caller
from tests.fake_upstream import FakeUpstream
from tests.plugins.helpers import ask


@pytest.fixture(autouse=True)
def _address(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address of Dify's files, as in the daemon's environment."""
    monkeypatch.setenv("FILES_URL", " http://dify/ ")


FILE = "2f6e7a52-6d5e-4d3f-9c0e-0d4f7f2d9a11"


def signed(at: float, nonce: str, file: str = FILE, form: str = "/file-preview") -> str:
    sign = "Dlu1LYRKokOj7BZkBFZaK4B2APHi9-2P9wQqAyptRbg%3D"
    query = f"timestamp={int(at)}&nonce={nonce.encode().hex():0<32}&sign={sign}"
    return f"http://dify/files/{file}{form}?{query}"


def image(url: str) -> list[Any]:
    part = ImagePromptMessageContent(url=url, format="png", mime_type="image/png")
    return [UserPromptMessage(content=[part])]


def key(messages: Any) -> bytes:
    form = forms.read({"endpoint_url": "http://h/v1"})
    return canonical(build(form, "m", messages, {}, [], []).key_form(form))


def test_a_new_signature_is_the_same_request_in_a_part_and_in_a_text() -> None:
    one, other = signed(1000, "aa"), signed(2000, "bb")
    assert key(image(one)) == key(image(other))
    text = "See ![picture](%s) and say what it is."
    assert key([UserPromptMessage(content=text % one)]) == key(
        [UserPromptMessage(content=text % other)]
    )


def test_another_file_is_another_request() -> None:
    other = "00000000-6d5e-4d3f-9c0e-0d4f7f2d9a11"
    assert key(image(signed(1, "a"))) != key(image(signed(1, "a", other)))


def test_every_form_of_them_is_known() -> None:
    for form in ("/file-preview", "/image-preview", ".png"):
        assert urls.is_signed(signed(1, "a", form=form))
    assert urls.is_signed(signed(1, "a").replace("/files/", "/files/tools/"))


@pytest.mark.parametrize("end", ["%3D", "="])
@pytest.mark.parametrize(
    "more", ["请翻译成英文", "請求書を要約して", "and-translate", "_x", "=1", "%20"]
)
def test_text_right_after_a_signed_url_is_not_part_of_it(end: str, more: str) -> None:
    url = signed(1000, "a").replace("%3D", end)
    stripped, places = urls.unsigned(url + more)
    assert stripped.endswith("/file-preview" + more)
    assert places == [[len(stripped) - len(more)]]
    assert urls.unsigned(url + more) != urls.unsigned(url)


def test_one_in_html_is_known() -> None:
    assert urls.is_signed(signed(1000, "a").replace("&", "&amp;"))


def test_a_text_that_only_looks_like_a_signed_url_is_unchanged() -> None:
    for url in (
        "http://h/files/not-a-uuid/file-preview?timestamp=1&nonce=a&sign=b",
        f"http://h/files/{FILE}/file-preview?nonce=a&sign=b",
        f"http://h/files/{FILE}/file-preview",
        "http://h/a.png?timestamp=1&nonce=a&sign=b",
    ):
        assert not urls.is_signed(url)
        assert urls.unsigned(url) == url


def test_no_text_that_somebody_types_is_taken_for_a_signed_one() -> None:
    url = signed(1000, "a")
    stripped, places = urls.unsigned(url)
    for typed in (stripped, f"{stripped}?signed", str([stripped, places])):
        assert urls.unsigned(typed) == typed
        assert urls.unsigned({"a": typed}) != urls.unsigned({"a": url})
    moved = f"{stripped} and {url}"
    assert urls.unsigned(moved) != urls.unsigned(f"{url} and {stripped}")


@pytest.mark.parametrize(
    "host", ["http://evil", "https://dify", "http://dify.evil", "http://dify:81"]
)
def test_a_strangers_url_of_the_same_shape_is_not_this_difys(host: str) -> None:
    url = signed(time.time(), "a").replace("http://dify", host)
    assert not urls.is_signed(url)
    assert urls.may_change(url)
    assert urls.unsigned(url) == url
    assert urls.expires_at(url) is None


def test_without_a_configured_address_no_url_belongs_to_this_dify(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("FILES_URL")
    assert not urls.is_signed(signed(1000, "a"))
    monkeypatch.setenv("INTERNAL_FILES_URL", "http://dify")
    assert urls.is_signed(signed(1000, "a"))


def test_no_signature_ends_later_than_one_of_now_would() -> None:
    ends = urls.expires_at(signed(time.time() + 10**6, "a"))
    assert ends is not None
    assert ends <= time.time() + urls.VALID_SECONDS


def test_the_upstream_gets_the_signature(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    url = signed(time.time(), "aa")
    ask(form, f"see {url}")
    assert url in upstream.requests[0]["messages"][0]["content"]


def test_a_repeated_question_about_a_file_is_a_hit(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    for nonce in ("aa", "bb"):
        ask(form, image(signed(time.time(), nonce)))
    assert upstream.calls == 1


def test_an_answer_about_a_file_expires_with_its_url(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    for nonce in ("aa", "bb"):
        ask(form, image(signed(time.time() - urls.VALID_SECONDS - 1, nonce)))
    assert upstream.calls == 2


def test_the_first_signature_to_end_counts() -> None:
    texts = {
        "a": [signed(1000, "a"), {"b": signed(500, "b") + " " + signed(2000, "c")}]
    }
    assert urls.expires_at(texts) == 500 + urls.VALID_SECONDS
    assert urls.expires_at({"a": ["nothing"], "b": 1}) is None


def test_a_stored_value_expires_with_the_url_in_it() -> None:
    caller = Caller({"cache_secret": uuid.uuid4().hex})
    for at, hit in ((time.time(), True), (time.time() - 301, False)):
        missed = wrapping.look_up(caller, {"key": str(at)})
        value = [{"content": f"![p]({signed(at, 'a')})"}]
        wrapping.store(caller, {"ticket": missed.ticket, "value": value})
        assert wrapping.look_up(caller, {"key": str(at)}).outcome.hit is hit


BARE = f"http://dify/files/{FILE}/file-preview"


def test_the_places_of_signatures_are_listed_and_nothing_else_is_changed() -> None:
    text = f"A {signed(1, 'a')} b {signed(2, 'b')} c"
    value = {"n": 7, "x": None, "a": [True, {"b": text}]}
    bare = f"A {BARE} b {BARE} c"
    first = len(f"A {BARE}")
    assert urls.unsigned(value) == [
        {"n": 7, "x": None, "a": [True, {"b": bare}]},
        [["a", 1, "b", first], ["a", 1, "b", first + len(f" b {BARE}")]],
    ]


def test_the_list_of_places_can_be_left_out_again() -> None:
    assert urls.stripped(urls.unsigned([signed(1, "a"), "b"])) == [BARE, "b"]
    for kept in (
        {"a": 1, "b": 2},
        None,
        "ab",
        [],
        ["a"],
        ["a", 7],
        ["a", {"b": 1}],
        ["a", []],
        ["a", ["b"]],
        ["a", [["b"]], "c"],
    ):
        assert urls.stripped(kept) == kept


def test_only_urls_of_others_show_what_may_change() -> None:
    for url in ("", "data:image/png;base64,AA==", signed(1, "a")):
        assert not urls.may_change(url)
    assert urls.may_change("http://other/a.png")


def test_the_list_of_places_can_be_left_out_of_a_text_and_an_object_too() -> None:
    for value, bare in ((signed(1, "a"), BARE), ({"u": signed(1, "a")}, {"u": BARE})):
        assert urls.stripped(urls.unsigned(value)) == bare
