"""Vectors through the cache: all from one model, each with its share of tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from cachecore.answer import Piece
from cachecore.batch import LoadMany
from cachecore.cache import Cache
from cachecore.errors import NothingCached
from cachecore.policy import Control
from cachecore.request import Request
from difykit.codec import vectors


def ask(
    cache: Cache,
    request: Request,
    forms: Sequence[Mapping[str, object]],
    load: LoadMany,
    *,
    outlives_call: bool,
    alone: bool = False,
) -> list[Piece]:
    """A packed vector for each of ``forms``; see ``Batches.batch``.

    If the vectors differ in size, another model now has this name, and all vectors are
    loaded again. If all vectors are new, they are returned unchanged.
    """
    items = cache.batches.batch(
        request, forms, load, outlives_call=outlives_call, alone=alone
    )
    differ = len({vectors.size(item.data) for item in items}) > 1
    if not differ or all(item.billed for item in items):
        return items
    if request.control is Control.ONLY:
        raise NothingCached("the kept vectors are from several models")
    anew = replace(request, control=Control.REFRESH)
    return cache.batches.batch(anew, forms, load, outlives_call=outlives_call)


def tokens(item: Piece) -> int:
    """The tokens of one text: its share of those that were counted for all."""
    return item.usage.prompt_tokens if item.usage else 0


def shares(counted: int, texts: Sequence[str]) -> list[int]:
    """Each text's share of the tokens that were counted for all, by its length."""
    # Each text counts one more character, so that empty texts have a share too.
    whole = sum(len(text) + 1 for text in texts)
    parts, given, passed = [], 0, 0
    for text in texts:
        passed += len(text) + 1
        upto = counted * passed // whole
        parts.append(upto - given)
        given = upto
    return parts
