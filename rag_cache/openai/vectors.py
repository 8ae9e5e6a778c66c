"""An embeddings request in OpenAI's format to a model of the workspace, cached."""

import base64
import json
import struct
from collections.abc import Sequence
from typing import Any, Final

from dify_plugin.entities.model import EmbeddingInputType

from cachecore.answer import Piece
from cachecore.errors import NothingCached
from difykit.codec import vectors
from rag_cache import http, inputs, work
from rag_cache.caller import Caller
from rag_cache.errors import BadInput
from rag_cache.openai.served import Served
from rag_cache.settings import Settings
from rag_cache.work import AskVectors

type Json = dict[str, Any]

FORMATS: Final = ("float", "base64")
_AROUND: Final = 60  # characters of JSON around a vector
_MARGIN: Final = 0.95
_MAX_TEXTS: Final = 2048


def vectors_of(
    caller: Caller, read: Settings, body: Json, model: Served, ask: AskVectors
) -> list[Piece]:
    """A packed vector for each text of the request. Raises BadInput or ReverseError."""
    texts = _texts(body)
    kind = inputs.choice(body, "input_type", *(one.value for one in EmbeddingInputType))
    name = str(model.selector["model"])
    belongs = (f"model:{name}",)
    request = work.request_of(caller, read, body, "embedding", name, {}, belongs)
    try:
        return work.vectors_of(
            read,
            request,
            model.selector,
            texts,
            kind,
            ask,
            work.limits(read),
            context=inputs.text(body, "context_keys"),
            check=lambda vector: _check_size(body, vector, len(texts)),
        )
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
            "input must be a text or a list of texts; tokens are not supported."
        )
    if not 0 < len(texts) <= _MAX_TEXTS:
        raise BadInput(f"input must hold from 1 to {_MAX_TEXTS} texts.")
    return texts


def written(item: Piece, form: str) -> Any:
    """A vector in the format ``float`` or ``base64`` (4 bytes for each number)."""
    return _form(vectors.unpack(item.data), form)


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
    """Refuse a reply that the host would not accept, before it is paid for."""
    form = inputs.choice(body, "encoding_format", *FORMATS)
    each = len(json.dumps(_form(vector, form))) + _AROUND
    most = http.MAX_REPLY // each
    if count > most:
        msg = (
            f"input holds {count} texts, whose vectors are more than Dify takes at once; "
            f"send at most {int(most * _MARGIN) or 1} of them."
        )
        raise BadInput(msg)
