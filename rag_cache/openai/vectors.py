"""An embeddings request of OpenAI's, over a model of the workspace, through the cache."""

import base64
import json
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from dify_plugin.entities.model import EmbeddingInputType

from cachecore.batch import Item
from cachecore.entry import Cost
from cachecore.errors import NothingCached
from difykit.codec import embedding, vectors
from rag_cache import http, inputs, settings, work
from rag_cache.caller import Caller
from rag_cache.errors import BadInput, ReverseError
from rag_cache.openai.served import Served
from rag_cache.settings import Settings
from rag_cache.work import Limits

type Json = dict[str, Any]
# (selector, texts, input type, limits) -> vectors, and the tokens they took.
type AskVectors = Callable[
    [Mapping[str, Any], Sequence[str], str, Limits], tuple[list[list[float]], int]
]


# Texts in one reverse invocation: their vectors come back in one line of 5 MiB.
_TEXTS_AT_ONCE: Final = 16
FORMATS: Final = ("float", "base64")
_AROUND: Final = 60  # characters of JSON around a vector
_MARGIN: Final = 0.95
_MAX_TEXTS: Final = 2048


def vectors_of(
    caller: Caller, read: Settings, body: Json, model: Served, ask: AskVectors
) -> list[Item]:
    """A packed vector for each text of the request. Raises BadInput or ReverseError."""
    texts = _texts(body)
    kind = inputs.choice(body, "input_type", *(one.value for one in EmbeddingInputType))
    name = str(model.selector["model"])
    belongs = (f"model:{name}",)
    request = work.request_of(caller, read, body, "embedding", name, {}, belongs)
    forms = [
        {
            "by": "gateway",
            "provider": model.provider,
            "model": name,
            "input_type": kind,
            "context": inputs.text(body, "context_keys"),
            "text": text,
        }
        for text in texts
    ]

    def load(places: Sequence[int]) -> Iterator[Mapping[int, Item]]:
        for start in range(0, len(places), _TEXTS_AT_ONCE):
            some = places[start : start + _TEXTS_AT_ONCE]
            sent = [texts[place] for place in some]
            made, tokens = ask(model.selector, sent, kind, work.limits(read))
            shares = embedding.shares(tokens, sent)
            _check_size(body, made[0], len(texts))
            yield {
                place: Item(_packed(vector, model), Cost(share), keep=any(vector))
                for place, vector, share in zip(some, made, shares, strict=True)
            }

    cache = settings.open_cache(read)
    try:
        return embedding.ask(cache, request, forms, load, outlives=False)
    except NothingCached as error:
        msg = "Cache control is 'only' and a vector is missing in the cache."
        raise BadInput(msg) from error


def _texts(body: Json) -> list[str]:
    if body.get("dimensions") is not None:
        raise BadInput(
            "dimensions can't be passed on to a model of Dify; leave it out."
        )
    given = body.get("input")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not all(isinstance(one, str) for one in texts):
        raise BadInput(
            "input must be a text or a list of texts; tokens are unknown here."
        )
    if not 0 < len(texts) <= _MAX_TEXTS:
        raise BadInput(f"input must hold from 1 to {_MAX_TEXTS} texts.")
    return texts


def _packed(vector: Sequence[float], model: Served) -> bytes:
    try:
        return vectors.pack(vector)
    except ValueError as error:
        msg = f"The embedding model {model.id} gave what is no vector."
        raise ReverseError(msg) from error


def written(item: Item, form: str) -> Any:
    """A vector as ``float`` or ``base64`` write it; the latter has 4 bytes a number."""
    return _form(vectors.unpack(item.payload), form)


def _form(vector: Sequence[float], form: str) -> Any:
    if form == "float":
        return list(vector)
    try:
        return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
    except OverflowError:
        msg = (
            "A vector has a number too large for base64; ask for encoding_format float."
        )
        raise BadInput(msg) from None


def _check_size(body: Json, vector: Sequence[float], count: int) -> None:
    """Refuse what could not be handed over, before it is paid for."""
    form = inputs.choice(body, "encoding_format", *FORMATS)
    each = len(json.dumps(_form(vector, form))) + _AROUND
    most = http.MAX_REPLY // each
    if count > most:
        msg = (
            f"input holds {count} texts, whose vectors are more than Dify takes at once; "
            f"send at most {int(most * _MARGIN) or 1} of them."
        )
        raise BadInput(msg)
