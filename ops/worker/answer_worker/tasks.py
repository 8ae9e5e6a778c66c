"""The tasks: ship events, and run the operator's own functions.

Every task may run twice, because a broker gives the tasks of a dead worker to another one.
So the id of a document is computed from its event. Events that can't be processed are put
into the queue of the dead; ``python -m answer_worker.replay`` queues them again.
"""

import json
import logging
import random
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, Final, cast

from celery import Task
from elasticsearch import ApiError, Elasticsearch, TransportError
from elasticsearch.helpers import streaming_bulk

from answer_worker import events, settings
from answer_worker.app import LONGEST_PAUSE, SETTINGS, app
from answer_worker.events import Event
from answer_worker.queues import DEAD

logger = logging.getLogger(__name__)

# Statuses that do not concern the document: Elasticsearch may accept it later.
_LATER: Final = (401, 403, 429, 500, 502, 503, 504)
_TOO_LARGE: Final = 413
_PATIENCE: Final = 20.0

type Plugged = Callable[[Event], Mapping[str, Any] | None]


@cache
def _elasticsearch() -> Elasticsearch:
    return Elasticsearch(SETTINGS.elasticsearch, request_timeout=_PATIENCE)


@app.task(bind=True, name="answer_cache.ship", max_retries=None)
def ship(self: Task, given: list[Event], tries: int = 0) -> None:
    """Put documents into Elasticsearch, in bulk; refused documents are dead.

    ``given`` are documents, or events with sealed texts, which are decrypted here.
    """
    if not SETTINGS.elasticsearch:
        return
    left = {one["id"]: one for one in given}
    later: list[Event] = []
    status: Any = None
    try:
        for done, results in streaming_bulk(
            _elasticsearch(),
            (_action(one) for one in given),
            raise_on_error=False,
            raise_on_exception=False,
        ):
            ((_, result),) = results.items()
            one = left.pop(result["_id"], None)
            if done or one is None:
                continue
            status = result.get("status")
            if status in _LATER or status == _TOO_LARGE or "exception" in result:
                later.append(one)
            else:
                bury([one], f"Elasticsearch: {_kind_of(result.get('error'))}")
    except (TransportError, ApiError) as error:
        status = type(error).__name__
    # A document without a result counts as not sent.
    later += left.values()
    if not later:
        return
    if status == _TOO_LARGE and len(later) > 1:
        half = len(later) // 2
        for some in (later[:half], later[half:]):
            self.apply_async((some, tries))
        return
    _again(self, later, tries, status)


def _action(one: Event) -> dict[str, Any]:
    return {
        "_op_type": "index",
        "_index": SETTINGS.index,
        "_id": one["id"],
        "_source": shipped(one) if "texts" in one else one,
    }


def _kind_of(error: Any) -> str:
    return str(error.get("type")) if isinstance(error, dict) else "refused"


def _again(task: Task, documents: list[Event], tries: int, status: Any) -> None:
    if tries + 1 >= SETTINGS.tries:
        bury(documents, f"Elasticsearch: {status}, out of tries")
        return
    pause = min(LONGEST_PAUSE, SETTINGS.first_pause * 2**tries)
    pause *= random.uniform(0.5, 1)  # noqa: S311 - so that not all tries come at once
    message = "retry of a bulk of %d in %.1f s: Elasticsearch says %s"
    logger.warning(message, len(documents), pause, status)
    task.apply_async((documents, tries + 1), countdown=pause)


@app.task(bind=True, name="answer_cache.run")
def run(self: Task, name: str, event: Event) -> None:
    """Give an event to a plugged-in task; its result is shipped too."""
    if (self.request.delivery_info or {}).get("redelivered"):
        # The event may have killed its worker: another try could kill this one too.
        bury([event], "its worker died", name)
        return
    try:
        document = _made(name, event)
        if document is not None:
            ship.delay([document])
    except Exception as error:  # noqa: BLE001 - the operator's own code
        bury([event], f"{name}: {type(error).__name__}", name)


def _made(name: str, event: Event) -> Event | None:
    """The document that a plugged-in task makes of an event."""
    # A writer to the broker must not choose the code to run.
    if name not in SETTINGS.plugged:
        raise settings.BadSetting("no task of this worker's")
    given = {**event, **_texts(event)}
    given.pop("texts", None)
    made = cast("Plugged", settings.find(name))(given)
    if not made:
        return None
    own = {"of": event["id"], "task": name, "id": f"{event['id']}-{name}"}
    document: Event = {**events.document(event), **made, **own}
    return cast("Event", json.loads(json.dumps(document)))


def _texts(event: Event) -> dict[str, str]:
    return events.texts(event, SETTINGS.cipher_key(event["namespace"]))


def shipped(event: Event) -> Event:
    """The document of an event, with its texts only if the operator chose so."""
    found = _texts(event) if SETTINGS.ship_texts else {}
    results = {f"{name}_text": text for name, text in found.items()}
    return {**events.document(event), **results}


def bury(dead: Iterable[Event], reason: str, task: str = "") -> None:
    """Put events into the queue of the dead, so that they are not lost."""
    with app.producer_pool.acquire(block=True) as producer:
        for event in dead:
            logger.warning("event %s is dead: %s", event.get("id"), reason)
            producer.publish(
                {"reason": reason, "task": task, "event": event},
                serializer="json",
                routing_key=DEAD.routing_key,
                exchange="",
                declare=[DEAD],
                delivery_mode=2,
                retry=True,
            )
