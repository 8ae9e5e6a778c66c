"""A TCP proxy on loopback that damages connections as a bad network does."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from servers.redis import free_port

_READ = 64 * 1024
# Seconds between two bytes of a dribble.
_DRIP = 0.01

type Fault = Callable[[socket.socket, bytes], bool]
"""Passes on what the server sent, in its way; False ends the connection."""


def passing(client: socket.socket, data: bytes) -> bool:
    """No fault."""
    client.sendall(data)
    return True


def slow(client: socket.socket, data: bytes) -> bool:
    """Every reply is 100 ms late."""
    time.sleep(0.1)
    client.sendall(data)
    return True


def cut(client: socket.socket, data: bytes) -> bool:
    """The connection ends in the middle of a reply."""
    client.sendall(data[: len(data) // 2])
    return False


def dribble(client: socket.socket, data: bytes) -> bool:
    """Byte after byte, each in time, but the whole reply never arrives."""
    for position in range(len(data)):
        time.sleep(_DRIP)
        client.sendall(data[position : position + 1])
    return True


def garbage(client: socket.socket, data: bytes) -> bool:
    """The reply of a server that is not a Redis."""
    client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" + data)
    return True


def silence(client: socket.socket, data: bytes) -> bool:
    """Replies are lost; the connection stays."""
    del client, data
    return True


class Proxy:
    """``port`` to connect to; ``fault`` for all data from now on."""

    def __init__(self, target: int) -> None:
        self.fault: Fault = passing
        self.connections = 0
        self._target = target
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", free_port()))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def drop(self) -> None:
        """End every open connection."""
        for sock in list(self._open):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Stop listening, and end the open connections."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                return
            self.connections += 1
            for sock in (client, server):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._open.add(sock)
            for work in (self._up, self._down):
                threading.Thread(
                    target=work, args=(client, server), daemon=True
                ).start()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(_READ):
                server.sendall(data)
        self._end(client, server)

    def _down(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(_READ):
                if not self.fault(client, data):
                    break
        self._end(client, server)

    def _end(self, *sockets: socket.socket) -> None:
        for sock in sockets:
            self._open.discard(sock)
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()


@contextmanager
def proxy(url: str) -> Iterator[tuple[str, Proxy]]:
    """A proxy in front of the server at ``redis://host:port``: its URL, and the proxy."""
    running = Proxy(int(url.rpartition(":")[2]))
    try:
        yield f"redis://127.0.0.1:{running.port}", running
    finally:
        running.close()
