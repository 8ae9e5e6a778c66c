"""Endpoints over HTTP: the daemon changes requests, and loses parts of replies."""

import http.client
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from devhost.endpoints import Endpoints
from devhost.process import PluginProcess

type Start = Callable[..., PluginProcess]
type Ask = Callable[..., tuple[int, dict[str, str], bytes]]

ECHO = """
raw = bytes.fromhex(request["data"]["raw_http_request"])
chunk(session, {"status": 200, "headers": {}, "result": raw.hex()})
"""


@pytest.fixture
def asking(speaking: Start) -> Iterator[Callable[..., Ask]]:
    opened: list[Endpoints] = []

    def start(answer: str, **options: float) -> Ask:
        endpoints = Endpoints(**options)  # type: ignore[arg-type]
        opened.append(endpoints)
        url = endpoints.add(speaking(answer.strip()), {"a": 1})
        place, path = url.removeprefix("http://").split("/", 1)

        def ask(
            method: str = "GET", tail: str = "/x", **more: Any
        ) -> tuple[int, dict[str, str], bytes]:
            connection = http.client.HTTPConnection(place, timeout=10)
            connection.request(method, f"/{path}{tail}", **more)
            response = connection.getresponse()
            body = response.read()
            connection.close()
            return response.status, dict(response.headers), body

        return ask

    yield start
    for endpoints in opened:
        endpoints.close()


def pieces(*results: str, pause: float = 0.0, after: str = "") -> str:
    lines = ['chunk(session, {"status": 200, "headers": {"X-A": "1"}})']
    for number, result in enumerate(results):
        if number and pause:
            lines.append(f"time.sleep({pause})")
        lines.append(f'chunk(session, {{"result": {result.encode().hex()!r}}})')
    return "\n".join([*lines, after])


def test_a_request_reaches_the_plugin_as_go_writes_it(
    asking: Callable[[str], Ask],
) -> None:
    status, _, body = asking(ECHO)(
        "GET",
        "/a%2Fb?b=2&a=&b=1&c;d=1",
        headers={
            "x-real-ip": "1.2.3.4",
            "x-my-header": " v ",
            "Dify-Hook-Id": "forged",
        },
    )
    head = body.decode()
    assert status == 200
    assert head.startswith("GET /a/b?a=&b=2&b=1 HTTP/1.1\r\n")
    assert "X-My-Header: v\r\n" in head
    assert "1.2.3.4" not in head
    assert "forged" not in head
    assert "Content-Length" not in head


def test_an_empty_post_reaches_the_plugin_as_a_last_chunks_mark(
    asking: Callable[[str], Ask],
) -> None:
    _, _, body = asking(ECHO)("POST")
    assert body.endswith(b"\r\n\r\n0\r\n\r\n")
    assert b"Transfer-Encoding: chunked" in body


def test_a_chunked_body_is_put_together(asking: Callable[[str], Ask]) -> None:
    _, _, body = asking(ECHO)(
        "POST",
        body=iter([b"ab", b"cd"]),
        encode_chunked=True,
        headers={"Transfer-Encoding": "chunked"},
    )
    assert body.endswith(b"\r\n\r\nabcd")
    assert b"Content-Length: 4" in body


def test_a_reply_in_pieces_with_pauses_arrives_whole(
    asking: Callable[[str], Ask],
) -> None:
    status, headers, body = asking(pieces("a", "b", "c", pause=0.1))()
    assert (status, headers["X-A"], body) == (200, "1", b"abc")


def test_a_reply_in_quick_pieces_is_cut_to_its_first(
    asking: Callable[[str], Ask],
) -> None:
    """endpoint_service.go:88-90. So a reply is one piece, or has pauses."""
    assert asking(pieces("a", "b", "c"), handled=1.0)()[2] == b"a"


FAIL = (
    'out({"event": "session", "session_id": session, "data": {"type": "error",'
    ' "data": {"error_type": "E", "message": "m", "args": {}}}})'
)


def test_an_error_before_the_body_is_a_500_in_json(
    asking: Callable[[str], Ask],
) -> None:
    status, _, body = asking(
        'chunk(session, {"status": 200, "headers": {}})\n' + FAIL
    )()
    assert status == 500
    assert json.loads(body)["code"] == -500


def test_an_error_after_a_piece_is_appended_to_the_body(
    asking: Callable[[str], Ask],
) -> None:
    status, _, body = asking(pieces("a", after="time.sleep(0.3)\n" + FAIL))()
    assert status == 200
    assert body.startswith(b"a{")
    assert b'"error_type": "E"' in body


def test_a_reply_without_a_body_is_empty(asking: Callable[[str], Ask]) -> None:
    assert asking('chunk(session, {"status": 204, "headers": {}})')()[::2] == (204, b"")


@pytest.mark.parametrize("tail", ["/../nothing", ""])
def test_an_unknown_hook_is_a_404_in_json(
    asking: Callable[[str], Ask], tail: str
) -> None:
    asking(ECHO)
    endpoints = Endpoints()
    try:
        url = endpoints._server.server_address
        connection = http.client.HTTPConnection(*url[:2], timeout=10)
        connection.request("GET", f"/e/unknownhook{tail}")
        response = connection.getresponse()
        assert response.status == 404
        assert json.loads(response.read())["code"] == "not_found"
        connection.close()
    finally:
        endpoints.close()


def test_a_line_break_in_a_header_is_no_header(asking: Callable[[str], Ask]) -> None:
    answer = 'chunk(session, {"status": 200, "headers": {"X-A": "1\\r\\nX-B: 2"}, "result": "61"})'
    _, headers, _ = asking(answer)()
    assert headers["X-A"] == "1 X-B: 2"
    assert "X-B" not in headers
