"""The workflows in examples/, cold and warm: graphon, real plugin processes, a real Redis."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from servers.documents import Dataset, Document
from servers.knowledge import KEY, FakeKnowledgeApi

from devhost import workflow
from devhost.host import Host
from tests.fake_upstream import FakeUpstream, Script, delta, finish

ROOT = Path(__file__).parents[2]
MODEL = "answercache/cached_model/cached_model"
TOOLS = "answercache/rag_cache/rag_cache"
QUESTION = "When do parcels arrive?"


@pytest.fixture
def faq(api: FakeKnowledgeApi) -> Dataset:
    parcel = Document("parcel.md", "Parcels arrive after three days.")
    return api.add("FAQ", parcel, Document("refund.md", "Refunds take five days."))


@pytest.fixture
def credentials(form: dict[str, str], api: FakeKnowledgeApi) -> dict[str, Any]:
    of_tools = {
        name: form[name] for name in ("redis_url", "cache_namespace", "cache_options")
    }
    of_tools |= {"knowledge_api_url": api.url, "knowledge_api_key": KEY}
    return {
        "model_credentials": [{"vendor": "cached_model", "values": form}],
        "tool_credentials": [{"provider_id": TOOLS, "values": of_tools}],
    }


def example(tmp_path: Path, name: str, **replaced: str) -> Path:
    """The workflow after its import, with models and datasets chosen."""
    text = (ROOT / "examples" / name).read_text(encoding="utf-8")
    for old, new in replaced.items():
        assert old in text
        text = text.replace(old, new)
    chosen = tmp_path / name
    chosen.write_text(text, encoding="utf-8")
    return chosen


def chosen(dataset: Dataset) -> dict[str, str]:
    """The text that Cached Retrieve's panel adds for a chosen knowledge base."""
    before = "          tool_parameters:\n"
    pick = f'            datasets: {{"type": "constant", "value": "{dataset.id}"}}\n'
    return {before: before + pick}


def only_in_retrieve(dataset: Dataset) -> dict[str, str]:
    """The same for a workflow in which other tools come before Cached Retrieve."""
    before = '          tool_name: cached_retrieve\n          tool_node_version: "2"\n'
    ((old, new),) = chosen(dataset).items()
    return {before + old: before + new}


def run(
    host: Host, dsl: Path, credentials: dict[str, Any], question: str = QUESTION
) -> workflow.Run:
    return workflow.run(host, dsl, {"query": question}, credentials=credentials)


def citations(done: workflow.Run) -> list[dict[str, Any]]:
    return [
        resource
        for event in done.events
        if type(event).__name__ == "NodeRunRetrieverResourceEvent"
        for resource in event.retriever_resources
    ]


def test_a_knowledge_assistant_cites_cold_and_warm(
    host: Host,
    upstream: FakeUpstream,
    api: FakeKnowledgeApi,
    faq: Dataset,
    credentials: dict[str, Any],
    tmp_path: Path,
) -> None:
    dsl = example(tmp_path, "knowledge_assistant.yml", **chosen(faq))
    cold, warm = (run(host, dsl, credentials) for _ in range(2))
    assert [r.node_outputs["retrieve"]["hit"] for r in (cold, warm)] == [False, True]
    assert (api.retrievals, upstream.calls) == (1, 1)
    assert "Parcels arrive after three days." in str(upstream.requests[0]["messages"])
    assert cold.text == warm.text == f"echo: {QUESTION}"
    assert citations(cold) == citations(warm)
    (cited,) = citations(warm)
    document = faq.documents[0]
    assert cited | {"score": 0} == {
        "position": 1,
        "dataset_id": faq.id,
        "dataset_name": "FAQ",
        "document_id": document.id,
        "document_name": "parcel.md",
        "data_source_type": "upload_file",
        "segment_id": document.segment_id,
        "retriever_from": "workflow",
        "score": 0,
        "hit_count": 1,
        "word_count": document.word_count,
        "segment_position": 1,
        "index_node_hash": "hash-of-parcel.md",
        "content": document.text,
        "page": None,
        "doc_metadata": None,
        "files": None,
        "summary": None,
    }


def test_an_answer_from_knowledge_is_kept_until_the_knowledge_changes(
    host: Host,
    upstream: FakeUpstream,
    api: FakeKnowledgeApi,
    faq: Dataset,
    credentials: dict[str, Any],
    tmp_path: Path,
) -> None:
    dsl = example(tmp_path, "knowledge_answers.yml", **only_in_retrieve(faq))
    cold, warm = (run(host, dsl, credentials) for _ in range(2))
    assert cold.text == warm.text == f"echo: {QUESTION}"
    assert (api.retrievals, upstream.calls) == (1, 1)
    assert {"retrieve", "llm", "store"}.isdisjoint(warm.node_outputs)
    faq.documents[0].text += " Sometimes four."
    settings = credentials["tool_credentials"][0]["values"]
    settings["cache_options"] = "dataset_check_seconds: 0"
    anew = run(host, dsl, credentials)
    assert anew.node_outputs["lookup"]["hit"] is False
    assert (api.retrievals, upstream.calls) == (2, 2)


def test_any_node_is_skipped_when_its_result_is_there(
    host: Host, credentials: dict[str, Any]
) -> None:
    dsl = ROOT / "examples" / "wrap_any_node.yml"
    cold, warm = (run(host, dsl, credentials, "lamps") for _ in range(2))
    assert cold.text == warm.text == "A slow report about lamps"
    assert "work" in cold.node_outputs
    assert cold.node_outputs["store"]["stored"] is True
    assert "work" not in warm.node_outputs
    assert warm.node_outputs["lookup"]["hit"] is True
    assert run(host, dsl, credentials, "bulbs").text == "A slow report about bulbs"


def test_a_model_of_the_workspace_is_cached_and_can_be_invalidated(
    host: Host,
    upstream: FakeUpstream,
    form: dict[str, str],
    credentials: dict[str, Any],
) -> None:
    # Cached Model keeps no second copy: it would outlive the tool's own copy.
    host.set_model(MODEL, "my-model", form)
    dsl = ROOT / "examples" / "cached_llm.yml"
    cold, warm = (run(host, dsl, credentials) for _ in range(2))
    assert cold.text == warm.text == f"echo: {QUESTION}"
    assert cold.node_outputs["ask"]["complete"] is True
    assert cold.node_outputs["ask"]["usage"]["billed"] is True
    assert warm.node_outputs["ask"]["hit"] is True
    assert warm.node_outputs["ask"]["usage"]["billed"] is False
    assert upstream.calls == 1
    assert run(host, dsl, credentials, "forget").text == "1 tag invalidated: assistant."
    after = run(host, dsl, credentials)
    assert after.node_outputs["ask"]["reason"] == "invalidated"
    assert upstream.calls == 2


def test_text_streams_out_of_a_tool_as_it_comes(
    host: Host, form: dict[str, str], credentials: dict[str, Any]
) -> None:
    host.set_model(MODEL, "my-model", form | {"cache_ttl": "off"})
    dsl = ROOT / "examples" / "cached_llm.yml"
    done = run(host, dsl, credentials, "one two three four")
    chunks = [
        event.chunk
        for event in done.events
        if type(event).__name__ == "NodeRunStreamChunkEvent" and event.chunk
    ]
    assert len(chunks) > 3
    assert "".join(chunks) == done.text


WAYS = [
    [],
    ["Hello!", "What do you sell?"],
    ["I ordered a lamp on Monday.", "It was the green one."],
]


def test_three_conversations_that_come_to_one_question_share_its_answer(
    host: Host,
    upstream: FakeUpstream,
    api: FakeKnowledgeApi,
    faq: Dataset,
    credentials: dict[str, Any],
    tmp_path: Path,
) -> None:
    """The fake model rewrites a last question as a small model would."""

    def answer(request: dict[str, Any]) -> Script:
        system, user = (message["content"] for message in request["messages"])
        if not system.startswith("Rewrite"):
            return Script()
        last = user.rpartition("Last question: ")[2]
        stands_alone = QUESTION if last in ("When does it come?", QUESTION) else last
        return Script(events=[delta(content=stands_alone), finish(), "[DONE]"])

    upstream.script = answer
    dsl = example(tmp_path, "conversation.yml", **chosen(faq))
    texts, asked, hits = [], [], []
    for way in WAYS:
        history = ""
        for said in (*way, "When does it come?" if way else QUESTION):
            conversation = {"history": history}
            done = workflow.run(
                host,
                dsl,
                {"query": said},
                credentials=credentials,
                conversation=conversation,
            )
            history = done.conversation["history"]
            assert history.endswith(f"Assistant: {done.text}")
        texts.append(done.text)
        hits.append(done.node_outputs["retrieve"]["hit"])
        asked.append(
            [r for r in upstream.requests if r["messages"][-1]["content"] == QUESTION]
        )
    assert texts == [f"echo: {QUESTION}"] * 3
    assert hits == [False, True, True]
    assert [len(calls) for calls in asked] == [1, 1, 1], "the answer was asked for once"


@pytest.mark.parametrize(
    "name", sorted(p.name for p in (ROOT / "examples").glob("*.yml"))
)
def test_an_example_imports_without_a_question_and_says_what_to_choose(
    name: str,
) -> None:
    dsl = yaml.safe_load((ROOT / "examples" / name).read_text("utf-8"))
    assert dsl["dependencies"] == []
    assert dsl["version"] == "0.6.0"  # the version that 1.13.2 and newer hosts write
    nodes = dsl["workflow"]["graph"]["nodes"]
    (note,) = [node for node in nodes if node["type"] == "custom-note"]
    assert json.loads(note["data"]["text"])["root"]["children"]
    tools = {n["id"] for n in nodes if n["data"]["type"] == "tool"}
    for node in nodes:
        for shown in re.findall(r"\{\{#(\w+)\.(\w+)#", node["data"].get("answer", "")):
            assert shown[0] not in tools or shown[1] == "text"
