"""Behaviour events: a row for an analytics pipeline."""

from typing import Any

_SLOW = 2.0


def record(event: dict[str, Any]) -> dict[str, Any]:
    """One row for analytics, without any text."""
    first = event["first_seconds"]
    return {
        "event": "answer_given",
        "cached": event["result"] in ("hit", "shared"),
        "felt_slow": first is not None and first > _SLOW,
        "repeated": event["result"] == "hit",
        "left": event["result"] == "left",
    }
