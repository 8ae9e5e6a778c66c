"""Kept connections: used again, and replaced once if the server has closed one."""

import socket
import threading
from collections.abc import Iterator

import pytest
from dify_plugin.errors.model import InvokeConnectionError

from difykit import web
from tests.plugins.helpers import ask, text

ANSWER = b'{"choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}]}'


class FakeServer:
    """Answers N requests on each connection, then drops it without reading the next.

    Like a server that closes an idle connection at the moment when it is used.
    """

    def __init__(self) -> None:
        self.answers = [1]  # for each connection in turn; the last one for all others
        self.read: list[int] = []  # requests read on each connection
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            number = len(self.read)
            self.read.append(0)
            threading.Thread(
                target=self._serve, args=(connection, number), daemon=True
            ).start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        left = self.answers[min(number, len(self.answers) - 1)]
        with connection, connection.makefile("rb") as stream:
            while self._request(stream):
                self.read[number] += 1
                if not left:
                    return
                left -= 1
                connection.sendall(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                    b"Content-Length: %d\r\n\r\n%s" % (len(ANSWER), ANSWER)
                )

    def _request(self, stream: object) -> bool:
        length = 0
        while (line := stream.readline()) not in (b"\r\n", b""):  # type: ignore[attr-defined]
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        return bool(line) and bool(stream.read(length))  # type: ignore[attr-defined]

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def server() -> Iterator[FakeServer]:
    started = FakeServer()
    yield started
    started.close()


@pytest.fixture
def form(server: FakeServer, form: dict[str, str]) -> dict[str, str]:
    return form | {"endpoint_url": server.url, "cache_ttl": "off"}


def test_a_kept_connection_that_was_closed_is_replaced_once(
    server: FakeServer, form: dict[str, str]
) -> None:
    server.answers = [1]
    assert [text(ask(form)) for _ in range(3)] == ["yes"] * 3
    # Each but the first was read on a closing connection, and answered on a new one.
    assert server.read == [2, 2, 1]


def test_a_new_connection_that_is_dropped_is_an_error_at_once(
    server: FakeServer, form: dict[str, str]
) -> None:
    server.answers = [0]
    with pytest.raises(InvokeConnectionError):
        ask(form)
    assert server.read == [1]


def test_it_is_tried_once_more_and_not_twice(
    server: FakeServer, form: dict[str, str]
) -> None:
    server.answers = [1, 0]
    ask(form)
    with pytest.raises(InvokeConnectionError):
        ask(form)
    assert server.read == [2, 1]


def test_an_answer_that_breaks_off_is_not_asked_for_again(
    server: FakeServer, form: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers = [9]
    ask(form)
    monkeypatch.setattr("tests.plugins.test_web.ANSWER", b"")

    def broken(connection: socket.socket, number: int) -> None:
        raise AssertionError("no second connection was to be made")

    server._serve = broken  # type: ignore[method-assign]
    with pytest.raises(Exception, match="ended its answer before it was complete"):
        ask(form)
    assert server.read == [2]


@pytest.mark.parametrize(
    ("proxy", "sent"),
    [
        ("http://proxy:3128", {}),
        (
            "http://me:p%40ss@proxy:3128",
            {"proxy-authorization": "Basic bWU6cEBzcw=="},
        ),
    ],
)
def test_a_proxy_gets_the_name_and_password_in_its_address(
    proxy: str, sent: dict[str, str]
) -> None:
    assert web._credentials(proxy) == sent
