"""The targets of rows: questions to an app or the gateway, or values for ``/store``.

Each goes through the running plugin, so that the keys are those of its users.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from answer_warm.http import Api, Failed, Useless
from answer_warm.rows import Row, json_object

# The most values of one request: the plugin accepts 200 and 2 MiB.
_VALUES: Final = 100
_MOST_BYTES: Final = 1_000_000
_PATHS: Final[Mapping[str, str]] = {
    "chat": "/chat-messages",
    "advanced-chat": "/chat-messages",
    "agent-chat": "/chat-messages",
    "completion": "/completion-messages",
    "workflow": "/workflows/run",
}
_ENDS: Final = ("message_end", "workflow_finished")


class Target(Protocol):
    """Accepts up to ``at_once`` rows; returns the reason of each failure, else an empty text.

    ``name`` distinguishes targets. ``warm`` raises Failed for all of its rows, and Useless.
    """

    at_once: int
    name: str

    def warm(self, rows: Sequence[Row]) -> list[str]: ...


@dataclass(slots=True)
class App:
    """An app of Dify, asked like its users do."""

    api: Api
    mode: str
    input_name: str  # the variable of a workflow for the question
    user: str
    name: str
    at_once: int = 1

    def warm(self, rows: Sequence[Row]) -> list[str]:
        return [self._ask(row) for row in rows]

    def _ask(self, row: Row) -> str:
        body: dict[str, Any] = {
            "inputs": dict(row.inputs),
            "user": self.user,
            "response_mode": "streaming",  # Agents support only this mode.
        }
        if self.mode in ("workflow", "completion"):
            body["inputs"][self.input_name] = row.question
        else:
            body["query"] = row.question
        end: dict[str, Any] = {}
        for data in self.api.events(_PATHS[self.mode], body):
            event = json_object(data)
            if event.get("event") == "error":
                raise Failed(f"the app failed: {str(event.get('message'))[:200]}")
            if event.get("event") in _ENDS:
                end = event
        if not end:
            raise Failed("the app's answer has no end")
        run = end.get("data")
        run = run if isinstance(run, dict) else {}
        if end["event"] == "workflow_finished" and run.get("status") != "succeeded":
            raise Failed(
                f"the workflow {run.get('status')}: {str(run.get('error'))[:200]}"
            )
        return ""


def app(api: Api, url: str, input_name: str, user: str) -> App:
    """The app of the given key. Raises Failed or Useless."""
    mode = str(api.get("/info").get("mode"))
    if mode not in _PATHS:
        raise Useless(
            f"An app of the kind {mode[:40]!r} can't be asked through Dify's API."
        )
    if mode == "workflow" and not input_name:
        raise Useless("Name the workflow's variable for the question with --input.")
    # All apps of a Dify have one address; their keys distinguish them.
    name = f"app {url} {api.digest} {input_name} {user}"
    return App(api, mode, input_name or "query", user, name=name)


@dataclass(slots=True)
class Gateway:
    """A model of the workspace, asked through RAG Cache's OpenAI endpoints."""

    api: Api
    model: str
    system: str
    name: str
    at_once: int = 1

    def warm(self, rows: Sequence[Row]) -> list[str]:
        return [self._ask(row) for row in rows]

    def _ask(self, row: Row) -> str:
        messages = [{"role": "system", "content": self.system}] if self.system else []
        messages.append({"role": "user", "content": row.question})
        body = {"model": self.model, "messages": messages}
        reply = self.api.post("/chat/completions", body)
        choices = reply.get("choices")
        first = choices[0] if isinstance(choices, list) and choices else None
        whole = isinstance(first, dict) and first.get("finish_reason") == "stop"
        return "" if whole else "the answer was not whole, and is not kept"


@dataclass(slots=True)
class Values:
    """Answers that people wrote, kept for Cache Lookup through ``POST /store``."""

    api: Api
    of_all: Mapping[str, str]  # name, context_keys, cache_tags, cache_ttl, app_id
    name: str
    at_once: int = field(default=_VALUES, init=False)

    def warm(self, rows: Sequence[Row]) -> list[str]:
        items = [{"key": row.question, "value": row.answer} for row in rows]
        if len(items) > 1 and len(json.dumps(items)) > _MOST_BYTES:
            middle = len(rows) // 2
            return self.warm(rows[:middle]) + self.warm(rows[middle:])
        reply = self.api.post("/store", {**self.of_all, "items": items})
        reasons = [""] * len(rows)
        for refused in reply.get("refused") or ():
            reasons[refused["item"]] = f"was not kept: {refused['reason']}"
        return reasons
