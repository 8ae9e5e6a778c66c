"""Runs Dify workflow DSL on the plugins of a Host, by graphon.

graphon (pinned, because private names of 0.8.0 are used) starts
``dify-plugin-daemon-slim`` for each call of a plugin. Here its client is replaced by
one that calls the Host's processes, which live longer, so that the memory of a process
is tested too. No other part of graphon is changed.
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
import yaml
from graphon.dsl import loads
from graphon.dsl.slim.client import (
    SlimChunkEvent,
    SlimClient,
    SlimClientError,
    SlimDoneEvent,
    SlimEvent,
)
from graphon.model_runtime.utils.encoders import jsonable_encoder

from devhost import panel
from devhost.failures import PluginDied, PluginError
from devhost.host import Host

_SHOWN = re.compile(r"\{\{#([\w.]+)#\}\}")
_KINDS = {
    "invoke_tool": "tool",
    "get_tool_runtime_parameters": "tool",
    "validate_tool_credentials": "tool",
}


class WorkflowFailed(Exception):
    """A node failed; the text is the one that Dify would show."""


class _Answers:
    """The text that the reader of a chatflow gets, by Dify's rules.

    An Answer node names variables. Dify sends the text that was streamed under these
    names; if nothing was streamed under a name, it sends the variable's value in its
    turn. The stream of a tool's variable is one empty piece that ends it, so the reader
    gets nothing of it (1.13.2: nodes/tool/tool_node.py:442-447,
    response_coordinator/coordinator.py:398-401; graphon 0.8.0 does the same).
    """

    def __init__(self, dsl: str) -> None:
        nodes = yaml.safe_load(dsl)["workflow"]["graph"]["nodes"]
        self._parts = {
            node["id"]: _SHOWN.split(node["data"]["answer"])
            for node in nodes
            if node["data"].get("type") == "answer"
        }
        # The variables that are sent while they are streamed: those at the start of an
        # answer.
        self.first = {parts[1] for parts in self._parts.values() if not parts[0]}
        self.streamed: dict[str, str] = {}

    def of(self, node_id: str, outputs: Mapping[str, Mapping[str, Any]]) -> str:
        """The text of an Answer node that has finished."""
        said = []
        for place, part in enumerate(self._parts.get(node_id, [""])):
            if place % 2 == 0:
                said.append(part)
            elif part in self.streamed:
                said.append(self.streamed[part])
            else:
                name, _, field_name = part.partition(".")
                said.append(str(outputs.get(name, {}).get(field_name, "")))
        return "".join(said)


@dataclass
class Run:
    """The result of a run; ``text`` is the text that the reader got.

    Times are seconds since the start.
    """

    text: str = ""
    first_token: float | None = None
    total: float = 0.0
    outputs: dict[str, Any] = field(default_factory=dict)
    node_outputs: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    conversation: dict[str, Any] = field(default_factory=dict)
    events: list[Any] = field(default_factory=list)


def run(
    host: Host,
    dsl: Path,
    inputs: Mapping[str, Any],
    *,
    app_id: str = "app-1",
    user_id: str = "user-1",
    credentials: Mapping[str, Any] | None = None,
    conversation: Mapping[str, Any] | None = None,
) -> Run:
    """Run a workflow to its end. ``credentials`` are graphon's.

    ``conversation`` has the values of conversation variables before the run; the result
    has those after it.
    """
    result = Run()
    for _ in stream(
        host,
        dsl,
        inputs,
        result,
        app_id=app_id,
        user_id=user_id,
        credentials=credentials,
        conversation=conversation,
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
    conversation: Mapping[str, Any] | None = None,
) -> Iterator[str]:
    """Yield the text in pieces; put everything else into ``result``."""
    client = _client_for(host, app_id, user_id)
    graphon.dsl.slim.llm.SlimClient = client
    graphon.dsl.tool_runtime.SlimClient = client
    text = dsl.read_text(encoding="utf-8")
    answers = _Answers(text)
    result.conversation = dict(conversation or {})
    engine = loads(
        _prepared(host, text, result.conversation),
        credentials=dict(credentials or {}),
        start_inputs=dict(inputs),
    )
    started = time.perf_counter()
    try:
        for event in engine.run():
            result.events.append(event)
            name = type(event).__name__
            if name == "NodeRunStreamChunkEvent":
                selector = ".".join(event.selector)
                answers.streamed.setdefault(selector, "")
                answers.streamed[selector] += event.chunk
                if selector not in answers.first or not event.chunk:
                    continue
                if result.first_token is None:
                    result.first_token = time.perf_counter() - started
                result.text += event.chunk
                yield event.chunk
            elif name == "NodeRunVariableUpdatedEvent":
                updated = event.variable
                result.conversation[updated.name] = updated.value
            elif name == "NodeRunSucceededEvent":
                result.node_outputs[event.node_id] = event.node_run_result.outputs
                rest = answers.of(event.node_id, result.node_outputs)
                rest = rest.removeprefix(result.text)
                if rest:
                    result.text += rest
                    yield rest
            elif name == "GraphRunSucceededEvent":
                result.outputs = dict(event.outputs or {})
    except RuntimeError as error:
        raise WorkflowFailed(str(error)) from error
    result.total = time.perf_counter() - started


def _prepared(host: Host, dsl: str, conversation: Mapping[str, Any]) -> str:
    """The workflow in the form that graphon's loader needs.

    It names the installed plugins, which Dify finds without this, and its conversation
    variables start with these values.
    """
    data = yaml.safe_load(dsl)
    _check_by_hand(host, data["workflow"]["graph"]["nodes"])
    data["dependencies"] = [
        {
            "current_identifier": None,
            "type": "package",
            "value": {"plugin_unique_identifier": identifier},
        }
        for identifier in (package.identifier for package in host.packages)
    ]
    for variable in data["workflow"]["conversation_variables"]:
        variable["value"] = conversation.get(variable["name"], variable["value"])
    return str(yaml.safe_dump(data, allow_unicode=True))


def _check_by_hand(host: Host, nodes: list[dict[str, Any]]) -> None:
    """Raise WorkflowFailed for a tool's parameter that a person can't fill in."""
    tools = {
        tool["identity"]["name"]: tool
        for package in host.packages
        for tool in package.tools
    }
    for node in nodes:
        name = node["data"].get("tool_name", "")
        for parameter in tools.get(name, {}).get("parameters", []):
            found = panel.fault(parameter)
            if found:
                raise WorkflowFailed(f"{name}, {parameter['name']}: {found}")


def as_app(
    host: Host, dsl: Path, credentials: Mapping[str, Any]
) -> Callable[[dict[str, Any]], Iterator[dict[str, Any]]]:
    """A chat app made of a workflow, for ``Host.serve``: request -> its events.

    The events are those of Dify's service API (core/app/entities/task_entities.py), as
    far as a caller reads them.
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
        """graphon's client, which calls the Host."""

        def __post_init__(self) -> None:
            self._binary_path = os.devnull

        def invoke_events(
            self, *, plugin_id: str, action: str, data: Mapping[str, Any]
        ) -> Generator[SlimEvent, None, None]:
            request = jsonable_encoder(dict(data))
            if action == "invoke_llm":
                # Dify removes the stop words from a node's completion params; graphon's
                # loader keeps them.
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
