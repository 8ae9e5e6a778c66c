"""The listener's side of a load in another process: what its leader tells."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from cachecore import records
from cachecore.errors import FlightBroken, LeaderGone, Standstill, StoreError
from cachecore.keys import flight_key, lease_key
from cachecore.records import Pace
from cachecore.stores.base import Heard, Store
from cachecore.streams import Piece


class Shared(Exception):
    """The leader's load failed, and this caller would meet the same error."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name, self.text = name, text


class Listener:
    """Listens to the load of ``key`` under the lease ``token``."""

    def __init__(
        self,
        store: Store,
        key: str,
        token: str,
        *,
        cipher_key: bytes | None,
        timer: Callable[[], float],
        pace: Pace,
    ) -> None:
        self._store = store
        self._cipher_key = cipher_key
        self._timer = timer
        self._pace = pace
        self._token = token
        self._stream, self._lease = flight_key(key, token), lease_key(key)
        self._after, self._count, self._sign = "0", 0, True
        self._shown, self._heard_at = False, self._timer()
        self._doubted = self._still = False

    def pieces(self, credential: str) -> Iterator[list[Piece]]:
        """What the leader tells, from its first piece.

        Raises LeaderGone if it ends without an answer before anything was
        given out, FlightBroken after that; Shared for the leader's own error,
        where the credential is the same; StoreError if nothing was given out.
        """
        who = records.who(credential)
        while True:
            heard = self._hear()
            before = self._count
            pieces, end = self._read(heard)
            if self._count > before:
                self._heard_at = self._timer()
            if pieces:
                self._shown = True
                yield pieces
            if end is not None:
                self._finish(end, who)
                return
            if self._still and not self._shown:
                raise Standstill("the load has come to a standstill")
            self._doubted = self._doubt(heard)

    def _hear(self) -> Heard:
        # Who has just left a sign, or doubts, wants to know what is there already.
        wait = 0 if self._sign or self._doubted else self._pace.listen
        sign, self._sign = self._sign, False
        try:
            return self._store.listen(
                self._stream, self._lease, self._after, wait, sign=sign
            )
        except StoreError as error:
            if self._shown:
                raise FlightBroken("Redis failed during the answer") from error
            raise

    def _read(self, heard: Heard) -> tuple[list[Piece], Mapping[str, Any] | None]:
        pieces: list[Piece] = []
        for position, data in heard.records:
            self._after = position
            if data is None:
                continue  # a listener's sign
            record = records.unseal(data, self._stream, self._count, self._cipher_key)
            self._count += 1
            if "end" in record:
                return pieces, record
            # Those without anything in them only show that the load moves.
            pieces += [piece for piece in record["pieces"] if piece != Piece()]
            self._still = bool(record.get("still"))
        return pieces, None

    def _doubt(self, heard: Heard) -> bool:
        """Whether to look once more, and at once, before this leader is given up."""
        silent = self._timer() - self._heard_at
        if self._shown:
            # Whoever holds the lease: a refresh may have taken it.
            if silent > self._pace.silence:
                raise FlightBroken("the leader of this answer has fallen silent")
            return False
        if heard.records:
            return False
        if heard.holder == self._token:
            if silent > self._pace.patience:
                raise LeaderGone("the leader gives no sign of life")
            return False
        if self._doubted:
            raise LeaderGone("the leader's lease has ended")
        return True  # It may have ended between the two replies.

    def _finish(self, end: Mapping[str, Any], who: str) -> None:
        if end["end"] == "landed" and self._shown:
            return
        if end["end"] == "error" and end.get("who") == who and "error" in end:
            raise Shared(*end["error"])
        if self._shown:
            raise FlightBroken("the load that this answer came from ended early")
        raise LeaderGone("the load ended before it was told")
