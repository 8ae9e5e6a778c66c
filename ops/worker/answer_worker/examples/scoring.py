"""Asynchronous scoring: a cheap check of an answer's text.

It needs ``events: texts`` in Cache Options, and the same cache secret in the worker. A model
as a judge can be called here too, because no answer waits for it.
"""

import re
from typing import Any

_EXCUSES = re.compile(
    r"\b(i (do not|don't|cannot|can't)|as an ai|sorry)\b|无法|抱歉|申し訳|わかりません|"
    r"\b(não (sei|posso)|desculpe)\b",
    re.IGNORECASE,
)
_SHORT = 20  # characters
_ENOUGH = 3  # words of a question


def score(event: dict[str, Any]) -> dict[str, Any] | None:
    """The score of an answer, from 0 to 1, and the reasons for a lower one."""
    answer = event.get("answer")
    if answer is None:
        return None
    faults = []
    if _EXCUSES.search(answer):
        faults.append("excuse")
    if len(answer.strip()) < _SHORT:
        faults.append("short")
    if event["finish_reason"] not in ("stop", None):
        faults.append("cut")
    if _echoes(str(event.get("question", "")), answer):
        faults.append("echo")
    return {
        "event": "answer_scored",
        "score": round(1 - len(faults) / 4, 2),
        "faults": faults,
        # POST /feedback with its key drops a bad answer that is served again and again.
        "worth_a_look": bool(faults) and event["result"] == "hit",
    }


def _echoes(question: str, answer: str) -> bool:
    words, answered = set(question.lower().split()), set(answer.lower().split())
    return (
        len(words) >= _ENOUGH and words <= answered and len(answered) < 2 * len(words)
    )
