import threading
import time
import uuid
from typing import Any

import pytest
from servers.documents import Dataset, Document
from servers.knowledge import KEY, FakeKnowledgeApi

from rag_cache.caller import Caller
from rag_cache.errors import BadInput, KnowledgeError, ReverseError
from rag_cache.retrieval import asks, citations, search
from rag_cache.retrieval.search import Retrieved
from rag_cache.work.models import Reranker

PARCEL = "Parcels arrive after three days."
REFUND = "Refunds of parcels take five days."


@pytest.fixture
def faq(api: FakeKnowledgeApi) -> Dataset:
    return api.add("FAQ", Document("parcel.md", PARCEL), Document("refund.md", REFUND))


@pytest.fixture
def credentials(api: FakeKnowledgeApi) -> dict[str, str]:
    return {
        "cache_namespace": "test",
        "cache_secret": f"secret-{uuid.uuid4().hex}",
        "knowledge_api_url": api.url,
        "knowledge_api_key": KEY,
        "cache_options": "dataset_check_seconds: 3600",
    }


def ask(
    credentials: dict[str, str],
    *datasets: Dataset,
    query: str = "When do parcels arrive?",
    reranker: Reranker | None = None,
    **parameters: Any,
) -> Retrieved:
    ids = ",".join(dataset.id for dataset in datasets)
    given = {"query": query, "datasets": ids, **parameters}
    return search.retrieve(Caller(credentials), asks.read(given, reranker))


def test_a_knowledge_base_is_named_as_people_call_it(
    credentials: dict[str, str], api: FakeKnowledgeApi, faq: Dataset
) -> None:
    other = api.add("Handbook part 2", Document("a.md", REFUND))
    found = ask(credentials, faq, more_datasets="handbook part 2")
    assert {one["id"] for one in found.datasets} == {faq.id, other.id}
    assert found.text
    both = ask(credentials, more_datasets=f"{faq.id}, Handbook part 2")
    assert both.outcome.hit, "the same knowledge bases, however they are named"


@pytest.mark.parametrize("named", ["FAQs", "0" * 5])
def test_an_unknown_name_of_a_knowledge_base_is_one_sentence(
    credentials: dict[str, str], faq: Dataset, named: str
) -> None:
    with pytest.raises(BadInput, match=r"No knowledge base is called .*more_datasets"):
        ask(credentials, more_datasets=named)


def test_a_name_that_two_knowledge_bases_have_is_one_sentence(
    credentials: dict[str, str], api: FakeKnowledgeApi, faq: Dataset
) -> None:
    api.add("faq", Document("a.md", REFUND))
    with pytest.raises(BadInput, match=r"Several knowledge bases are called 'FAQ'"):
        ask(credentials, more_datasets="FAQ")


def names(found: Retrieved) -> list[str]:
    return [item["title"] for item in found.result]


def test_a_repeated_query_is_answered_from_the_cache(
    api: FakeKnowledgeApi, faq: Dataset, credentials: dict[str, str]
) -> None:
    cold, warm = ask(credentials, faq), ask(credentials, faq)
    assert (cold.outcome.hit, cold.outcome.reason) == (False, "absent")
    assert (warm.outcome.hit, warm.outcome.reason) == (True, "hit")
    assert warm.result == cold.result
    assert names(warm) == ["parcel.md", "refund.md"]
    assert warm.outcome.cache_key == cold.outcome.cache_key != ""
    assert api.retrievals == 1


def test_an_item_is_what_a_knowledge_retrieval_node_puts_out(
    faq: Dataset, credentials: dict[str, str]
) -> None:
    document = faq.documents[0]
    document.metadata = {"lang": "en"}
    item = ask(credentials, faq).result[0]
    score = item["metadata"].pop("score")
    assert 0 < score <= 1
    assert item == {
        "metadata": {
            "_source": "knowledge",
            "position": 1,
            "dataset_id": faq.id,
            "dataset_name": "FAQ",
            "document_id": document.id,
            "document_name": "parcel.md",
            "data_source_type": "upload_file",
            "segment_id": document.segment_id,
            "retriever_from": "workflow",
            "child_chunks": [],
            "segment_hit_count": 1,
            "segment_word_count": len(PARCEL),
            "segment_position": 1,
            "segment_index_node_hash": "hash-of-parcel.md",
            "doc_metadata": {"lang": "en"},
        },
        "title": "parcel.md",
        "files": None,
        "content": PARCEL,
    }


def test_a_question_and_its_answer_are_one_content(
    api: FakeKnowledgeApi, credentials: dict[str, str]
) -> None:
    qa = api.add("QA", Document("qa", "When do parcels arrive?", answer="On day 3."))
    item = ask(credentials, qa).result[0]
    assert item["content"] == "question:When do parcels arrive? \nanswer:On day 3."


# --- the knowledge changes ---------------------------------------------------


def changed(api: FakeKnowledgeApi, faq: Dataset, how: str) -> None:
    match how:
        case "added":
            faq.documents.append(Document("new.md", "New parcels arrive at noon."))
        case "deleted":
            del faq.documents[1]
        case "disabled":
            faq.documents[1].enabled = False
        case "longer":
            faq.documents[0].text += " Sometimes four."
        case "settings":
            faq.settings = {**faq.settings, "top_k": 1}
        case "renamed":
            faq.name = "Questions"


@pytest.mark.parametrize(
    "how", ["added", "deleted", "disabled", "longer", "settings", "renamed"]
)
@pytest.mark.parametrize("check", ["counters", "deep"])
def test_a_change_that_shows_is_seen_at_the_next_check(
    api: FakeKnowledgeApi,
    faq: Dataset,
    credentials: dict[str, str],
    how: str,
    check: str,
) -> None:
    options = f"dataset_check_seconds: 0, dataset_check: {check}"
    credentials = credentials | {"cache_options": options}
    before = ask(credentials, faq)
    assert ask(credentials, faq).outcome.hit
    changed(api, faq, how)
    after = ask(credentials, faq)
    assert not after.outcome.hit
    assert after.result != before.result or how == "renamed"
    assert ask(credentials, faq).outcome.hit


def test_a_document_exchanged_for_one_of_the_same_length_shows_in_deep_mode(
    faq: Dataset, credentials: dict[str, str]
) -> None:
    shallow = credentials | {"cache_options": "dataset_check_seconds: 0"}
    deep = credentials | {
        "cache_options": "dataset_check_seconds: 0, dataset_check: deep"
    }
    ask(shallow, faq)
    ask(deep, faq)
    faq.documents[0] = Document("other.md", "x" * len(PARCEL))
    assert ask(shallow, faq).outcome.hit
    assert not ask(deep, faq).outcome.hit


def test_the_version_is_remembered_for_its_time_and_shared(
    api: FakeKnowledgeApi, faq: Dataset, credentials: dict[str, str]
) -> None:
    ask(credentials, faq, query="one")
    ask(credentials, faq, query="two")
    assert api.asked.count(f"GET /v1/datasets/{faq.id}") == 1


def test_retrieving_does_not_change_the_version(
    api: FakeKnowledgeApi, faq: Dataset, credentials: dict[str, str]
) -> None:
    credentials |= {"cache_options": "dataset_check_seconds: 0, dataset_check: deep"}
    ask(credentials, faq)
    ask(credentials, faq, query="parcels")  # this changes the hit counts in Dify
    assert ask(credentials, faq).outcome.hit


def wait_until(holds: Any, seconds: float = 5.0) -> None:
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.01)


def test_an_edit_that_no_counter_shows_is_seen_when_the_entry_expires(
    api: FakeKnowledgeApi,
    faq: Dataset,
    credentials: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settled(monkeypatch)
    credentials |= {
        "cache_options": "dataset_check_seconds: 3600, retrieval_max_age_seconds: 2"
    }
    assert ask(credentials, faq).result[0]["content"] == PARCEL
    edited = PARCEL.replace("three", "seven")
    faq.documents[0].text = edited
    began = time.monotonic()
    # Served while it is retrieved again in the background, never after its time.
    wait_until(lambda: ask(credentials, faq).result[0]["content"] == edited)
    assert time.monotonic() - began < 2
    assert api.retrievals == 2


def test_an_entry_of_a_dataset_is_not_served_after_an_invalidation(
    faq: Dataset, credentials: dict[str, str]
) -> None:
    from rag_cache import operating

    ask(credentials, faq)
    faq.documents[0].text = PARCEL.replace("three", "seven")
    said = operating.invalidate(
        Caller(credentials), {"target": "dataset", "name": faq.id}
    )
    assert faq.id in said.message
    after = ask(credentials, faq)
    assert not after.outcome.hit
    assert "seven" in after.result[0]["content"]


def test_an_empty_result_lives_half_a_minute(
    faq: Dataset, credentials: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from rag_cache import settings

    empty = ask(credentials, faq, query="zebra")
    assert empty.result == []
    assert ask(credentials, faq, query="zebra").outcome.hit
    cache = settings.open_cache(settings.read(credentials))
    now = time.time
    monkeypatch.setattr(cache._lookup, "_clock", lambda: now() + 31)
    assert not ask(credentials, faq, query="zebra").outcome.hit


# --- differences between retrievals --------------------------------------------


@pytest.mark.parametrize(
    "other",
    [
        {"query": "Refunds?"},
        {"top_k": "1"},
        {"score_threshold": 0.5},
        {"search_method": "full_text_search"},
        {"retrieval_settings": '{"weights": {"weight_type": "customized"}}'},
        {"metadata_filter": {"logical_operator": "and", "conditions": []}},
        {"cache_tags": "a"},
    ],
)
def test_another_setting_is_another_entry(
    faq: Dataset, credentials: dict[str, str], other: dict[str, Any]
) -> None:
    ask(credentials, faq)
    assert not ask(credentials, faq, **other).outcome.hit


def test_the_order_of_datasets_does_not_matter(
    api: FakeKnowledgeApi, faq: Dataset, credentials: dict[str, str]
) -> None:
    more = api.add("More", Document("more.md", "More parcels."))
    first = ask(credentials, faq, more)
    second = ask(credentials, more, faq)
    assert second.outcome.hit
    assert first.result == second.result


def test_a_caller_without_the_key_sees_nothing_of_the_others(
    api: FakeKnowledgeApi, faq: Dataset, credentials: dict[str, str]
) -> None:
    ask(credentials, faq)
    thief = credentials | {"knowledge_api_key": "dataset-another"}
    with pytest.raises(KnowledgeError, match="knowledge_api_key"):
        ask(thief, faq)


def test_a_list_that_became_text_is_understood(
    faq: Dataset, credentials: dict[str, str]
) -> None:
    ask(credentials, faq)
    for spelling in ([faq.id], f"['{faq.id}']", f'["{faq.id}"]', faq.id.upper()):
        assert ask(credentials, datasets=spelling).outcome.hit


# --- settings -------------------------------------------------------------------


def test_settings_of_the_node_override_those_of_the_dataset(
    api: FakeKnowledgeApi, faq: Dataset, credentials: dict[str, str]
) -> None:
    ask(credentials, faq)
    assert "retrieval_model" not in api.bodies[-1]
    ask(credentials, faq, top_k=1, score_threshold="0.2")
    assert api.bodies[-1]["retrieval_model"] == {
        **{name: value for name, value in faq.settings.items() if value is not None},
        "top_k": 1,
        "score_threshold_enabled": True,
        "score_threshold": 0.2,
    }


def test_a_filter_reaches_the_api(faq: Dataset, credentials: dict[str, str]) -> None:
    faq.documents[1].metadata = {"lang": "en"}
    conditions = [{"name": "lang", "comparison_operator": "is", "value": "en"}]
    found = ask(
        credentials,
        faq,
        metadata_filter={"logical_operator": "and", "conditions": conditions},
    )
    assert names(found) == ["refund.md"]


# --- several datasets ------------------------------------------------------------


@pytest.fixture
def three(api: FakeKnowledgeApi) -> list[Dataset]:
    return [
        api.add(name, Document(f"{name}.md", f"Parcels {'arrive ' * times}"))
        for name, times in (("a", 1), ("b", 1), ("c", 0))
    ]


def test_several_datasets_are_asked_at_once_and_ranked_together(
    api: FakeKnowledgeApi, three: list[Dataset], credentials: dict[str, str]
) -> None:
    api.delay = 0.2
    began = time.monotonic()
    found = ask(credentials, *three, query="parcels arrive")
    assert time.monotonic() - began < 0.5
    assert [item["metadata"]["position"] for item in found.result] == [1, 2, 3]
    assert found.result[-1]["title"] == "c.md"
    assert sorted(one["name"] for one in found.datasets) == ["a", "b", "c"]
    assert {one["found"] for one in found.datasets} == {1}


def test_one_that_fails_is_a_warning_and_nothing_is_kept(
    api: FakeKnowledgeApi, three: list[Dataset], credentials: dict[str, str]
) -> None:
    api.failing[three[1].id] = 500
    for _ in range(2):
        found = ask(credentials, *three)
        assert sorted(names(found)) == ["a.md", "c.md"]
        assert (found.outcome.hit, found.outcome.reason) == (False, "partial")
        assert three[1].id in found.warnings[0]
        assert "500" in found.warnings[0]
    api.failing.clear()
    assert not ask(credentials, *three).outcome.hit
    assert ask(credentials, *three).outcome.hit


def test_a_knowledge_base_without_a_version_is_answered_without_the_cache(
    api: FakeKnowledgeApi, three: list[Dataset], credentials: dict[str, str]
) -> None:
    del api.datasets[three[0].id]
    found = ask(credentials, *three)
    assert sorted(names(found)) == ["b.md", "c.md"]
    assert found.outcome.reason == "partial"
    assert "no knowledge base" in found.warnings[0]


def test_all_that_fail_are_an_error(
    api: FakeKnowledgeApi, three: list[Dataset], credentials: dict[str, str]
) -> None:
    ask(credentials, *three)
    for dataset in three:
        api.failing[dataset.id] = 503
    with pytest.raises(KnowledgeError, match="the server itself failed"):
        ask(credentials, *three, query="another")
    assert ask(credentials, *three).outcome.hit


def test_a_rerank_model_ranks_them_together(
    three: list[Dataset], credentials: dict[str, str]
) -> None:
    asked: list[tuple[str, list[str], int, float]] = []

    def choose(
        query: str, texts: list[str], top_n: int, threshold: float
    ) -> list[tuple[int, float]]:
        asked.append((query, texts, top_n, threshold))
        return [(2, 0.9), (0, 0.4)]

    reranker = Reranker(choose, {"model": "r"})
    found = ask(credentials, *three, reranker=reranker, top_k=2, score_threshold=0.3)
    assert [item["metadata"]["score"] for item in found.result] == [0.9, 0.4]
    assert asked[0][2:] == (2, 0.3)
    assert ask(
        credentials, *three, reranker=reranker, top_k=2, score_threshold=0.3
    ).outcome.hit
    assert len(asked) == 1


def test_a_rerank_model_that_fails_is_a_warning_and_nothing_is_kept(
    three: list[Dataset], credentials: dict[str, str]
) -> None:
    def choose(*_: Any) -> Any:
        raise ReverseError("The rerank model r could not be asked: it is away")

    reranker = Reranker(choose, {"model": "r"})
    for _ in range(2):
        found = ask(credentials, *three, reranker=reranker)
        assert len(found.result) == 3
        assert found.outcome.reason == "partial"
        assert "it is away" in found.warnings[0]


# --- bad input, and trouble --------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"query": " "}, "query"),
        ({"datasets": ""}, "datasets"),
        ({"datasets": "FAQ"}, "datasets"),
        ({"top_k": "0"}, "top_k"),
        ({"top_k": "2.5"}, "top_k"),
        ({"top_k": "many"}, "top_k"),
        ({"score_threshold": "nan"}, "score_threshold"),
        ({"search_method": "guess"}, "search_method"),
        ({"retrieval_settings": "[1]"}, "retrieval_settings"),
        ({"metadata_filter": "{"}, "metadata_filter"),
        ({"cache_control": "perhaps"}, "cache_control"),
    ],
)
def test_a_bad_parameter_is_one_sentence_that_names_it(
    faq: Dataset, credentials: dict[str, str], parameters: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadInput) as raised:
        ask(credentials, faq, **parameters)
    assert said in str(raised.value)
    assert str(raised.value).endswith(".")


def test_a_dataset_that_is_not_allowed_is_refused(
    api: FakeKnowledgeApi, faq: Dataset, credentials: dict[str, str]
) -> None:
    secret = api.add("Salaries", Document("s.md", "Parcels of money."))
    credentials |= {"allowed_datasets": f"{faq.id}, {uuid.uuid4()}"}
    assert ask(credentials, faq).result
    with pytest.raises(BadInput, match="allowed_datasets"):
        ask(credentials, faq, secret)
    assert [name for _, name in search.choices(credentials)] == ["FAQ"]


def test_a_long_query_is_cut_after_a_sentence_and_the_output_says_so(
    api: FakeKnowledgeApi, faq: Dataset, credentials: dict[str, str]
) -> None:
    first = "When do my parcels arrive? I have waited. " * 5
    found = ask(credentials, faq, query=first + "So long " * 40)
    assert found.query == first.strip()
    assert api.bodies[-1]["query"] == found.query
    assert f"only the first {len(first) - 1} were used" in found.warnings[0]
    assert ask(credentials, faq, query=found.query).outcome.hit


@pytest.mark.parametrize(
    ("query", "cut"),
    [
        ("x" * 250, "x" * 250),
        ("x" * 251, "x" * 250),
        ("你好。" * 100, "你好。" * 83),
        ("word " * 60, ("word " * 50).strip()),
        ("A line. " * 20 + "y" * 300, ("A line. " * 20).strip()),
        ("Hello! " + "y" * 300, "Hello! " + "y" * 243),
        (
            "Hello! I bought " + "a lamp, " * 40,
            "Hello! I bought " + "a lamp, " * 29 + "a",
        ),
        ("Version 1.5 " * 20 + "y" * 300, ("Version 1.5 " * 20).strip()),
    ],
)
def test_the_place_where_a_query_is_cut(query: str, cut: str) -> None:
    shown, was_cut = asks.shortened(query)
    assert shown == cut
    assert was_cut == (len(query) > 250)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"knowledge_api_key": "dataset-wrong"}, "knowledge_api_key"),
        ({"knowledge_api_url": "http://127.0.0.1:9/v1"}, "knowledge_api_url"),
        ({"knowledge_api_url": "", "knowledge_api_key": ""}, "knowledge_api_url"),
    ],
)
def test_a_knowledge_api_that_cannot_be_asked_is_one_sentence(
    faq: Dataset, credentials: dict[str, str], change: dict[str, str], said: str
) -> None:
    with pytest.raises(KnowledgeError) as raised:
        ask(credentials | change, faq)
    assert said in str(raised.value)
    assert "dataset-wrong" not in str(raised.value)


def test_a_wrong_path_of_the_knowledge_api_is_not_a_missing_knowledge_base(
    api: FakeKnowledgeApi, faq: Dataset, credentials: dict[str, str]
) -> None:
    credentials |= {"knowledge_api_url": api.url.replace("/v1", "/wrong")}
    with pytest.raises(KnowledgeError, match="knowledge_api_url") as raised:
        ask(credentials, faq)
    assert "no knowledge base" not in str(raised.value)


def test_an_api_that_takes_too_long_is_left(
    api: FakeKnowledgeApi, faq: Dataset, credentials: dict[str, str]
) -> None:
    api.delay = 3
    credentials |= {"cache_options": "knowledge_deadline_seconds: 1"}
    with pytest.raises(KnowledgeError, match="in time"):
        ask(credentials, faq)


def test_with_the_redis_down_the_work_is_done(
    faq: Dataset, credentials: dict[str, str]
) -> None:
    credentials |= {"redis_url": "redis://127.0.0.1:9"}
    found = ask(credentials, faq)
    assert names(found) == ["parcel.md", "refund.md"]
    assert (found.outcome.hit, found.outcome.reason) == (False, "cache_unavailable")


def test_bypass_refresh_and_only(
    api: FakeKnowledgeApi, faq: Dataset, credentials: dict[str, str]
) -> None:
    missing = ask(credentials, faq, cache_control="only")
    assert (missing.result, missing.outcome.reason) == ([], "absent")
    assert api.retrievals == 0
    ask(credentials, faq)
    assert ask(credentials, faq, cache_control="only").outcome.hit
    assert (
        ask(credentials, faq, cache_control="bypass").outcome.reason == "bypass_asked"
    )
    assert ask(credentials, faq, cache_control="refresh").outcome.reason == "refresh"
    assert api.retrievals == 3


def test_a_crowd_retrieves_once(
    api: FakeKnowledgeApi, faq: Dataset, credentials: dict[str, str]
) -> None:
    api.delay = 0.2
    found: list[Retrieved] = []
    threads = [
        threading.Thread(target=lambda: found.append(ask(credentials, faq)))
        for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert api.retrievals == 1
    assert len({str(one.result) for one in found}) == 1
    assert {one.outcome.reason for one in found} <= {"absent", "shared_load", "hit"}


def test_no_secret_is_in_what_goes_wrong(
    api: FakeKnowledgeApi, faq: Dataset, credentials: dict[str, str]
) -> None:
    api.down = 500
    with pytest.raises(KnowledgeError) as raised:
        ask(credentials, faq)
    assert KEY not in str(raised.value) + repr(raised.value.__context__)
    assert "said so by the fake" not in str(raised.value)


# --- attacks and odd answers ----------------------------------------------------


def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if every version had been seen a minute before."""
    monkeypatch.setattr(search, "_SETTLING_SECONDS", -1)


def test_a_strict_form_is_served_nothing_that_a_lax_one_let_grow_old(
    faq: Dataset, credentials: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settled(monkeypatch)
    lax = {"cache_options": "dataset_check_seconds: 3600"}
    lax = {"cache_options": lax["cache_options"] + ", retrieval_max_age_seconds: 3600"}
    strict = {"cache_options": "dataset_check_seconds: 1, retrieval_max_age_seconds: 1"}
    ask(credentials | lax, faq)
    del faq.documents[0]
    assert names(ask(credentials | lax, faq)) == ["parcel.md", "refund.md"]
    assert names(ask(credentials | strict, faq)) == ["refund.md"]


def test_a_version_that_comes_back_brings_nothing_back(
    faq: Dataset, credentials: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settled(monkeypatch)
    slow = credentials | {"cache_options": "dataset_check_seconds: 2"}
    ask(slow, faq, query="anything")  # the version is remembered
    faq.documents[0].enabled = False
    assert names(ask(slow, faq)) == ["refund.md"]  # kept under the old version
    wait_until(lambda: names(ask(slow, faq, query="parcels")) == ["refund.md"])
    time.sleep(2.1)
    ask(slow, faq, query="other")  # the new version is seen
    faq.documents[0].enabled = True
    time.sleep(2.1)
    assert names(ask(slow, faq)) == ["parcel.md", "refund.md"]


def test_passages_found_right_after_a_change_are_kept_for_a_moment_only(
    faq: Dataset, credentials: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dify counts a document before its index has it."""
    from rag_cache import settings

    ask(credentials, faq)
    cache = settings.open_cache(settings.read(credentials))
    now = time.time
    monkeypatch.setattr(cache._lookup, "_clock", lambda: now() + 16)
    assert not ask(credentials, faq).outcome.hit


def test_settings_that_are_not_known_are_not_guessed(
    api: FakeKnowledgeApi, faq: Dataset, credentials: dict[str, str]
) -> None:
    api.hidden.add(faq.id)
    with pytest.raises(KnowledgeError, match="502"):
        ask(credentials, faq, top_k=5)
    found = ask(credentials, faq)
    assert names(found) == ["parcel.md", "refund.md"]
    assert found.outcome.reason == "partial"
    assert "502" in found.warnings[0]
    missing = ask(credentials, faq, cache_control="only")
    assert (missing.result, missing.outcome.reason) == ([], "version_unknown")


def test_null_settings_of_a_dataset_are_left_to_dify(
    api: FakeKnowledgeApi, faq: Dataset, credentials: dict[str, str]
) -> None:
    faq.settings = {**faq.settings, "top_k": None, "score_threshold_enabled": None}
    assert names(ask(credentials, faq, search_method="hybrid_search"))
    sent = api.bodies[-1]["retrieval_model"]
    assert sent["search_method"] == "hybrid_search"
    assert sent["top_k"] == search._LEAST["top_k"]
    assert sent["score_threshold_enabled"] is False


def test_the_number_of_passages_may_come_with_the_settings(
    api: FakeKnowledgeApi, credentials: dict[str, str]
) -> None:
    pair = [
        api.add(name, *(Document(f"{name}{n}", "parcels") for n in range(5)))
        for name in "ab"
    ]
    found = ask(credentials, *pair, query="parcels", retrieval_settings='{"top_k": 8}')
    assert len(found.result) == 8


@pytest.mark.parametrize(
    ("record", "content", "title"),
    [
        ({"segment": {"document": "an id", "content": None}}, "", ""),
        (
            {"segment": {"content": "x"}, "child_chunks": [None, 1], "files": {}},
            "x",
            "",
        ),
        (
            {"segment": None, "metadata": ["a"], "content": 5, "title": {"a": 1}},
            "5",
            "{'a': 1}",
        ),
        ({"metadata": "source"}, "", ""),
        ({}, "", ""),
    ],
)
def test_odd_records_are_items_all_the_same(
    record: dict[str, Any], content: str, title: str
) -> None:
    (item,) = citations.items([record], "d", "D")
    assert (item["content"], item["title"]) == (content, title)
    (ranked,) = citations.ranked([item])
    assert ranked["metadata"]["position"] == 1
    assert ranked["metadata"]["dataset_id"] == "d"


def test_images_in_questions_and_answers_keep_their_signature() -> None:
    segment = {"content": "![](u)", "sign_content": "![](u?sign=1)", "answer": "yes"}
    (item,) = citations.items([{"segment": segment}], "d", "D")
    assert item["content"] == "question:![](u?sign=1) \nanswer:yes"


def test_text_that_json_cannot_carry_is_refused_in_one_sentence(
    faq: Dataset, credentials: dict[str, str]
) -> None:
    for parameters in (
        {"query": "half a pair \ud83d"},
        {"retrieval_settings": f'{{"top_k": {2**70}}}'},
    ):
        with pytest.raises(KnowledgeError, match="JSON"):
            ask(credentials, faq, **parameters)
    with pytest.raises(BadInput, match="retrieval_settings"):
        ask(credentials, faq, retrieval_settings='{"top_k": NaN}')


@pytest.mark.parametrize("location", ["http://[oops", "/elsewhere", "http://other/"])
def test_a_redirect_is_not_followed(
    api: FakeKnowledgeApi, faq: Dataset, credentials: dict[str, str], location: str
) -> None:
    api.redirect = location
    with pytest.raises(KnowledgeError, match="redirects elsewhere"):
        ask(credentials, faq)


def test_a_hurried_callers_error_is_not_shared_with_a_patient_one(
    api: FakeKnowledgeApi, faq: Dataset, credentials: dict[str, str]
) -> None:
    ask(credentials, faq, query="the version")
    api.delay = 1.5
    hurried = credentials | {
        "cache_options": "dataset_check_seconds: 3600, knowledge_deadline_seconds: 1"
    }
    errors: list[Exception] = []

    def hurry() -> None:
        try:
            ask(hurried, faq)
        except KnowledgeError as error:
            errors.append(error)

    thread = threading.Thread(target=hurry)
    thread.start()
    wait_until(lambda: api.retrievals == 2)
    assert names(ask(credentials, faq)) == ["parcel.md", "refund.md"]
    thread.join(5)
    assert len(errors) == 1


def test_a_version_that_stays_is_the_same_day_after_day(
    faq: Dataset, credentials: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from rag_cache import settings
    from rag_cache.retrieval import versions

    read = settings.read(credentials | {"cache_options": "dataset_check_seconds: 1"})
    cache = settings.open_cache(read)
    now, hours = time.time, [0]
    monkeypatch.setattr(versions.time, "time", lambda: now() + 3600 * hours[0])
    monkeypatch.setattr(cache._lookup, "_clock", lambda: now() + 3600 * hours[0])
    monkeypatch.setattr(cache._keeper, "_clock", lambda: now() + 3600 * hours[0])
    monkeypatch.setattr(cache.store, "_clock", lambda: now() + 3600 * hours[0])
    seen = set()
    for hours[0] in range(60):
        seen.add(versions.of(cache, read, faq.id).since)
    assert len(seen) == 1


@pytest.mark.parametrize("more", [{}, {"top_k": 2}])
def test_an_economical_dataset_is_searched_by_keywords_at_the_default(
    credentials: Any, faq: Dataset, api: FakeKnowledgeApi, more: dict[str, Any]
) -> None:
    """Dify's page stores a semantic search for it, and Dify's API refuses that."""
    faq.indexing_technique = "economy"
    assert names(ask(credentials, faq, **more))
    assert api.bodies[-1]["retrieval_model"]["search_method"] == "keyword_search"
