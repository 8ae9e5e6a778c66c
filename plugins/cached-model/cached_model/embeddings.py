"""Vectors for texts: each is an entry, so that only new texts are sent."""

import base64
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from weakref import WeakKeyDictionary

from dify_plugin.entities.model.text_embedding import (
    MultiModalContent,
    MultiModalContentType,
)
from dify_plugin.errors.model import (
    InvokeBadRequestError,
    InvokeServerUnavailableError,
)

from cachecore.answer import Piece, Usage
from cachecore.policy import Traits
from cached_model import caching, upstream
from cached_model.caching import Caller
from cached_model.form import Form
from cached_model.tokens import estimate
from difykit import embedding, runtime
from difykit.codec import urls, vectors
from difykit.codec.answers import Embeddings
from difykit.plugin import MAX_LINE

# The least characters of a number in JSON, as in "0.1,".
_SHORTEST_NUMBER: Final = 4
# The statuses with which servers refuse a batch that is too large, and for how many seconds
# the accepted size is remembered.
_TOO_MUCH: Final = (400, 413, 422)
_REMEMBERED: Final = 600.0
# The number of texts that a form's server accepts at once, and the time until which it holds.
_accepted: WeakKeyDictionary[Form, tuple[int, float]] = WeakKeyDictionary()
# The instruction for Qwen's models in vLLM's chat embeddings.
_INSTRUCTION: Final = "Represent the user's input."


@dataclass(frozen=True, slots=True)
class Picture:
    """An image to embed, as a data URL."""

    url: str


def embed(
    form: Form,
    model: str,
    inputs: Sequence[str | Picture],
    asking: Caller,
    *,
    label: str = "",
    alone: bool = False,
) -> Embeddings:
    """The vector of each input, from the cache or the model server.

    Texts have their prefix already. ``label`` is the name in the statistics, if it is not
    the model's. With ``alone`` it waits for no other caller. Raises an InvokeError.
    """
    shown = [one.url for one in inputs if isinstance(one, Picture)]
    traits = Traits(
        external_url=any(map(urls.may_change, shown)), ends_at=urls.expires_at(shown)
    )
    request = caching.request(form, "embedding", model, {}, asking, traits=traits)
    if label:
        request = replace(request, label=label)
    forms = [_key_form(form, model, one) for one in inputs]

    def load(places: Sequence[int]) -> Iterator[Mapping[int, Piece]]:
        for some in _batches(form, inputs, places):
            for items in _load_in_parts(form, model, inputs, some):
                _check_size(len(inputs), next(iter(items.values())).data)
                yield items

    with caching.errors():
        items = embedding.ask(
            form.cache,
            request,
            forms,
            load,
            outlives_call=runtime.outlives_call(),
            alone=alone,
        )
    for item in items[:1]:
        _check_size(len(items), item.data)
    paid = sum(embedding.tokens(one) for one in items if one.billed)
    return Embeddings(
        [vectors.unpack(item.data) for item in items],
        sum(map(embedding.tokens, items)),
        form.settings.rules.price.of(paid, 0),
    )


def prefixed(form: Form, texts: Sequence[str], input_type: str) -> list[str]:
    """The texts with the model's prefix for this type: ``document`` or ``query``."""
    prefix = form.prefixes.get(input_type, "")
    return [f"{prefix} {text}" if prefix else text for text in texts]


def of_documents(
    form: Form, documents: Sequence[MultiModalContent], input_type: str
) -> list[str | Picture]:
    """The inputs to embed, from documents that are texts or pictures."""
    return [
        picture(one.content)
        if one.content_type is MultiModalContentType.IMAGE
        else prefixed(form, [one.content], input_type)[0]
        for one in documents
    ]


def ping(form: Form, model: str) -> None:
    """Test the model when its form is checked. Raises an InvokeError."""
    _load(form, model, ["ping"])


def picture(content: str) -> Picture:
    """An image from its base64 text, or from a URL."""
    if content.startswith(("data:", "http://", "https://")):
        return Picture(content)
    return Picture(f"data:{_mime_type(content)};base64,{content}")


def _mime_type(content: str) -> str:
    # The first bytes of each format, in base64.
    known = {"/9j/": "jpeg", "iVBORw0KGgo": "png", "R0lGOD": "gif", "UklGR": "webp"}
    for beginning, name in known.items():
        if content.startswith(beginning):
            return f"image/{name}"
    return "image/bmp" if content.startswith("Qk") else "image"


def _key_form(form: Form, model: str, one: str | Picture) -> dict[str, object]:
    body = _body(form, model, [one])
    if isinstance(one, Picture):
        body = urls.unsigned(body)
    headers = form.headers_digest
    return {"url": f"{form.base_url}/embeddings", "body": body, "headers": headers}


def _batches(
    form: Form, inputs: Sequence[str | Picture], places: Sequence[int]
) -> Iterator[Sequence[int]]:
    """The places in the order of sending: texts together, each picture alone."""
    texts = [place for place in places if isinstance(inputs[place], str)]
    for start in range(0, len(texts), form.max_chunks):
        yield texts[start : start + form.max_chunks]
    for place in places:
        if isinstance(inputs[place], Picture):
            yield [place]


def _body(form: Form, model: str, inputs: Sequence[str | Picture]) -> dict[str, Any]:
    body: dict[str, Any] = {"model": form.model_name(model)}
    if form.float_format:
        body["encoding_format"] = "float"
    first = inputs[0]
    if isinstance(first, str):
        return {**body, "input": list(inputs)}
    shown = {"type": "image_url", "image_url": {"url": first.url}}
    nothing = {"type": "text", "text": ""}
    return {
        **body,
        "encoding_format": "float",
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": _INSTRUCTION}]},
            {"role": "user", "content": [shown, nothing]},
            {"role": "assistant", "content": [nothing]},
        ],
        "continue_final_message": True,
        "add_special_tokens": True,
    }


def _load_in_parts(
    form: Form, model: str, inputs: Sequence[str | Picture], places: Sequence[int]
) -> Iterator[dict[int, Piece]]:
    """All of them; in smaller and smaller halves if the server refuses more at once."""
    most, until = _accepted.get(form, (len(places), 0.0))
    if time.monotonic() > until:
        most = len(places)
    if len(places) > most:
        parts = [places[at : at + most] for at in range(0, len(places), most)]
        for part in parts:
            yield from _load_in_parts(form, model, inputs, part)
        return
    try:
        items = _load(form, model, [inputs[place] for place in places])
    except InvokeBadRequestError as error:
        if getattr(error, "status", 0) not in _TOO_MUCH:
            raise
        if len(places) == 1:
            where = f"{error} It was text {places[0] + 1} of {len(inputs)}."
            raise InvokeBadRequestError(where) from error
    else:
        yield dict(zip(places, items, strict=True))
        return
    half = (len(places) + 1) // 2
    yield from _load_in_parts(form, model, inputs, places[:half])
    yield from _load_in_parts(form, model, inputs, places[half:])
    # Only now: the batch was too large if it failed as a whole and worked in parts.
    known = _accepted.get(form, (half, 0.0))[0]
    _accepted[form] = min(known, half), time.monotonic() + _REMEMBERED


def _load(form: Form, model: str, inputs: Sequence[str | Picture]) -> list[Piece]:
    reply = upstream.fetch(
        form, f"{form.base_url}/embeddings", _body(form, model, inputs)
    )
    try:
        packed = [vectors.pack(vector) for vector in _vectors(reply, len(inputs))]
    except (KeyError, TypeError, ValueError, AttributeError, struct.error) as error:
        raise _no_vectors() from error
    shares = _shares(reply, inputs)
    return [
        Piece(
            data=payload,
            usage=Usage(tokens),
            # Dify divides by a vector's length, so a vector of zeros is not kept.
            finish_reason="stop" if any(payload[1:]) else None,
        )
        for payload, tokens in zip(packed, shares, strict=True)
    ]


def _no_vectors() -> InvokeServerUnavailableError:
    msg = "The model server did not answer with one vector for each text."
    return InvokeServerUnavailableError(msg)


def _vectors(reply: Any, count: int) -> list[Sequence[float]]:
    """The vectors of an answer in the order of their texts."""
    data = reply["data"]
    if all(isinstance(one.get("index"), int) for one in data):
        data = sorted(data, key=lambda one: one["index"])
        if [one["index"] for one in data] != list(range(len(data))):
            raise ValueError
    if len(data) != count:
        raise ValueError
    return [_vector(one["embedding"]) for one in data]


def _vector(value: Any) -> Sequence[float]:
    if isinstance(value, str):  # base64 of numbers of 4 bytes, as OpenAI writes it
        data = base64.b64decode(value, validate=True)
        return struct.unpack(f"<{len(data) // 4}f", data)
    if not isinstance(value, list):
        raise TypeError
    return value


def _shares(reply: Any, inputs: Sequence[str | Picture]) -> list[int]:
    """The tokens of each input: its share of the server's count."""
    usage = reply.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    counted = usage.get("prompt_tokens") or usage.get("total_tokens")
    texts = [one if isinstance(one, str) else "" for one in inputs]
    if isinstance(counted, int) and counted >= 0:
        return embedding.shares(counted, texts)
    return [estimate(text) for text in texts]


def _check_size(count: int, packed: bytes) -> None:
    """Refuse vectors that are too large for the host, before they cost seconds.

    The writer measures the line exactly.
    """
    numbers = vectors.size(packed)
    if count * numbers * _SHORTEST_NUMBER > MAX_LINE:
        msg = (
            f"{count} vectors of {numbers} numbers are more than Dify takes at once; "
            "lower Texts sent in one request (max_chunks)."
        )
        raise InvokeBadRequestError(msg)
