"""The store's calls as Redis commands, and what their replies hold."""

from collections.abc import Sequence
from typing import Final

from cachecore.errors import StoreError
from cachecore.stores import scripts
from cachecore.stores.base import Beat, Bid, Landing, Write
from cachecore.stores.sockets import Command, Reply

NO_REDIS: Final = (
    "What answers at the Redis URL (redis_url) does not speak as Redis does."
)
# Entries for which the time limit of one call is meant.
_AT_ONCE: Final = 8


def patience(entries: int) -> float:
    """How many limits a call with so many entries may take: they may be large."""
    return max(1.0, entries / _AT_ONCE)


def put(write: Write) -> Command:
    """Write an entry."""
    command = ("SET", write.key, write.value, "PX", ms(write.ttl))
    return (*command, "NX") if write.only_if_absent else command


def look(key: str, hash_key: str, fields: Sequence[str], bid: Bid) -> Command:
    """Look an entry and stamps up, and take the lease where all is as was bid for."""
    wanted = ["-" if text is None else f"+{text}" for text in bid.fields]
    names = key, hash_key, bid.lease
    return ("EVAL", scripts.LOOK, 3, *names, bid.token, ms(bid.ttl), *fields, *wanted)


def claim(entry: str, lease: str, token: str, ttl: float, over: str) -> Command:
    """Take a lease, or learn who has it."""
    mark = token[token.rindex(".") :]
    return ("EVAL", scripts.CLAIM, 2, entry, lease, token, ms(ttl), mark, over)


def beat(beat: Beat) -> Command:
    """Keep a lease, and tell what is new under it."""
    ttls = int(beat.lease_ttl * 1000), ms(beat.stream_ttl)
    names = beat.lease, beat.stream, beat.token
    return ("EVAL", scripts.BEAT, 2, *names, *ttls, *beat.records)


def land(landing: Landing) -> Command:
    """Write the entry, end the stream and give the lease back."""
    names = landing.entry, landing.lease, landing.stream, landing.token
    ttls = ms(landing.ttl), ms(landing.stream_ttl)
    value, told = landing.value or b"", landing.records
    return ("EVAL", scripts.LAND, 3, *names, value, *ttls, landing.seen, *told)


def append(stream: str, records: Sequence[bytes], most: int, ttl: float) -> Command:
    """Append records to a stream of at most so many."""
    # One script: as many commands would cost twenty times a record's time to send.
    return ("EVAL", scripts.APPEND, 1, stream, most, ms(ttl), *records)


def ms(seconds: float) -> int:
    """Whole milliseconds, one at least."""
    return max(1, int(seconds * 1000))


def records(streams: Reply) -> list[tuple[str, bytes | None]]:
    """The records of the one stream in the reply to XREAD; it is None for none."""
    try:
        return [
            (position.decode(), fields(pairs).get(b"d"))
            for _, records in streams or ()
            for position, pairs in records
        ]
    except (TypeError, ValueError, AttributeError):
        raise StoreError(NO_REDIS) from None


def table(reply: Reply) -> dict[str, str]:
    """The reply to HGETALL; a Cluster's has been parsed already."""
    try:
        return {
            name.decode("utf-8", "replace"): text.decode("utf-8", "replace")
            for name, text in fields(reply).items()
        }
    except (TypeError, ValueError, AttributeError):
        raise StoreError(NO_REDIS) from None


def fields(pairs: Reply) -> dict[bytes, bytes]:
    """Names and values of a flat list of both."""
    if isinstance(pairs, dict):  # redis-py's client for a Cluster has parsed it
        return pairs
    return dict(zip(pairs[::2], pairs[1::2], strict=True))
