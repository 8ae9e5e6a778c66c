"""Documents in the order of their scores: the whole request is one entry.

The entry has every document's raw score. The wanted number of documents is applied
afterwards. So a caller that wants fewer gets the same scores, and a score never depends on
a limit.
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

# A document's place in the request, and its score.
type Score = tuple[int, float]
# A text, or the parts of one with pictures.
type Document = str | Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Wanted:
    """The limits that a caller sets for the documents.

    The host's null arrives as zero (host contract 3.6), so zero sets no limit.
    """

    threshold: float | None = None
    top_n: int | None = None

    def of(self, scores: Sequence[Score]) -> list[Score]:
        """The wanted documents, best first."""
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
    """The wanted documents, best first. Raises an InvokeError."""
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
            # Dify signs the files in documents again for each question.
            ends_at=urls.expires_at(body),
        ),
        asked=lambda: query if isinstance(query, str) else "",
        parts=lambda: {"context": [query, *documents]},
    )

    def load() -> Iterator[Piece]:
        reply = upstream.fetch(form, url, body)
        scores, whole = _read(reply, len(documents))
        # An answer without scores, or with invalid ones, is passed on and not kept.
        reason = "stop" if scores and whole else None
        yield Piece(data=scores, finish_reason=reason, usage=_usage(reply))

    with caching.errors():
        data = data_of(
            form.cache.stream(request, load, outlives_call=runtime.outlives_call())
        )
    return wanted.of([(place, score) for place, score in data or ()])


def ping(form: Form, model: str) -> None:
    """Test the model when its form is checked. Raises an InvokeError."""
    documents = ["Brasilia is a capital.", "A whale is a mammal."]
    url, body = _call(form, model, "Which city is a capital?", documents)
    _read(upstream.fetch(form, url, body), len(documents))


def query_of(content: MultiModalContent) -> Document:
    """The query: a text, or a picture in vLLM's format."""
    if content.content_type is MultiModalContentType.IMAGE:
        return {"content": [_part(content)]}
    return content.content


def of_documents(documents: Sequence[MultiModalContent]) -> list[Document]:
    """Texts and pictures in the format of vLLM's multimodal rerankers."""
    return [{"content": [_part(one)]} for one in documents]


def _part(content: MultiModalContent) -> dict[str, Any]:
    if content.content_type is not MultiModalContentType.IMAGE:
        return {"type": "text", "text": content.content}
    return {"type": "image_url", "image_url": {"url": picture(content.content).url}}


def _is_outside(document: Document) -> bool:
    """Whether a document is a picture at a URL, whose content may change."""
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
        # The scores of all documents, whatever this caller wants.
        "top_n": len(documents),
    }


def _read(reply: Any, count: int) -> tuple[list[list[Any]], bool]:
    """The place and score of each result, and whether all of them are valid.

    In the formats of Jina, Cohere, vLLM, Voyage and others. Unknown places are left out,
    and so is a second score of a place.
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
