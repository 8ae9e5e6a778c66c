"""A record of the stream -> events.

``cachecore.event_log`` defines the format. A record that can't be read is skipped; it does
not stop the worker.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from cachecore import entry as entries
from cachecore import event_log
from cachecore.errors import CorruptEntry
from cachecore.keys import Keyspace

type Event = dict[str, Any]


class BadRecord(Exception):
    """An item of the stream is not a record of the event log."""


class NewerRecord(Exception):
    """A record has a newer version; a newer worker can read it."""


def read(record: bytes) -> list[Event]:
    """The events of a record, each with an ``id`` of its own.

    Raises BadRecord or NewerRecord.
    """
    try:
        data = orjson.loads(record)
        if data["version"] != event_log.VERSION:
            raise NewerRecord(f"version {data['version']!r}; update the worker")
        who = str(data["namespace"]), str(data["writer"])
        found = [
            {
                "id": f"{who[0]}-{who[1]}-{row[0]}",
                "namespace": who[0],
                **dict(zip(data["fields"], row, strict=True)),
            }
            for row in data["rows"]
        ]
        for event in found:
            document(event)
    except (ValueError, TypeError, KeyError, IndexError, OverflowError) as error:
        raise BadRecord(
            f"not a record of the cache's: {type(error).__name__}"
        ) from error
    return found


def texts(event: Mapping[str, Any], cipher_key: bytes | None) -> dict[str, str]:
    """``question`` and ``answer`` of an event; empty if they are not available."""
    sealed = event.get("texts")
    if not sealed:
        return {}
    stream = Keyspace(str(event["namespace"])).events
    try:
        opened = entries.unseal(bytes.fromhex(str(sealed)), stream, cipher_key)
        found = orjson.loads(opened)
        return {name: str(found[name]) for name in ("question", "answer")}
    except (CorruptEntry, ValueError, KeyError, TypeError):
        return {}


def document(event: Mapping[str, Any]) -> Event:
    """An event as a document: with its time as text, without its sealed texts."""
    shown = {name: value for name, value in event.items() if name != "texts"}
    at = datetime.fromtimestamp(float(event["at"]), UTC)
    return {**shown, "@timestamp": at.isoformat(timespec="milliseconds")}
