"""The stream of a namespace -> Celery. Start with ``python -m answer_worker.relay``.

A record is acknowledged once the broker has it; until then the stream keeps it, and
what a dead relay had is claimed by another. If the broker is away the relay waits: the
stream is bounded, so that the oldest goes, and no answer of Dify's is delayed.
"""

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from typing import Any, Final

from kombu.exceptions import OperationalError

from answer_worker import events
from answer_worker.events import BadRecord
from answer_worker.settings import BadSetting, Settings
from cachecore.errors import StoreError
from cachecore.keys import Keyspace
from cachecore.stores.connections import Command, Door, open_door
from cachecore.stores.remedies import ErrorReply

logger = logging.getLogger(__name__)

GROUP: Final = "answer-worker"
_AT_ONCE: Final = 100
_WAIT: Final = 2.0  # for new records
_LIMIT: Final = 5.0  # for a reply of Redis
# After so long what another relay has read and not acknowledged is taken over.
_DEAD_AFTER: Final = 60.0
_LONGEST_PAUSE: Final = 30.0

type Record = tuple[str, bytes]


class Relay:
    """Hands what the caches tell to ``send``, at least once, and then forgets it."""

    def __init__(self, settings: Settings, *, dead_after: float = _DEAD_AFTER) -> None:
        self._door: Door = open_door(settings.redis, lambda _: None)
        self._streams = [Keyspace(name).events for name in settings.namespaces]
        self._plugged = settings.plugged
        self._dead_after = dead_after
        self._me = f"{socket.gethostname()}-{os.getpid()}"
        self._stopped = threading.Event()
        self._ready: set[str] = set()

    def stop(self, *_: Any) -> None:
        """End after the record at hand."""
        self._stopped.set()

    def run(self) -> None:
        """Relay until it is stopped."""
        pause = 1.0
        while not self._stopped.is_set():
            try:
                for stream in self._streams:
                    self._relay(stream)
                pause = 1.0
            except (StoreError, OperationalError, OSError) as error:
                # The name alone: a broker's error may repeat its password.
                name = type(error).__name__
                logger.warning("waiting %.0f s: %s", pause, name)
                self._ready.clear()
                self._stopped.wait(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)

    def _relay(self, stream: str) -> None:
        if stream not in self._ready:
            self._make_group(stream)
        records = [*self._abandoned(stream), *self._new(stream)]
        if not records:
            self._stopped.wait(_WAIT if not self._door.blocks else 0)
        for position, data in records:
            self._hand_over(data)
            self._ask("XACK", stream, GROUP, position)
            if self._stopped.is_set():
                return

    def _hand_over(self, data: bytes) -> None:
        from answer_worker import tasks  # noqa: PLC0415 - it opens the broker

        try:
            found = events.read(data)
        except BadRecord as error:
            logger.warning("a record is left out: %s", error)
            return
        tasks.ship.delay([tasks.shipped(event) for event in found])
        for name in self._plugged:
            for event in found:
                tasks.run.delay(name, event)

    def _make_group(self, stream: str) -> None:
        made = self._reply("XGROUP", "CREATE", stream, GROUP, "0", "MKSTREAM")
        if isinstance(made, ErrorReply) and "BUSYGROUP" not in made.text:
            raise StoreError(made.remedy)
        self._ready.add(stream)

    def _abandoned(self, stream: str) -> Iterator[Record]:
        idle = int(self._dead_after * 1000)
        reply = self._ask(
            *("XAUTOCLAIM", stream, GROUP, self._me, idle, "0", "COUNT", _AT_ONCE)
        )
        yield from _records(reply[1])

    def _new(self, stream: str) -> Iterator[Record]:
        wait = ("BLOCK", int(_WAIT * 1000)) if self._door.blocks else ()
        reply = self._ask(
            *("XREADGROUP", "GROUP", GROUP, self._me, "COUNT", _AT_ONCE),
            *(*wait, "STREAMS", stream, ">"),
        )
        # redis-py's client for a Cluster has made a table of it.
        found = reply.items() if isinstance(reply, dict) else reply or ()
        for _, records in found:
            yield from _records(records)

    def _ask(self, *command: str | bytes | int) -> Any:
        reply = self._reply(*command)
        if isinstance(reply, ErrorReply):
            raise StoreError(reply.remedy)
        return reply

    def _reply(self, *command: str | bytes | int) -> Any:
        one: Command = command
        return self._door.run([one], _LIMIT + _WAIT)[0]


def _records(found: Any) -> Iterator[Record]:
    for position, fields in found:
        if fields is None:
            continue  # trimmed away since it was read
        table = (
            fields
            if isinstance(fields, dict)
            else dict(zip(fields[::2], fields[1::2], strict=True))
        )
        yield position.decode(), table.get(b"e", b"")


def main() -> int:
    """Relay until SIGTERM; 2 for a setting that makes no sense."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        from answer_worker.app import SETTINGS  # noqa: PLC0415 - it reads the settings
    except BadSetting as error:
        sys.stderr.write(f"{error}\n")
        return 2
    relay = Relay(SETTINGS)
    signal.signal(signal.SIGTERM, relay.stop)
    signal.signal(signal.SIGINT, relay.stop)
    logger.info("relaying %s", ", ".join(SETTINGS.namespaces))
    relay.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
