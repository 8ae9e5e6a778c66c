"""What is reported of requests: their look-ups, and what those that missed consisted of."""

import logging
import secrets
from collections.abc import Callable

from cachecore.events import Ended, Hook, Lookup, Missed, Result
from cachecore.keys import Keyspace, part_digest, short_key
from cachecore.lookup import Look
from cachecore.policy import Reason
from cachecore.request import Request, parts_of

logger = logging.getLogger(__name__)


class Reports:
    """Emits the events of look-ups. Thread-safe."""

    def __init__(
        self, keyspace: Keyspace, clock: Callable[[], float], emit: Hook
    ) -> None:
        self._clock = clock
        self._emit = emit
        # Of no use to others: where there is no secret, each process has its own.
        self._parts_secret = keyspace.secret or secrets.token_bytes(16)

    def look(self, request: Request, look: Look) -> None:
        """What came of a look-up."""
        entry, now = look.entry, self._clock()
        self._emit(
            Lookup(
                request.subject,
                look.reason,
                now,
                look.seconds,
                look.key_seconds,
                # A late one is paid for all the same, behind.
                entry.cost if entry and look.reason is not Reason.LATE else None,
                " = ".join(short_key(key) for key in (look.own, look.key) if key),
            )
        )

    def miss(self, request: Request, look: Look | None) -> None:
        """What a request that was not kept consisted of, if it can be said."""
        if look is not None and look.reason is Reason.ABSENT:
            parts = self._digests(request)
            if parts:
                self._emit(Missed(request.subject, short_key(look.key), parts))

    def hit(self, request: Request, look: Look) -> None:
        """A request that only looks up has ended with a hit."""
        if look.entry is not None:
            took = look.key_seconds + look.seconds
            self._emit(Ended(request.subject, Result.HIT, took, took))

    def _digests(self, request: Request) -> dict[str, str]:
        try:
            return {
                name: part_digest(part, self._parts_secret)
                for name, part in parts_of(request).items()
                if part is not None
            }
        except Exception as error:  # noqa: BLE001 - it goes without, and is answered
            logger.warning("a request has no parts: %s", type(error).__name__)
            return {}
