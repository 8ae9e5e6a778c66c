"""Reports of requests: their look-ups, and the parts of requests that missed."""

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
        # Without a secret, each process has its own: no other process needs it.
        self._parts_secret = keyspace.secret or secrets.token_bytes(16)

    def look(self, request: Request, look: Look) -> None:
        """Report the result of a look-up."""
        entry, now = look.entry, self._clock()
        self._emit(
            Lookup(
                request.subject,
                look.reason,
                now,
                look.seconds,
                look.key_seconds,
                # A late answer saves nothing: its load goes on in the background.
                entry.cost if entry and look.reason is not Reason.LATE else None,
                " = ".join(short_key(key) for key in (look.own, look.key) if key),
            )
        )

    def miss(self, request: Request, look: Look | None) -> None:
        """Report the parts of a request without an entry, if they are known."""
        if look is not None and look.reason is Reason.ABSENT:
            parts = self._digests(request)
            if parts:
                self._emit(Missed(request.subject, short_key(look.key), parts))

    def hit(self, request: Request, look: Look) -> None:
        """Report the end of a request that only looked up, on a hit."""
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
        except Exception as error:  # noqa: BLE001 - the request is answered without
            logger.warning("a request has no parts: %s", type(error).__name__)
            return {}
