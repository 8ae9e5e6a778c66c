"""What is done with events: shipped, and handed to what the operator plugged in.

Every task may run twice, for a broker gives again what a dead worker had; so each
document has an id that its event decides.
"""

import logging
import random
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, Final, cast

from celery import Task
from elasticsearch import ApiError, Elasticsearch, TransportError
from elasticsearch.helpers import streaming_bulk

from answer_worker import events, settings
from answer_worker.app import DEAD, SETTINGS, app
from answer_worker.events import Event

logger = logging.getLogger(__name__)

# Not the document's fault: it may be taken later.
_LATER: Final = (429, 500, 502, 503, 504)
_LONGEST_PAUSE: Final = 600.0
_PATIENCE: Final = 20.0

type Plugged = Callable[[Event], Mapping[str, Any] | None]


@cache
def _elasticsearch() -> Elasticsearch:
    return Elasticsearch(SETTINGS.elasticsearch, request_timeout=_PATIENCE)


@app.task(bind=True, name="answer_cache.ship", max_retries=None)
def ship(self: Task, documents: list[Event], tries: int = 0) -> None:
    """Put documents into Elasticsearch, in bulk; those that are refused are dead."""
    if not SETTINGS.elasticsearch:
        return
    by_id = {document["id"]: document for document in documents}
    later: list[Event] = []
    try:
        for done, told in streaming_bulk(
            _elasticsearch(),
            (_action(document) for document in documents),
            raise_on_error=False,
            raise_on_exception=False,
        ):
            ((_, result),) = told.items()
            if done:
                by_id.pop(result["_id"], None)
            elif result.get("status") in _LATER or "exception" in result:
                later.append(by_id.pop(result["_id"]))
            else:
                reason = (result.get("error") or {}).get("type", "refused")
                _bury([by_id.pop(result["_id"])], f"Elasticsearch: {reason}")
    except (TransportError, ApiError) as error:
        logger.warning("Elasticsearch: %s", type(error).__name__)
    # What nobody said anything of is as good as not sent.
    later += by_id.values()
    if later:
        _again(self, later, tries)


def _action(document: Event) -> dict[str, Any]:
    return {
        "_op_type": "index",
        "_index": SETTINGS.index,
        "_id": document["id"],
        "_source": document,
    }


def _again(task: Task, documents: list[Event], tries: int) -> None:
    if tries + 1 >= SETTINGS.tries:
        _bury(documents, "Elasticsearch: out of tries")
        return
    pause = min(_LONGEST_PAUSE, SETTINGS.first_pause * 2**tries)
    pause *= random.uniform(0.5, 1.5)  # noqa: S311 - so that not all come at once
    logger.warning("retry of a bulk of %d in %.1f s", len(documents), pause)
    task.apply_async((documents, tries + 1), countdown=pause)


@app.task(name="answer_cache.run", autoretry_for=(), acks_late=True)
def run(name: str, event: Event) -> None:
    """Hand an event to a plugged-in task; what it returns is shipped too."""
    given = {**event, **_texts(event)}
    given.pop("texts", None)
    task = cast("Plugged", settings.find(name))
    try:
        made = task(given)
    except Exception as error:  # noqa: BLE001 - somebody else's code
        _bury([event], f"{name}: {type(error).__name__}")
        return
    if made:
        short = name.rpartition(":")[2]
        document = {**events.document(event), **made, "of": event["id"], "task": short}
        document["id"] = f"{event['id']}-{short}"
        ship.delay([document])


def _texts(event: Event) -> dict[str, str]:
    return events.texts(event, SETTINGS.cipher_key(event["namespace"]))


def shipped(event: Event) -> Event:
    """An event as it is shipped: with its texts only where the operator says so."""
    found = _texts(event) if SETTINGS.ship_texts else {}
    told = {f"{name}_text": text for name, text in found.items()}
    return {**events.document(event), **told}


def _bury(dead: Iterable[Event], reason: str) -> None:
    """Put events where people find them; nothing is lost by an error of ours."""
    with app.producer_pool.acquire(block=True) as producer:
        for event in dead:
            logger.warning("event %s is dead: %s", event["id"], reason)
            producer.publish(
                {"reason": reason, "event": event},
                serializer="json",
                routing_key=DEAD.routing_key,
                exchange="",
                declare=[DEAD],
                delivery_mode=2,
                retry=True,
            )
