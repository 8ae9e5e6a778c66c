"""Runs Dify workflow DSL on the plugins of a Host, through graphon.

graphon (pinned: private names of 0.8.0 are used) reaches plugins by starting
``dify-plugin-daemon-slim`` for each call. Here its client is replaced by one
that asks the Host's long-lived processes, so that what a process remembers is
tested too. Nothing else of graphon is touched.
"""

import os
import re
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import graphon.dsl.slim.llm
import graphon.dsl.tool_runtime
from graphon.dsl import loads
from graphon.dsl.slim.client import (
    SlimChunkEvent,
    SlimClient,
    SlimClientError,
    SlimDoneEvent,
    SlimEvent,
)
from graphon.model_runtime.utils.encoders import jsonable_encoder

from devhost.failures import PluginDied, PluginError
from devhost.host import Host

# Dify shows of a stream what an Answer node names (ResponseStreamCoordinator);
# graphon gives every node's.
_ANSWERS = re.compile(r"^ *answer: (.*)$", re.MULTILINE)
_SHOWN = re.compile(r"\{\{#([\w.]+)#\}\}")
_KINDS = {
    "invoke_tool": "tool",
    "get_tool_runtime_parameters": "tool",
    "validate_tool_credentials": "tool",
}


class WorkflowFailed(Exception):
    """A node failed; the text is what Dify would show."""


@dataclass
class Run:
    """What a run gave. Times are seconds since its start."""

    text: str = ""
    first_token: float | None = None
    total: float = 0.0
    outputs: dict[str, Any] = field(default_factory=dict)
    node_outputs: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    events: list[Any] = field(default_factory=list)


def run(
    host: Host,
    dsl: Path,
    inputs: Mapping[str, Any],
    *,
    app_id: str = "app-1",
    user_id: str = "user-1",
    credentials: Mapping[str, Any] | None = None,
) -> Run:
    """Run a workflow to its end. ``credentials`` are graphon's."""
    result = Run()
    for _ in stream(
        host,
        dsl,
        inputs,
        result,
        app_id=app_id,
        user_id=user_id,
        credentials=credentials,
    ):
        pass
    return result


def stream(
    host: Host,
    dsl: Path,
    inputs: Mapping[str, Any],
    result: Run,
    *,
    app_id: str = "app-1",
    user_id: str = "user-1",
    credentials: Mapping[str, Any] | None = None,
) -> Iterator[str]:
    """The text as it comes, and everything else in ``result``."""
    client = _client_for(host, app_id, user_id)
    graphon.dsl.slim.llm.SlimClient = client
    graphon.dsl.tool_runtime.SlimClient = client
    text = dsl.read_text(encoding="utf-8")
    shown = set(_SHOWN.findall(" ".join(_ANSWERS.findall(text))))
    engine = loads(
        text,
        credentials=dict(credentials or {}),
        start_inputs=dict(inputs),
    )
    started = time.perf_counter()
    try:
        for event in engine.run():
            result.events.append(event)
            name = type(event).__name__
            if name == "NodeRunStreamChunkEvent" and event.chunk:
                if ".".join(event.selector) not in shown:
                    continue
                if result.first_token is None:
                    result.first_token = time.perf_counter() - started
                result.text += event.chunk
                yield event.chunk
            elif name == "NodeRunSucceededEvent":
                result.node_outputs[event.node_id] = event.node_run_result.outputs
            elif name == "GraphRunSucceededEvent":
                result.outputs = dict(event.outputs or {})
                answer = str(result.outputs.get("answer") or "")
                rest = answer.removeprefix(result.text)
                result.text = answer or result.text
                if answer and rest:
                    yield rest
    except RuntimeError as error:
        raise WorkflowFailed(str(error)) from error
    result.total = time.perf_counter() - started


def as_app(
    host: Host, dsl: Path, credentials: Mapping[str, Any]
) -> Callable[[dict[str, Any]], Iterator[dict[str, Any]]]:
    """A chat app made of a workflow, for ``Host.serve``: request -> its events.

    The events are those of Dify's service API (core/app/entities/task_entities.py),
    as far as a caller reads them.
    """

    def serve(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if not request["query"]:  # core/plugin/backwards_invocation/app.py
            raise ValueError("missing query")
        result = Run()
        inputs = {**request["inputs"], "query": request["query"]}
        yield {"event": "workflow_started", "data": {}}
        try:
            for text in stream(host, dsl, inputs, result, credentials=credentials):
                yield {"event": "message", "answer": text}
        except WorkflowFailed as error:
            failed = {"status": "failed", "error": str(error), "outputs": None}
            yield {"event": "workflow_finished", "data": failed}
            return
        outputs = {"answer": result.text}
        done = {"status": "succeeded", "outputs": outputs, "error": None}
        yield {"event": "workflow_finished", "data": done}
        yield {"event": "message_end", "metadata": {"usage": {}}}

    return serve


def _client_for(host: Host, app_id: str, user_id: str) -> type[SlimClient]:
    class HostClient(SlimClient):
        """graphon's client, asking the Host."""

        def __post_init__(self) -> None:
            self._binary_path = os.devnull

        def invoke_events(
            self, *, plugin_id: str, action: str, data: Mapping[str, Any]
        ) -> Generator[SlimEvent, None, None]:
            request = jsonable_encoder(dict(data))
            if action == "invoke_llm":
                # Dify takes the stop words out of a node's completion params;
                # graphon's loader leaves them there.
                stop = request["model_parameters"].pop("stop", [])
                request["stop"] = request["stop"] or stop
            chunks = host.plugin(plugin_id).process.invoke(
                _KINDS.get(action, "model"),
                action,
                request,
                user_id=user_id,
                app_id=app_id,
            )
            try:
                for chunk in chunks:
                    yield SlimChunkEvent(data=chunk)
            except (PluginError, PluginDied) as error:
                raise SlimClientError(str(error)) from error
            yield SlimDoneEvent()

        def extract(
            self,
            *,
            plugin_id: str | None = None,
            path: str | Path | None = None,
            action: str | None = None,
        ) -> Mapping[str, Any]:
            del path, action
            package = host.plugin(plugin_id or "").package
            tools = {**package.providers.get("tools", {}), "tools": package.tools}
            manifest = {**package.manifest, "tool": tools}
            return {"unique_identifier": package.identifier, "manifest": manifest}

    return HostClient
