"""Embeddings: each text is an entry of its own, each number is unchanged."""

import base64
import json
import struct
import threading
from typing import Any

import pytest
from dify_plugin.entities.model import EmbeddingInputType, ModelPropertyKey
from dify_plugin.entities.model.text_embedding import (
    MultiModalContent,
    TextEmbeddingResult,
)
from dify_plugin.errors.model import (
    CredentialsValidateFailedError,
    InvokeBadRequestError,
    InvokeRateLimitError,
    InvokeServerUnavailableError,
)

from difykit.codec import vectors
from tests.fake_upstream import FakeUpstream, Script, vector


def model() -> Any:
    from models.text_embedding.text_embedding import CachedModelTextEmbedding

    return CachedModelTextEmbedding([])


def embed(form: dict[str, str], *texts: str, **more: Any) -> TextEmbeddingResult:
    return model().invoke("m", form, list(texts), **more)


def sent(upstream: FakeUpstream) -> list[list[str]]:
    return [request["input"] for request in upstream.requests]


def answering(embeddings: list[Any], **more: Any) -> Script:
    return Script(body=json.dumps({"data": embeddings, **more}).encode())


def test_a_batch_with_nine_known_texts_and_one_new_sends_one(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    texts = [f"text {number}" for number in range(10)]
    embed(form, *texts[:9])
    again = embed(form, *reversed(texts))
    assert again.embeddings == [vector(text) for text in reversed(texts)]
    assert sent(upstream) == [texts[:9], ["text 9"]]


def test_texts_go_up_in_batches_of_max_chunks(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    embed({**form, "max_chunks": "2"}, "a", "b", "c", "d", "e")
    assert sent(upstream) == [["a", "b"], ["c", "d"], ["e"]]


def test_a_known_text_costs_nothing_and_still_counts(form: dict[str, str]) -> None:
    priced = {**form, "cache_options": "price: {input: 2, per: 10}"}
    first = embed(priced, "abcd").usage
    again = embed(priced, "abcd", "ef").usage
    assert (first.tokens, float(first.total_price)) == (4, 0.8)
    assert (again.total_tokens, float(again.total_price)) == (6, 0.4)


def test_the_vectors_are_put_in_the_order_of_their_texts(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    upstream.script = answering(
        [{"index": 1, "embedding": [2.0]}, {"index": 0, "embedding": [1.0]}]
    )
    assert embed(form, "a", "b").embeddings == [[1.0], [2.0]]


def test_vectors_without_an_index_are_taken_in_the_order_they_came(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    upstream.script = answering([{"embedding": [2.0]}, {"embedding": [1.0]}])
    assert embed(form, "a", "b").embeddings == [[2.0], [1.0]]


def test_numbers_come_back_from_the_cache_exactly(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    odd = [0.1, -1e-300, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0, 3.0]
    upstream.script = answering([{"index": 0, "embedding": odd}])
    first, again = embed(form, "a").embeddings, embed(form, "a").embeddings
    assert [list(map(repr, one)) for one in first + again] == [list(map(repr, odd))] * 2
    assert upstream.calls == 1


def test_numbers_of_four_bytes_are_kept_in_four_and_others_in_eight() -> None:
    short = list(struct.unpack("<3f", struct.pack("<3f", 0.1, 0.2, 0.3)))
    assert (len(vectors.pack(short)), len(vectors.pack([0.1, 0.2, 0.3]))) == (13, 25)
    assert vectors.unpack(vectors.pack(short)) == short


@pytest.mark.parametrize("data", [b"", b"x1234", b"f123", b"d1234567"])
def test_bytes_that_are_no_vector_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a vector"):
        vectors.unpack(data)


def test_an_answer_in_base64_is_read(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    text = base64.b64encode(struct.pack("<2f", 0.5, -2)).decode()
    upstream.script = answering([{"index": 0, "embedding": text}])
    assert embed(form, "a").embeddings == [[0.5, -2.0]]


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"data": []},
        {"data": [{"index": 0, "embedding": [1.0]}]},  # one vector for two texts
        {"data": [{"index": 0, "embedding": [1.0]}] * 2},
        {"data": [{"index": 1, "embedding": [1]}, {"index": 2, "embedding": [1]}]},
        {"data": [{"embedding": [1.0]}, {"embedding": []}]},
        {"data": [{"embedding": [1.0]}, {"embedding": None}]},
        {"data": [{"embedding": [1.0]}, {"embedding": ["1"]}]},
        {"data": [{"embedding": [1.0]}, {"embedding": "not base64"}]},
        {"data": [{"embedding": [1.0]}, {"embedding": [float("nan")]}]},
        {"data": {"embedding": [1.0]}},
        [1],
    ],
)
def test_an_answer_without_a_vector_for_each_text_is_an_error_and_not_kept(
    upstream: FakeUpstream, form: dict[str, str], said: Any
) -> None:
    upstream.script = Script(body=json.dumps(said).encode())
    for _ in range(2):
        with pytest.raises(InvokeServerUnavailableError, match="one vector for each"):
            embed(form, "a", "b")
    assert upstream.calls == 2


def test_a_vector_of_nothing_but_zeros_is_given_and_not_kept(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    upstream.script = answering([{"embedding": [0.0, 0.0]}])
    assert embed(form, "a").embeddings == [[0.0, 0.0]]
    embed(form, "a")
    assert upstream.calls == 2


def test_vectors_of_two_models_with_one_name_are_never_mixed(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    embed(form, "a")
    upstream.script = lambda request: answering(
        [{"embedding": vector(text, 5)} for text in request["input"]]
    )
    both = embed(form, "a", "b").embeddings
    assert both == [vector("a", 5), vector("b", 5)]
    assert embed(form, "a").embeddings == [vector("a", 5)]
    assert sent(upstream) == [["a"], ["b"], ["a", "b"]]


def test_prefixes_tell_documents_from_queries(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    form |= {"document_prefix": "passage:", "query_prefix": "query:"}
    embed(form, "a")
    embed(form, "a", input_type=EmbeddingInputType.QUERY)
    assert sent(upstream) == [["passage: a"], ["query: a"]]


def test_without_prefixes_documents_and_queries_share_vectors(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    embed(form, "a")
    embed(form, "a", input_type=EmbeddingInputType.QUERY)
    assert upstream.calls == 1


@pytest.mark.parametrize(("choice", "there"), [("not_set", False), ("float", True)])
def test_the_encoding_format_is_sent_where_the_form_says_so(
    upstream: FakeUpstream, form: dict[str, str], choice: str, there: bool
) -> None:
    embed({**form, "encoding_format": choice}, "a")
    assert ("encoding_format" in upstream.requests[0]) == there


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("endpoint_model_name", "other"),
        ("extra_headers", '{"X-Team": "a"}'),
        ("encoding_format", "float"),
        ("document_prefix", "passage:"),
    ],
)
def test_a_field_that_can_change_a_vector_is_in_the_key(
    upstream: FakeUpstream, form: dict[str, str], field: str, value: str
) -> None:
    embed(form, "a")
    embed({**form, field: value}, "a")
    assert upstream.calls == 2


@pytest.mark.parametrize("field", ["max_chunks", "context_size"])
def test_a_field_that_can_not_is_left_out(
    upstream: FakeUpstream, form: dict[str, str], field: str
) -> None:
    embed(form, "a")
    embed({**form, field: "7"}, "a")
    assert upstream.calls == 1


def test_equal_texts_that_come_at_once_are_sent_once(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    upstream.script = Script(delay=0.3)
    texts = [f"text {number}" for number in range(8)]
    got: list[Any] = []
    threads = [
        threading.Thread(target=lambda: got.append(embed(form, *texts).embeddings))
        for _ in range(10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert got == [[vector(text) for text in texts]] * 10
    assert sent(upstream) == [texts]


def test_in_scope_user_nobody_gets_anothers_vectors(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    form |= {"cache_scope": "user"}
    for user in ("ann", "bob", "ann", None, None):
        embed(form, "a", user=user)
    assert upstream.calls == 4  # Nothing is kept without a user.


@pytest.mark.parametrize(
    ("status", "kind"),
    [(429, InvokeRateLimitError), (503, InvokeServerUnavailableError)],
)
def test_a_refusal_keeps_its_type(
    upstream: FakeUpstream, form: dict[str, str], status: int, kind: type[Exception]
) -> None:
    upstream.script = Script(status=status)
    with pytest.raises(kind):
        embed(form, "a")


def test_known_texts_need_no_model_server(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    embed(form, "a")
    upstream.close()
    assert embed(form, "a").embeddings == [vector("a")]


def test_vectors_that_can_not_be_handed_over_are_refused_before_all_are_made(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    upstream.script = lambda request: answering(
        [{"embedding": [0.125] * 4096} for _ in request["input"]]
    )
    texts = [str(number) for number in range(1024)]
    with pytest.raises(InvokeBadRequestError, match=r"\(max_chunks\)"):
        embed({**form, "max_chunks": "64"}, *texts)
    assert upstream.calls == 1


def test_no_texts_are_no_request(upstream: FakeUpstream, form: dict[str, str]) -> None:
    assert embed(form).embeddings == []
    assert upstream.calls == 0


def test_the_schema_tells_dify_how_many_texts_to_send(form: dict[str, str]) -> None:
    read = model().get_customizable_model_schema("m", {**form, "max_chunks": "12"})
    assert read.model_properties[ModelPropertyKey.MAX_CHUNKS] == 12
    assert read.parameter_rules == []


def test_tokens_are_counted_for_each_text(form: dict[str, str]) -> None:
    assert model().get_num_tokens("m", form, ["", "a word"]) == [0, 1]


def test_the_form_is_checked_with_one_text(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    model().validate_credentials("m", {**form, "encoding_format": "float"})
    (asked,) = upstream.requests
    del asked["path"]
    assert asked == {"model": "m", "input": ["ping"], "encoding_format": "float"}
    upstream.script = Script(status=401)
    with pytest.raises(CredentialsValidateFailedError, match="check API Key"):
        model().validate_credentials("m", form)


@pytest.mark.parametrize("chunks", ["0", "-1", "many", "2049", "1.5"])
def test_a_wrong_number_of_chunks_is_named(form: dict[str, str], chunks: str) -> None:
    with pytest.raises(
        InvokeBadRequestError, match=r"Texts sent in one request \(max_chunks\) must"
    ):
        embed({**form, "max_chunks": chunks}, "a")


# --- pictures -----------------------------------------------------------------


def pictured(form: dict[str, str], *contents: tuple[str, str]) -> Any:
    documents = [
        MultiModalContent(content_type=kind, content=text) for kind, text in contents
    ]
    return model().invoke_multimodal("m", form, documents)


def test_pictures_go_up_one_by_one_and_texts_together_and_the_order_stays(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    png = "iVBORw0KGgo="
    contents = [("text", "a"), ("image", png), ("text", "b")]
    made = pictured({**form, "endpoint_model_name": "real"}, *contents)
    texts, shown = upstream.requests
    assert texts["input"] == ["a", "b"]
    assert [shown["model"], shown["messages"][1]["content"][0]] == [
        "real",
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{png}"}},
    ]
    assert made.embeddings[0] == vector("a")
    assert made.embeddings[2] == vector("b")
    pictured({**form, "endpoint_model_name": "real"}, *contents)
    assert upstream.calls == 2


def test_a_picture_at_an_address_is_not_kept_for_it_may_change(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    for _ in range(2):
        pictured(form, ("image", "https://example.org/a.png"))
    assert upstream.calls == 2


# --- servers that refuse ------------------------------------------------------


def refusing(bad: str, status: int) -> Any:
    return lambda request: Script(status=status if bad in request["input"] else 200)


def test_texts_before_a_refused_one_are_kept_and_the_refused_one_is_named(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    texts = ["a", "b", "c", "bad"]
    upstream.script = refusing("bad", 400)
    with pytest.raises(InvokeBadRequestError, match="It was text 4 of 4"):
        embed(form, *texts)
    assert sent(upstream)[1:] == [["a", "b"], ["c", "bad"], ["c"], ["bad"]]
    assert embed(form, "a", "b", "c").embeddings == [vector(t) for t in "abc"]
    assert upstream.calls == 5


@pytest.mark.parametrize("status", [404, 308])
def test_only_a_batch_that_is_too_much_is_split(
    upstream: FakeUpstream, form: dict[str, str], status: int
) -> None:
    upstream.script = Script(status=status)
    with pytest.raises(InvokeBadRequestError):
        embed(form, "a", "b")
    assert upstream.calls == 1


def test_vectors_that_a_server_gave_in_one_go_are_given_as_they_are(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    upstream.script = answering([{"embedding": [1.0]}, {"embedding": [1.0, 2.0]}])
    assert embed(form, "a", "b").embeddings == [[1.0], [1.0, 2.0]]
    assert upstream.calls == 1
