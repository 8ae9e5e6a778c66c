"""Apps of the workspace, by reverse invocation; see ``reverse``."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import orjson
from dify_plugin.core.runtime import Session

from cachecore.answer import Piece, Usage
from rag_cache.errors import ReverseError
from rag_cache.work.reverse import (
    CUT,
    HOST_QUEUE,
    UNPROVEN,
    Limits,
    bounded,
    message_of,
)


def ask(
    session: Session,
    app_id: str,
    query: str,
    given: Mapping[str, Any],
    limits: Limits,
) -> Iterator[Piece]:
    """An app's answer in pieces; its outputs are the last one's data.

    One call serves every type of app, because Dify uses the app's own mode
    (core/plugin/backwards_invocation/app.py). An answer is complete if the app reported
    that it ended well, and no part of it failed; and if it came in fewer items than a
    queue of the host holds, or its end repeats the whole text. Raises ReverseError.
    """

    def begin() -> Iterable[Mapping[str, Any]]:
        return session.app.chat.invoke(app_id, query, dict(given), "streaming")

    reader = _AppReader()
    for event in bounded("app", begin, limits):
        # Also for an event without text: it shows that the app is alive.
        yield Piece(text=reader.take(event))
    yield reader.end()


# An agent's model is given these words of Dify as the output of a failed tool
# (core/tools/tool_engine.py, core/agent/fc_agent_runner.py).
_TOOL_FAILED: Final = re.compile(
    r"(?:\b|\\n)(?:(?:tool invoke|unknown|tool parameters validation) error: "
    r"|there is not a tool named |Please check your tool provider credentials)"
)


class _AppReader:
    """Reads an app's events (core/app/entities/task_entities.py) to their end."""

    def __init__(self) -> None:
        self._count = 0
        self._shown: list[str] = []
        self._ended = False
        self._failed = False  # in part
        self._replaced = False
        self._outputs: dict[str, Any] | None = None
        self._usage: Usage | None = None

    def take(self, event: Mapping[str, Any]) -> str:
        """The text that an event shows."""
        self._count += 1
        found = event.get("data")
        data: Mapping[str, Any] = found if isinstance(found, dict) else {}
        match event.get("event"):
            case "message" | "agent_message":
                return self._show(event.get("answer"))
            case "text_chunk":
                return self._show(data.get("text"))
            case "message_replace" | "text_replace":
                # The app replaces text that was already shown and can't be taken back.
                self._replaced = True
            case "message_end":
                self._ended = True
                about = event.get("metadata") or {}
                self._usage = _app_usage(about.get("usage")) or self._usage
            case "node_finished":
                self._note_node(data)
            case "agent_thought" | "agent_log":
                self._note_tool(event.get("observation") or data.get("data"))
            case "workflow_paused":
                raise ReverseError(
                    "The app waits for a person's input, for which Cached App can't wait; "
                    "call the app without a Human Input node."
                )
            case "workflow_finished":
                self._finish(data)
            case "error":
                raise _failure(event.get("message") or event.get("code") or "")
        return ""

    def _note_node(self, data: Mapping[str, Any]) -> None:
        """Note whether a node failed, or its model's answer was cut."""
        outputs = data.get("outputs")
        reason = outputs.get("finish_reason") if isinstance(outputs, dict) else None
        # An iteration may go on after a failed node, and then succeed.
        failed = data.get("status") in ("failed", "exception") or reason in CUT
        self._failed = self._failed or failed

    def _note_tool(self, output: Any) -> None:
        """Note whether a tool of an agent failed: the agent goes on, and succeeds."""
        text = output if isinstance(output, str) else repr(output)
        self._failed = self._failed or bool(_TOOL_FAILED.search(text))

    def _show(self, text: Any) -> str:
        shown = text if isinstance(text, str) else ""
        self._shown.append(shown)
        return shown

    def _finish(self, data: Mapping[str, Any]) -> None:
        status = data.get("status")
        if status in ("failed", "stopped"):
            raise _failure(data.get("error") or status)
        self._ended = self._ended or status == "succeeded"
        self._failed = self._failed or status != "succeeded"
        outputs = data.get("outputs")
        self._outputs = outputs if isinstance(outputs, dict) else {}
        tokens = data.get("total_tokens")
        if self._usage is None and isinstance(tokens, int) and tokens > 0:
            # Dify reports only the sum. Prompt tokens are the cheaper ones, so the
            # savings of a hit are never stated too high.
            self._usage = Usage(prompt_tokens=tokens)

    def end(self) -> Piece:
        """The last piece: text that was not shown yet, outputs, and the verdict."""
        if not self._count:
            raise ReverseError("The app gave no answer.")
        shown = "".join(self._shown)
        outputs = self._outputs or {}
        rest = "" if shown else _text_of(outputs)
        # All outputs come in one event: they are complete, or missing altogether.
        proven = self._count < HOST_QUEUE or not shown or shown in outputs.values()
        whole = self._ended and proven and not (self._replaced or self._failed)
        return Piece(
            text=rest,
            finish_reason="stop" if whole else UNPROVEN,
            usage=self._usage,
            data={"outputs": outputs} if outputs else None,
        )


def _failure(message: Any) -> ReverseError:
    return ReverseError(f"The app failed: {message_of(str(message))}")


def _text_of(outputs: Mapping[str, Any]) -> str:
    """The text of a workflow that streams none: its outputs."""
    if not outputs:
        return ""
    values = list(outputs.values())
    if len(values) == 1 and isinstance(values[0], str):
        return values[0]
    return orjson.dumps(dict(outputs)).decode()


def _app_usage(usage: Any) -> Usage | None:
    try:
        return Usage(
            int(usage["prompt_tokens"]),
            int(usage["completion_tokens"]),
            price=float(usage.get("total_price") or 0),
            currency=str(usage.get("currency") or "USD"),
        )
    except (TypeError, ValueError, KeyError):
        return None
