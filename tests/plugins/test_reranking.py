"""Reranking: the raw scores of a whole request are kept; filters are applied later."""

import json
from typing import Any

import pytest
from dify_plugin.entities.model.rerank import RerankResult
from dify_plugin.entities.model.text_embedding import MultiModalContent
from dify_plugin.errors.model import (
    CredentialsValidateFailedError,
    InvokeAuthorizationError,
    InvokeServerUnavailableError,
)

from tests.fake_upstream import FakeUpstream, Script, score

DOCUMENTS = ["the sea", "a whale in the sea", "tax law", "sea"]


def model() -> Any:
    from models.rerank.rerank import CachedModelRerank

    return CachedModelRerank([])


def rerank(
    form: dict[str, str],
    query: str = "sea",
    documents: list[str] = DOCUMENTS,
    **wanted: Any,
) -> RerankResult:
    return model().invoke("m", form, query, documents, **wanted)


def places(result: RerankResult) -> list[int]:
    return [document.index for document in result.docs]


def answering(said: Any) -> Script:
    return Script(body=json.dumps(said).encode())


def test_documents_come_best_first_with_their_raw_scores_and_texts(
    form: dict[str, str],
) -> None:
    result = rerank(form)
    best = sorted(DOCUMENTS, key=lambda text: score("sea", text), reverse=True)
    assert [document.text for document in result.docs] == best
    assert [document.score for document in result.docs] == [
        score("sea", text) for text in best
    ]


def test_asking_for_fewer_is_answered_from_what_is_kept(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    all_of_them = rerank(form)
    assert rerank(form, top_n=2).docs == all_of_them.docs[:2]
    floor = all_of_them.docs[1].score
    assert rerank(form, score_threshold=floor).docs == all_of_them.docs[:2]
    assert upstream.calls == 1


def test_the_model_server_is_asked_for_all_whoever_asks_first(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    few = rerank(form, top_n=1)
    assert upstream.requests[0]["top_n"] == len(DOCUMENTS)
    assert rerank(form).docs[:1] == few.docs
    assert upstream.calls == 1


def test_the_hosts_zeros_set_no_limit_even_to_scores_below_zero(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    upstream.script = answering(
        {"results": [{"index": 0, "relevance_score": -3.5}]},
    )
    result = rerank(form, documents=["a"], top_n=0, score_threshold=0.0)
    assert [document.score for document in result.docs] == [-3.5]


def test_no_documents_are_no_request(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    assert rerank(form, documents=[]).docs == []
    assert upstream.calls == 0


def test_one_document_keeps_its_score(form: dict[str, str]) -> None:
    assert rerank(form, documents=["sea"]).docs[0].score == score("sea", "sea")


def test_a_score_does_not_depend_on_the_documents_beside_it(
    form: dict[str, str],
) -> None:
    alone = rerank(form, documents=["the sea"]).docs[0].score
    beside = {d.text: d.score for d in rerank(form).docs}
    assert beside["the sea"] == alone


def test_the_order_of_documents_is_part_of_the_question(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    assert places(rerank(form, documents=["sea", "tax law"])) == [0, 1]
    assert places(rerank(form, documents=["tax law", "sea"])) == [1, 0]
    assert upstream.calls == 2


def test_an_answer_without_results_is_given_and_not_kept(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    upstream.script = answering({"results": []})
    assert rerank(form).docs == []
    rerank(form)
    assert upstream.calls == 2


@pytest.mark.parametrize(
    "said",
    [
        {"data": [{"index": 1, "relevance_score": 0.5}]},  # Voyage
        [{"index": 1, "score": 0.5}],  # text-embeddings-inference
        {"results": [{"index": 1, "relevance_score": 0.5, "document": {"text": "b"}}]},
    ],
)
def test_other_ways_of_saying_it_are_read(
    upstream: FakeUpstream, form: dict[str, str], said: Any
) -> None:
    upstream.script = answering(said)
    (document,) = rerank(form, documents=["a", "b"]).docs
    assert (document.index, document.text, document.score) == (1, "b", 0.5)


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"results": [{"index": 4, "relevance_score": 1}]},
        {"results": [{"index": -1, "relevance_score": 1}]},
        {"results": [{"index": 0, "relevance_score": None}]},
        {"results": [{"index": 0, "relevance_score": "high"}]},
        {"results": [{"index": 0, "relevance_score": float("nan")}]},
        {"results": [{"relevance_score": 1}]},
        {"results": "none"},
        "none",
    ],
)
def test_an_answer_that_makes_no_sense_is_an_error_and_not_kept(
    upstream: FakeUpstream, form: dict[str, str], said: Any
) -> None:
    upstream.script = answering(said)
    for _ in range(2):
        with pytest.raises(InvokeServerUnavailableError, match="one score for each"):
            rerank(form)
    assert upstream.calls == 2


def test_invalid_scores_are_left_out_and_the_rest_is_not_kept(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    upstream.script = answering(
        {
            "results": [
                {"index": 1, "relevance_score": "0.5"},
                {"index": 9, "relevance_score": 0.9},
                {"index": 1, "relevance_score": 0.1},
            ]
        }
    )
    for _ in range(2):
        (document,) = rerank(form).docs
        assert (document.index, document.score) == (1, 0.5)
    assert upstream.calls == 2


def test_without_a_key_there_is_no_authorization(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    rerank({**form, "api_key": ""})
    assert "Authorization" not in upstream.headers[0]
    rerank(form, "other")
    assert upstream.headers[1]["Authorization"] == "Bearer the-key"


def test_in_scope_user_nobody_gets_anothers_scores(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    form |= {"cache_scope": "user"}
    for user in ("ann", "bob", "ann"):
        rerank(form, user=user)
    assert upstream.calls == 2


def test_a_refusal_keeps_its_type(upstream: FakeUpstream, form: dict[str, str]) -> None:
    upstream.script = Script(status=403)
    with pytest.raises(InvokeAuthorizationError):
        rerank(form)


def test_the_form_is_checked_with_two_documents(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    model().validate_credentials("m", form)
    assert len(upstream.requests[0]["documents"]) == 2
    upstream.script = Script(status=404)
    with pytest.raises(CredentialsValidateFailedError, match="endpoint_url"):
        model().validate_credentials("m", form)


def test_pictures_are_sent_as_vllm_takes_them(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    documents = [
        MultiModalContent(content_type="text", content="the sea"),
        MultiModalContent(content_type="image", content="/9j/4AAQ"),
    ]
    query = MultiModalContent(content_type="text", content="sea")
    result = model().invoke_multimodal("m", form, query, documents)
    assert upstream.requests[0]["documents"] == [
        {"content": [{"type": "text", "text": "the sea"}]},
        {
            "content": [
                {
                    "type": "image_url",
                    "image_url": {"url": "data:image/jpeg;base64,/9j/4AAQ"},
                }
            ]
        },
    ]
    assert sorted(places(result)) == [0, 1]
    model().invoke_multimodal("m", form, documents[1], documents)
    assert upstream.requests[1]["query"] == upstream.requests[0]["documents"][1]
