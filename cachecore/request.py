"""A request to the cache: everything that can change the answer, and its owner."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from cachecore.answer import Piece, Usage
from cachecore.events import Subject
from cachecore.keys import Kind, canonical
from cachecore.policy import Control, Rules, Scope, Traits

_SHOWN: Final = 80  # characters of a name


@dataclass(frozen=True, slots=True)
class Judgement:
    """A judge's verdict on two different answers, and the tokens that it used."""

    same: bool
    usage: Usage = Usage()  # noqa: RUF009 - frozen


@dataclass(frozen=True, slots=True)
class Meaning:
    """How a request may be answered with the answer to a question in other words.

    ``question`` is compared; ``partition`` is the rest of the request's form, which must
    be equal. ``embed`` returns a text's vector. ``judge`` gets this question, another
    question and the answer to it, and returns whether that answer answers this question.
    Both may raise.

    At most the share ``max_wrong`` of the served answers may be wrong. At least the share
    ``compare_share`` of the requests is still compared. The bands in ``locked`` serve
    nothing. ``by`` names the models in use, because comparisons with other models are no
    evidence. ``in_background`` says that these models can be asked after the caller has
    its answer. If they can't, ``prepare`` begins early to compute the vector that
    ``embed`` will return. ``read`` converts a kept payload to an answer.
    """

    question: str
    partition: Mapping[str, object]
    embed: Callable[[str], Sequence[float]]
    judge: Callable[[str, str, Piece], bool] | None = None
    max_wrong: float = 0.01
    compare_share: float = 0.05
    locked: frozenset[int] = frozenset()
    by: str = ""
    in_background: bool = True
    prepare: Callable[[str], None] = lambda _: None
    read: Callable[[object], Piece] = Piece.from_payload


@dataclass(frozen=True, slots=True)
class Request:
    """A request to the cache.

    ``form`` has everything that can change the answer, as JSON data. ``tags`` are the
    caller's own, ``belongs`` are automatic ones (``model:…``). Both are part of the key:
    otherwise a caller with other tags would find every entry invalidated. ``label`` is
    the model or tool and ``app`` the app, for metrics. ``asked`` returns the question as
    text, and ``parts`` the other parts of the request by name, so that two requests can be
    compared: ``system``, ``history``, ``parameters``, ``tools``, and ``context``, which is
    the rest (files, passages).

    ``credential`` is a digest of everything that decides how a load fails (the payer, its
    time limits): followers share an error only with the same credential. ``at_most``
    returns the longest life of an answer in seconds, or None. ``accept`` returns whether
    a complete answer is valid. ``stale_may_replace`` returns whether a stale answer may
    be served instead of an error of the load. ``rebuild_error`` makes the error of
    another process again, from the name of its class and its text; None if it does not
    know the class.

    ``judge`` returns for an audit whether two different answers say the same; None if it
    can't decide. ``meaning`` opts in to the answers to other questions.
    """

    kind: Kind
    label: str
    form: Mapping[str, object]
    rules: Rules = Rules()  # noqa: RUF009 - frozen
    control: Control = Control.DEFAULT
    traits: Traits = Traits()  # noqa: RUF009 - frozen
    tags: tuple[str, ...] = ()
    belongs: tuple[str, ...] = ()
    ttl: int | None = None
    credential: str = ""
    app: str = ""
    asked: Callable[[], str] = str
    parts: Callable[[], Mapping[str, object]] = dict
    at_most: Callable[[Piece], float | None] = lambda _: None
    accept: Callable[[Piece], bool] | None = None
    stale_may_replace: Callable[[Exception], bool] = lambda _: True
    rebuild_error: Callable[[str, str], Exception | None] = lambda _name, _text: None
    judge: Callable[[Piece, Piece], Judgement | None] | None = None
    meaning: Meaning | None = None

    # Its owner, for metrics.
    subject: Subject = field(init=False, compare=False)

    def __post_init__(self) -> None:
        subject = Subject(self.kind, self.label[:_SHOWN], self.app[:_SHOWN])
        object.__setattr__(self, "subject", subject)

    @property
    def lifetime(self) -> int:
        """The lifetime of this request's answers, in seconds."""
        return self.ttl or self.rules.ttl


def form_of(request: Request, form: Mapping[str, object] | None = None) -> bytes:
    """The canonical form from which the key is made; raises UnkeyableError.

    ``form`` replaces the request's own.
    """
    scope = request.rules.scope
    return canonical(
        {
            "scope": [
                scope.value,
                request.traits.scope_id if scope is not Scope.SHARED else "",
            ],
            "tags": sorted(set(request.tags)),
            "belongs": sorted(set(request.belongs)),
            "request": request.form if form is None else form,
        }
    )


def tags_of(request: Request) -> set[str]:
    """Every tag that an entry for this request carries."""
    return {"*", f"kind:{request.kind}", owner_tag(request), *request.belongs} | {
        f"tag:{tag}" for tag in request.tags
    }


def parts_of(request: Request) -> dict[str, object]:
    """The parts of a request by name; empty if they are not known."""
    parts, question = dict(request.parts()), request.asked()
    if not parts and not question:
        return {}
    whose = request.rules.scope.value, request.traits.scope_id
    around = [*whose, *sorted(request.tags), *sorted(request.belongs)]
    parts["context"] = [parts.get("context"), around]
    # A missing question equals no other question.
    return {**parts, "question": question} if question else parts


def owner_tag(request: Request) -> str:
    """The tag that names an entry's owner, as far as it is known.

    An answer that all apps share names no app. So the invalidation of an app drops the
    shared answers too (``app_tags``).
    """
    if request.rules.scope is Scope.APP:
        return f"app:{request.traits.scope_id}"
    return f"scope:{request.rules.scope.value}"


def app_tags(app_id: str) -> tuple[str, ...]:
    """The tags to invalidate so that nothing of an app is served again."""
    return (f"app:{app_id}", "scope:shared", "scope:user")
