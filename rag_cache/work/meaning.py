"""``match: meaning`` of a tool: its question, its partition, and the models in use.

The operator permits it in the cache options. A node's builder chooses the embedding
model, and optionally a judge. Both are models of the workspace, asked by reverse
invocation, which ends with its caller. So an answer is compared and indexed before the
node ends, and the question is embedded while the answer is made.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import gevent
from dify_plugin.core.runtime import Session
from dify_plugin.entities.model import EmbeddingInputType
from dify_plugin.entities.model.message import PromptMessage

from cachecore.answer import Piece, merge
from cachecore.events import INTERNAL
from cachecore.policy import Traits
from cachecore.question import LONGEST
from cachecore.request import Meaning, Request
from difykit import judges
from difykit.codec import vectors
from rag_cache import inputs
from rag_cache.settings import Settings
from rag_cache.work import models
from rag_cache.work.models import Chat
from rag_cache.work.reverse import Limits
from rag_cache.work.vectors import AskVectors, vectors_of

type AskModel = Callable[[Chat, Limits], Iterator[Piece]]

# An answer may wait for the vector: longer than a vector takes, but shorter than a chat
# model takes.
_EMBED_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Models:
    """The functions that ask models of the workspace."""

    chat: AskModel
    embed: AskVectors

    @classmethod
    def of(cls, session: Session) -> "Models":
        """Functions that use the reverse invocations of a session."""
        return cls(
            lambda chat, limits: models.llm(session, chat, limits),
            lambda *asked: models.embed(session, *asked),
        )


@dataclass(frozen=True, slots=True)
class Chosen:
    """The models that a node's builder chose, as Dify's selectors have them."""

    embedding: Mapping[str, Any]
    judge: Mapping[str, Any]


def chosen(parameters: Mapping[str, Any], read: Settings) -> Chosen | None:
    """The models for ``meaning``. Raises BadInput.

    None if the options do not permit it, or if no embedding model is chosen.
    """
    embedding = inputs.table(parameters, "meaning_model")
    judge = inputs.table(parameters, "meaning_judge")
    if read.cache.options.match != "meaning" or not embedding.get("model"):
        return None
    if judge.get("model"):
        models.model_config(judge, "meaning_judge")
    return Chosen(embedding, judge if judge.get("model") else {})


def matched(
    read: Settings,
    request: Request,
    question: str,
    by: Chosen | None,
    ask: Models,
    as_answer: Callable[[object], Piece] = Piece.from_payload,
) -> Request:
    """The request, matched also by the meaning of its field ``question``, if possible.

    ``as_answer`` converts a kept payload to an answer.
    """
    text = request.form.get(question)
    # A question with a signed URL of a file in it is not a text.
    if by is None or not isinstance(text, str) or not 0 < len(text) <= LONGEST:
        return request

    def embed(text: str) -> Sequence[float]:
        # No user asked for this vector, so it counts neither as a hit nor as a miss.
        ours = Request(
            kind="embedding",
            label=INTERNAL,
            form={},
            rules=request.rules,
            traits=Traits(scope_id=request.traits.scope_id),
            belongs=(f"model:{by.embedding['model']}",),
            credential=request.credential,
        )
        limits = Limits(_EMBED_SECONDS, _EMBED_SECONDS)
        kind = EmbeddingInputType.QUERY.value
        # With ``alone``, because another caller's load may take longer.
        asked = by.embedding, [text], kind, ask.embed, limits
        found = vectors_of(read, ours, *asked, alone=True)
        return vectors.unpack(found[0].data)

    prepare = _EarlyVector(embed)
    meaning = Meaning(
        question=text,
        partition={**request.form, question: ""},
        embed=prepare,
        by=" ".join(_names(by)),
        in_background=False,
        prepare=prepare.begin,
        read=as_answer,
        **read.cache.options.of_meaning(),
    )
    if not by.judge:
        return replace(request, meaning=meaning)
    about_questions = judges.of_questions(_judge(by, ask, judges.QUESTION_SECONDS))
    about_answers = judges.of_answers(
        _judge(by, ask, judges.ANSWER_SECONDS), lambda: text
    )
    return replace(
        request,
        meaning=replace(meaning, judge=about_questions),
        judge=about_answers,
    )


class _EarlyVector:
    """Returns a question's vector; its load may have begun before."""

    def __init__(self, embed: Callable[[str], Sequence[float]]) -> None:
        self._embed = embed
        self._greenlet: gevent.Greenlet[..., Sequence[float] | Exception] | None = None

    def begin(self, question: str) -> None:
        """Begin to load the vector, in a separate greenlet."""
        self._greenlet = self._greenlet or gevent.spawn(self._quietly, question)

    def _quietly(self, question: str) -> Sequence[float] | Exception:
        try:
            return self._embed(question)
        except Exception as error:  # noqa: BLE001 - __call__ raises it
            return error

    def __call__(self, question: str) -> Sequence[float]:
        if self._greenlet is None:
            return self._embed(question)
        made = self._greenlet.get()
        if isinstance(made, Exception):
            raise made
        return made


def _judge(
    by: Chosen, ask: Models, seconds: float
) -> Callable[[Sequence[PromptMessage]], Piece]:
    config = models.model_config(by.judge, "meaning_judge")

    def asked(messages: Sequence[PromptMessage]) -> Piece:
        chat = Chat(config, list(messages))
        return merge(ask.chat(chat, Limits(seconds, seconds)))

    return asked


def _names(by: Chosen) -> Iterator[str]:
    for selector in (by.embedding, by.judge):
        yield f"{selector.get('provider') or ''}/{selector.get('model') or ''}"
