"""Vectors by a model of the workspace, through the cache: each text is sent once."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from cachecore.answer import Piece, Usage
from cachecore.request import Request
from difykit import embedding
from difykit.codec import vectors
from rag_cache import settings
from rag_cache.errors import ReverseError
from rag_cache.settings import Settings
from rag_cache.work.reverse import Limits

# (selector, texts, input type, limits) -> vectors, and the tokens they took.
type AskVectors = Callable[
    [Mapping[str, Any], Sequence[str], str, Limits], tuple[list[list[float]], int]
]

# Texts in one reverse invocation: their vectors come back in a line of at most 5 MiB.
_TEXTS_AT_ONCE: Final = 16


def vectors_of(
    read: Settings,
    request: Request,
    selector: Mapping[str, Any],
    texts: Sequence[str],
    kind: str,
    ask: AskVectors,
    limits: Limits,
    *,
    context: str = "",
    alone: bool = False,
    check: Callable[[Sequence[float]], None] = lambda _: None,
) -> list[Piece]:
    """A packed vector for each text. Raises ReverseError.

    ``request`` has the scope and rules, ``kind`` is the ``EmbeddingInputType``.
    ``check`` receives one vector before more are paid for, and may raise. With
    ``alone``, the call does not wait for another caller's load.
    """
    model = str(selector["model"])
    forms = [
        {
            "by": "gateway",
            "provider": str(selector.get("provider") or ""),
            "model": model,
            "input_type": kind,
            "context": context,
            "text": text,
        }
        for text in texts
    ]

    def load(places: Sequence[int]) -> Iterator[Mapping[int, Piece]]:
        for start in range(0, len(places), _TEXTS_AT_ONCE):
            some = places[start : start + _TEXTS_AT_ONCE]
            sent = [texts[place] for place in some]
            made, tokens = ask(selector, sent, kind, limits)
            shares = embedding.shares(tokens, sent)
            check(made[0])
            yield {
                place: Piece(
                    data=_packed(vector, model),
                    # Dify reports no price, and the form's price is that of chats.
                    usage=Usage(share, price=0.0),
                    finish_reason="stop" if any(vector) else None,
                )
                for place, vector, share in zip(some, made, shares, strict=True)
            }

    cache = settings.open_cache(read)
    return embedding.ask(cache, request, forms, load, outlives_call=False, alone=alone)


def _packed(vector: Sequence[float], model: str) -> bytes:
    try:
        return vectors.pack(vector)
    except ValueError as error:
        msg = f"The embedding model {model} gave an invalid vector."
        raise ReverseError(msg) from error
