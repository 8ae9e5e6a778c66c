"""``match: meaning`` for chats: the question, the partition, and the helper models."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from cachecore.events import INTERNAL
from cachecore.keys import canonical, fingerprint
from cachecore.question import LONGEST
from cachecore.request import Meaning
from cached_model import embeddings, helpers
from cached_model.address import read_base_url
from cached_model.caching import Caller
from cached_model.form import Form
from difykit import judges

# An answer may wait for a vector: longer than one takes, and shorter than a model.
_EMBED_SECONDS: Final = 2


def of(form: Form, key_form: Mapping[str, Any], asking: Caller) -> Meaning | None:
    """The ``match: meaning`` settings of a chat with this key.

    None if its question is not one text: with a file, in the completion mode, or if it is
    as long as a document.
    """
    options = form.settings.options
    body = key_form["body"]
    # With a signed file URL in it, the value is more than the body.
    if not isinstance(body, dict):
        return None
    messages = body.get("messages")
    if not messages:
        return None
    *before, last = messages
    question = last.get("content")
    if last.get("role") != "user" or not isinstance(question, str):
        return None
    if not 0 < len(question) <= LONGEST:
        return None
    rest = {**last, "content": ""}
    embedding = _embedding(form)

    def embed(text: str) -> Sequence[float]:
        texts = embeddings.prefixed(form, [text], "query")
        # It is the cache's own call, so it is no hit or miss of a user.
        found = embeddings.embed(
            embedding, options.meaning_model, texts, asking, label=INTERNAL, alone=True
        )
        return found.vectors[0]

    return Meaning(
        question=question,
        partition={**key_form, "body": {**body, "messages": [*before, rest]}},
        embed=embed,
        judge=_judge(form),
        by=" ".join(
            (
                key_form["url"],
                str(body.get("model")),
                options.meaning_model,
                *filter(None, [options.meaning_url]),
                options.meaning_judge,
            )
        ),
        **options.of_meaning(),
    )


def _embedding(form: Form) -> Form:
    """The form for vectors: the same endpoint, or another server."""
    # The model has its own name there.
    limited = replace(
        helpers.with_time_limit(form, _EMBED_SECONDS), endpoint_model_name=""
    )
    url = form.settings.options.meaning_url
    if not url:
        return limited
    # The key and the headers belong to the endpoint; no other server gets them.
    nothing = fingerprint(canonical({}))
    return replace(
        limited,
        base_url=read_base_url(url),
        api_key="",
        extra_headers={},
        headers_digest=nothing,
    )


def _judge(form: Form) -> Any:
    model = form.settings.options.meaning_judge
    if not model:
        return None
    return judges.of_questions(helpers.asking(form, model, judges.QUESTION_SECONDS))
