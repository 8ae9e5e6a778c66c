"""The stream of a namespace -> Celery. Start with ``python -m answer_worker.relay``.

A record is acknowledged after the broker has confirmed it. Until then the stream keeps it,
and another relay claims the records of a dead relay. If the broker is not available, the
relay waits. The stream is bounded, so its oldest records are then lost; no answer of Dify is
delayed.
"""

import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

from amqp.exceptions import AMQPError, MessageNacked
from kombu.exceptions import OperationalError

from answer_worker import events
from answer_worker.events import BadRecord, NewerRecord
from answer_worker.settings import Settings
from cachecore.errors import StoreError
from cachecore.keys import Keyspace
from cachecore.stores.connection import Route, open_route
from cachecore.stores.messages import ErrorReply

logger = logging.getLogger(__name__)

GROUP: Final = "answer-worker"
_AT_ONCE: Final = 100
_WAIT: Final = 2.0  # for new records
_LIMIT: Final = 5.0  # for a reply of Redis
# After this many seconds, a relay takes over the unacknowledged records of another relay.
_DEAD_AFTER: Final = 60.0
_LONGEST_PAUSE: Final = 30.0
_SLICE: Final = 0.1  # seconds of a pause between two checks for a stop
# The errors of a broker that is not available, full, or refuses the login.
_BROKERS: Final = (OperationalError, AMQPError, MessageNacked, OSError)

type Record = tuple[str, str, bytes]  # stream, position, bytes


class Relay:
    """Sends the records of the streams to Celery, at least once, and acknowledges them."""

    def __init__(self, settings: Settings, *, dead_after: float = _DEAD_AFTER) -> None:
        self._route: Route = open_route(settings.redis)
        self._streams = [Keyspace(name).events for name in settings.namespaces]
        self._plugged = settings.plugged
        self._dead_after = dead_after
        self._me = f"{socket.gethostname()}-{os.getpid()}"
        self._stopped = False
        self._ready: set[str] = set()

    def stop(self, *_: Any) -> None:
        """End after the current record."""
        # A signal may come at any line, so this takes no lock.
        self._stopped = True

    def run(self) -> None:
        """Relay until it is stopped."""
        pause = 1.0
        while not self._stopped:
            try:
                self._round()
                pause = 1.0
            except (StoreError, *_BROKERS) as error:
                # A broker's error text may repeat its password; a store's does not.
                reason = str(error) if isinstance(error, StoreError) else "the broker"
                logger.warning(
                    "waiting %.0f s: %s", pause, reason or type(error).__name__
                )
                self._ready.clear()
                self._rest(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)

    def _rest(self, seconds: float) -> None:
        ends = time.monotonic() + seconds
        while not self._stopped and time.monotonic() < ends:
            time.sleep(_SLICE)

    def _round(self) -> None:
        for stream in self._streams:
            if stream not in self._ready:
                self._make_group(stream)
        records = [r for stream in self._streams for r in self._abandoned(stream)]
        records += self._new(wait=not records)
        for stream, position, data in records:
            if self._stopped:
                return  # Another relay takes over the read records after a while.
            if self._hand_over(data):
                self._ask("XACK", stream, GROUP, position)
        if not records and not self._route.blocks:
            self._rest(_WAIT)

    def _hand_over(self, data: bytes) -> bool:
        """Whether the record was processed, and may be acknowledged."""
        from answer_worker import tasks  # noqa: PLC0415 - it opens the broker

        try:
            found = events.read(data)
        except NewerRecord as error:
            logger.warning("a record waits for a newer worker: %s", error)
            return False
        except BadRecord as error:
            logger.warning("a record is left out: %s", error)
            return True
        tasks.ship.apply_async((found,), confirm_timeout=_LIMIT)
        for name in self._plugged:
            for event in found:
                tasks.run.apply_async((name, event), confirm_timeout=_LIMIT)
        return True

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
        yield from _records(stream, reply[1])

    def _new(self, *, wait: bool) -> list[Record]:
        """The new records of all streams; waits for them if the server permits it."""
        if not self._route.blocks:  # In a Cluster each stream is on its own node.
            return [r for stream in self._streams for r in self._read((), [stream])]
        block = ("BLOCK", int(_WAIT * 1000)) if wait else ()
        return self._read(block, self._streams)

    def _read(
        self, block: tuple[str | int, ...], streams: Sequence[str]
    ) -> list[Record]:
        reply = self._ask(
            *("XREADGROUP", "GROUP", GROUP, self._me, "COUNT", _AT_ONCE),
            *(*block, "STREAMS", *streams, *(">" for _ in streams)),
        )
        # redis-py's Cluster client returns a dict.
        found = reply.items() if isinstance(reply, dict) else reply or ()
        return [r for name, some in found for r in _records(name.decode(), some)]

    def _ask(self, *command: str | bytes | int) -> Any:
        reply = self._reply(*command)
        if isinstance(reply, ErrorReply):
            raise StoreError(reply.remedy)
        return reply

    def _reply(self, *command: str | bytes | int) -> Any:
        return self._route.run([command], _LIMIT + _WAIT)[0]


def _records(stream: str, found: Any) -> Iterator[Record]:
    for item in found:
        if item is None:  # Redis 6.2 returns this instead of a trimmed record.
            continue
        position, fields = item
        if fields is None:
            continue
        pairs = zip(fields[::2], fields[1::2], strict=True) if fields else ()
        table = fields if isinstance(fields, dict) else dict(pairs)
        yield stream, position.decode(), table.get(b"e", b"")


def main() -> int:
    """Relay until SIGTERM; an invalid setting ends it with a sentence."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    from answer_worker.app import SETTINGS  # noqa: PLC0415 - it reads the settings

    relay = Relay(SETTINGS)
    signal.signal(signal.SIGTERM, relay.stop)
    signal.signal(signal.SIGINT, relay.stop)
    logger.info("relaying %s", ", ".join(SETTINGS.namespaces))
    relay.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
