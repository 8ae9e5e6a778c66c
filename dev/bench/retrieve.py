"""A warm cached_retrieve, against the same tool with a constant answer, in one host."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from servers.documents import Document
from servers.knowledge import KEY, FakeKnowledgeApi

from bench.measure import Result, by_turns, difference, ratio
from bench.packages import changed
from devhost.host import Host

TOOLS = "answercache/rag_cache"
FLOOR = "answercache/rag_floor"
# Milliseconds that the article measured for a Knowledge Retrieval node.
API_SECONDS = 0.8
PASSAGES = 3
_CHECKED = 1  # second
_TOOL = """import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

from dify_plugin import Tool
from dify_plugin.entities.tool import ToolInvokeMessage

FOUND = json.loads((Path(__file__).parents[1] / "floor.json").read_text("utf-8"))


class CachedRetrieve(Tool):
    def _invoke(
        self, tool_parameters: dict[str, Any]
    ) -> Generator[ToolInvokeMessage, None, None]:
        for name, value in FOUND.items():
            yield self.create_variable_message(name, value)
"""


def credentials(form: Mapping[str, str], api: FakeKnowledgeApi) -> dict[str, str]:
    """The tool's credentials, with the Redis of ``form``."""
    return {
        **{name: form[name] for name in ("redis_url", "cache_namespace")},
        "cache_options": "redis_timeout_ms: 1000",
        "knowledge_api_url": api.url,
        "knowledge_api_key": KEY,
    }


def knowledge(api: FakeKnowledgeApi) -> str:
    """A dataset with passages of the length that Dify cuts; its id."""
    api.delay = API_SECONDS
    prose = "Parcels arrive after three days, and lamps are packed in two boxes. " * 12
    documents = [Document(f"page {n}.md", f"{n} {prose}") for n in range(PASSAGES)]
    return api.add("FAQ", *documents).id


def call(
    host: Host, plugin: str, form: Mapping[str, str], dataset: str
) -> dict[str, Any]:
    """The tool's variables."""
    request = {
        "provider": "rag_cache",
        "tool": "cached_retrieve",
        "credentials": form,
        "tool_parameters": {"query": "When do parcels arrive?", "datasets": dataset},
    }
    chunks = host.plugin(plugin).process.invoke("tool", "invoke_tool", request)
    messages = [c["message"] for c in chunks if c["type"] == "variable"]
    return {m["variable_name"]: m["variable_value"] for m in messages}


def floor_of(package: Path, found: Mapping[str, Any], scratch: Path) -> Path:
    """The same package, whose tool always answers ``found``."""
    own = {"tools/cached_retrieve.py": _TOOL.encode()}
    own["floor.json"] = json.dumps(found).encode()
    return changed(package, scratch, "rag_floor", own)


def run(
    host: Host,
    package: Path,
    form: Mapping[str, str],
    api: FakeKnowledgeApi,
    scratch: Path,
    *,
    rounds: int,
    limit: float,
) -> Result:
    """Milliseconds that a warm call adds to the floor."""
    given = credentials(form, api)
    dataset = knowledge(api)
    call(host, TOOLS, given, dataset)
    found = call(host, TOOLS, given, dataset)
    if not found["hit"] or len(found["result"]) != PASSAGES:
        raise AssertionError("the warm call was not a hit")
    host.install(floor_of(package, found, scratch))

    def timed(plugin: str) -> float:
        started = time.perf_counter()
        if call(host, plugin, given, dataset)["result"] != found["result"]:
            raise AssertionError("another result")
        return (time.perf_counter() - started) * 1e6

    asked = api.retrievals
    ours, reference = by_turns(lambda: timed(TOOLS), lambda: timed(FLOOR), rounds)
    if api.retrievals > asked + 1:  # one may have been refreshed in the background
        raise AssertionError("the warm calls were not hits")
    return difference("warm cached_retrieve - constant", ours, reference, limit)


def after_a_while(
    host: Host, form: Mapping[str, str], api: FakeKnowledgeApi, *, rounds: int
) -> Result:
    """The first hit after a dataset's version must be read again, against a plain hit."""
    given = credentials(form, api)
    often = f"{given['cache_options']}\ndataset_check_seconds: {_CHECKED}"
    given = {**given, "cache_options": often}
    dataset, ours, reference = knowledge(api), [], []
    off = {**given, "cache_ttl": "off"}
    call(host, TOOLS, given, dataset)
    while len(ours) < rounds:
        time.sleep(2 * _CHECKED)  # until no process remembers the version
        taken, hit = _timed(host, given, dataset)
        # A retrieval that was made with a new version is soon made again.
        if hit:
            ours.append(taken)
            reference.append(_timed(host, off, dataset)[0])
    return ratio("first hit after version expiry / no cache", ours, reference, 0.25)


def _timed(host: Host, form: Mapping[str, str], dataset: str) -> tuple[float, bool]:
    started = time.perf_counter()
    found = call(host, TOOLS, form, dataset)
    return (time.perf_counter() - started) * 1e6, found["hit"]
