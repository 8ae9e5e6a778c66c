"""Documents in the order of their worth: the whole request is one entry.

Every document's raw score is kept, and how many are wanted is applied to what was
kept. So a caller that asks for fewer gets the same answer, and a score never depends
on the other documents beside it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from dify_plugin.entities.model.text_embedding import (
    MultiModalContent,
    MultiModalContentType,
)
from dify_plugin.errors.model import InvokeServerUnavailableError

from cachecore.answer import Piece, Usage, data_of
from cachecore.policy import Traits
from cached_model import caching, upstream
from cached_model.caching import Caller
from cached_model.embeddings import picture
from cached_model.form import Form
from difykit import runtime
from difykit.codec import urls

# A document's place among those sent, and its score.
type Score = tuple[int, float]
# A text, or the parts of one with pictures.
type Document = str | Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What of the documents a caller wants.

    The host's null is zero (host contract 3.6), so zero sets no limit.
    """

    threshold: float | None = None
    top_n: int | None = None

    def of(self, scores: Sequence[Score]) -> list[Score]:
        """The documents wanted, best first."""
        best = sorted(scores, key=lambda score: score[1], reverse=True)
        if self.top_n and self.top_n > 0:
            best = best[: self.top_n]
        floor = self.threshold
        return [score for score in best if not floor or score[1] >= floor]


def rerank(
    form: Form,
    model: str,
    query: Document,
    documents: Sequence[Document],
    wanted: Wanted,
    asking: Caller,
) -> list[Score]:
    """The documents that are wanted, best first. Raises an InvokeError."""
    if not documents:
        return []
    url, body = _call(form, model, query, documents)
    headers = form.headers_digest
    key_form = {"url": url, "body": urls.unsigned(body), "headers": headers}
    request = caching.request(
        form,
        "rerank",
        model,
        key_form,
        asking,
        traits=Traits(
            external_url=any(map(_is_outside, [query, *documents])),
            # Dify signs the files that documents show anew for each question.
            ends_at=urls.expires_at(body),
        ),
        asked=lambda: query if isinstance(query, str) else "",
        parts=lambda: {"context": [query, *documents]},
    )

    def load() -> Iterator[Piece]:
        reply = upstream.fetch(form, url, body)
        scores, whole = _read(reply, len(documents))
        # One without any score, or with some that make no sense, is given and not kept.
        reason = "stop" if scores and whole else None
        yield Piece(data=scores, finish_reason=reason, usage=_usage(reply))

    with caching.errors():
        data = data_of(
            form.cache.stream(request, load, outlives_call=runtime.outlives_call())
        )
    return wanted.of([(place, score) for place, score in data or ()])


def ping(form: Form, model: str) -> None:
    """Try the model, as its form is checked. Raises an InvokeError."""
    documents = ["Brasilia is a capital.", "A whale is a mammal."]
    url, body = _call(form, model, "Which city is a capital?", documents)
    _read(upstream.fetch(form, url, body), len(documents))


def query_of(content: MultiModalContent) -> Document:
    """What is asked for: a text, or a picture as vLLM takes it."""
    if content.content_type is MultiModalContentType.IMAGE:
        return {"content": [_part(content)]}
    return content.content


def of_documents(documents: Sequence[MultiModalContent]) -> list[Document]:
    """Texts and pictures as vLLM's multimodal rerankers take them."""
    return [{"content": [_part(one)]} for one in documents]


def _part(content: MultiModalContent) -> dict[str, Any]:
    if content.content_type is not MultiModalContentType.IMAGE:
        return {"type": "text", "text": content.content}
    return {"type": "image_url", "image_url": {"url": picture(content.content).url}}


def _is_outside(document: Document) -> bool:
    """Whether a document is a picture at a URL, whose content may change behind it."""
    if isinstance(document, str):
        return False
    found = [part.get("image_url", {}).get("url", "") for part in document["content"]]
    return any(map(urls.may_change, found))


def _call(
    form: Form, model: str, query: Document, documents: Sequence[Document]
) -> tuple[str, dict[str, Any]]:
    return f"{form.base_url}/rerank", {
        "model": form.model_name(model),
        "query": query,
        "documents": list(documents),
        # Of all of them, whatever this caller wants.
        "top_n": len(documents),
    }


def _read(reply: Any, count: int) -> tuple[list[list[Any]], bool]:
    """The place and score of each result, and whether all of them made sense.

    As Jina, Cohere, vLLM, Voyage and others say it. Places that there are not are left
    out, and so is a second score of one.
    """
    results = reply
    if isinstance(reply, dict):
        results = reply.get("results", reply.get("data"))
    if not isinstance(results, list):
        raise _no_scores()
    scores: dict[int, float] = {}
    for one in results:
        try:
            place = one["index"]
            score = float(one.get("relevance_score", one.get("score")))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            raise _no_scores() from None
        if isinstance(place, int) and 0 <= place < count and isfinite(score):
            scores.setdefault(place, score)
    if results and not scores:
        raise _no_scores()
    return [[*score] for score in scores.items()], len(scores) == len(results)


def _no_scores() -> InvokeServerUnavailableError:
    msg = "The model server did not answer with one score for each document."
    return InvokeServerUnavailableError(msg)


def _usage(reply: Any) -> Usage | None:
    usage = reply.get("usage") if isinstance(reply, dict) else None
    tokens = usage.get("total_tokens") if isinstance(usage, dict) else None
    return Usage(tokens) if isinstance(tokens, int) and tokens >= 0 else None
