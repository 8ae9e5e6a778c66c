"""A satisfaction survey: it asks after a share of the answers.

The event's id decides, so that a task that runs twice asks once. Your own service asks the
user, with a message, a mail or a form. It gets a POST at ``ANSWER_CACHE_WORKER_SURVEY_URL``.
"""

import hashlib
import json
import os
import urllib.request
from typing import Any

_PATIENCE = 10


def trigger(event: dict[str, Any]) -> dict[str, Any] | None:
    """Ask for a survey about this answer, or not."""
    url, every = os.environ.get("ANSWER_CACHE_WORKER_SURVEY_URL", ""), _every()
    if not url or event["result"] not in ("hit", "miss", "shared"):
        return None
    number = int.from_bytes(hashlib.sha256(event["id"].encode()).digest()[:8])
    if number % every:
        return None
    asked = {
        name: event[name] for name in ("id", "app", "label", "at", "key", "result")
    }
    request = urllib.request.Request(  # noqa: S310 - the operator's own address
        url,
        json.dumps(asked).encode(),
        {"Content-Type": "application/json", "Idempotency-Key": event["id"]},
    )
    with urllib.request.urlopen(request, timeout=_PATIENCE) as reply:  # noqa: S310
        return {"event": "survey_asked", "status": reply.status}


def _every() -> int:
    text = os.environ.get("ANSWER_CACHE_WORKER_SURVEY_EVERY", "100")
    return max(1, int(text)) if text.isdigit() else 100
