"""A retrieval through the cache: query -> versions -> key -> cache or knowledge API.

An entry is the output of a Knowledge Retrieval node. Its key holds the version of each
dataset. No entry lives longer than ``retrieval_max_age_seconds``, because Dify's API
does not show every change (``versions``).
"""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from cachetools import TTLCache, cached

from cachecore.answer import Piece, data_of
from cachecore.cache import RequestState
from cachecore.errors import FlightBroken, NothingCached
from cachecore.policy import Control, Traits
from cachecore.request import Request
from difykit import runtime
from difykit.codec import urls
from rag_cache import inputs, settings
from rag_cache.caller import Caller
from rag_cache.errors import (
    BadInput,
    KnowledgeError,
    NoKnowledgeBase,
    ReverseError,
)
from rag_cache.outcome import Outcome, outcome_of
from rag_cache.retrieval import citations, knowledge, versions
from rag_cache.retrieval.asks import FIELDS, Ask, Json, read_names
from rag_cache.retrieval.knowledge import MAX_QUERY
from rag_cache.retrieval.versions import Dataset
from rag_cache.settings import Settings
from rag_cache.work import Reranker

# The lifetime of an empty result: the document may be on its way.
EMPTY_SECONDS: Final = 30
# The API refuses a ``retrieval_model`` without these (host contract 8.1).
_LEAST: Final[Mapping[str, Any]] = {
    "search_method": "semantic_search",
    "reranking_enable": False,
    "top_k": 4,
    "score_threshold_enabled": False,
}
# A version may be seen before Dify's index has caught up with it: Dify enables a
# document first, and then its segments (tasks/add_document_to_index_task.py). During
# this time, a result is kept only for a short time.
_SETTLING_SECONDS: Final = 60
_SETTLING_LIFE: Final = 15.0
_NAMES_SECONDS: Final = 60

_NOTHING: Final[Mapping[str, Any]] = {"result": [], "datasets": [], "warnings": []}


@dataclass(frozen=True, slots=True)
class Retrieved:
    """A retrieval's result. ``datasets`` has id, name and count of each one asked."""

    result: list[Json]
    datasets: list[Json]
    warnings: list[str]
    query: str
    outcome: Outcome

    @property
    def text(self) -> str:
        """The passages, for a person or a prompt."""
        return "\n\n".join(str(item.get("content") or "") for item in self.result)


def retrieve(caller: Caller, ask: Ask) -> Retrieved:
    """The items for a query. Raises BadInput, ConfigError or KnowledgeError."""
    read = settings.read(caller.credentials)
    if ask.named:
        ids = {*ask.datasets, *_ids(read, ask.named, ask.named_in)}
        ask = replace(ask, datasets=tuple(sorted(ids)), named=())
    _check_permitted(read, ask.datasets, "A search")
    cache = settings.open_cache(read)
    described = versions.of_all(cache, read, ask.datasets)
    known = [item for item in described if isinstance(item, Dataset)]

    def load() -> Iterator[Piece]:
        yield _loaded(read, ask, described)

    if len(known) < len(described):
        # Without a version there is no key.
        if ask.control is Control.ONLY:
            return _shown(ask, _NOTHING, Outcome("version_unknown"))
        return _shown(
            ask, _loaded(read, ask, described).data, Outcome("version_unknown")
        )
    # A rerank model is called through the caller's session, and the call ends with it.
    outlives_call = ask.reranker is None and runtime.outlives_call()
    request = _request(caller, read, ask, known, outlives_call=outlives_call)
    state = RequestState()
    try:
        data = data_of(
            cache.stream(request, load, outlives_call=outlives_call, state=state)
        )
    except NothingCached:
        data = _NOTHING
    except FlightBroken:  # another caller's load failed: load here
        data = _loaded(read, ask, described).data
    return _shown(ask, data, outcome_of(state))


def _shown(ask: Ask, data: Mapping[str, Any], outcome: Outcome) -> Retrieved:
    warnings = list(data["warnings"])
    if warnings and not outcome.hit:
        outcome = replace(outcome, reason="partial")
    if ask.cut:
        warnings.insert(
            0,
            f"Dify accepts a query of {MAX_QUERY} characters; only the first "
            f"{len(ask.query)} were used.",
        )
    return Retrieved(data["result"], data["datasets"], warnings, ask.query, outcome)


def versions_of(read: Settings, parameters: Mapping[str, Any]) -> list[Dataset] | None:
    """The current state of ``knowledge_bases``; None if a state can't be read.

    Raises BadInput. Raises KnowledgeError if a knowledge base does not exist, or if the
    API's URL or key is not set.
    """
    names = read_names(parameters, "knowledge_bases")
    where = FIELDS["knowledge_bases"]
    if not names:
        return []
    knowledge.check_set(read.knowledge)
    try:
        ids = tuple(sorted(_ids(read, names, where)))
    except KnowledgeError:
        return None
    _check_permitted(read, ids, where)
    described = versions.of_all(settings.open_cache(read), read, ids)
    for one in described:
        if isinstance(one, NoKnowledgeBase):
            raise one
    known = [one for one in described if isinstance(one, Dataset)]
    return known if len(known) == len(described) else None


def longest_life(read: Settings, datasets: Sequence[Dataset]) -> int:
    """The longest lifetime, in seconds, of a value made from these knowledge bases."""
    most = read.cache.options.retrieval_max_age_seconds
    if any(_is_settling(one.since) for one in datasets):
        most = min(most, int(_SETTLING_LIFE))
    return most


def _is_settling(since: float) -> bool:
    """Whether Dify's index may be older than a version first seen at ``since``."""
    return time.time() - since < _SETTLING_SECONDS


def _ids(read: Settings, names: Sequence[str], where: str) -> set[str]:
    """The ids of knowledge bases; ``where`` is the field that names them."""
    found = {name.lower() for name in names if inputs.is_id(name)}
    wanted = [name for name in names if not inputs.is_id(name)]
    listed = _listed(read) if wanted else []
    for name in wanted:
        ids = [one for one, shown in listed if shown.casefold() == name.casefold()]
        if len(ids) != 1:
            trouble = "Several knowledge bases are" if ids else "No knowledge base is"
            raise BadInput(
                f"{trouble} called {name[:60]!r} in {where}; write the id from the "
                "knowledge base's address."
            )
        found.add(ids[0])
    return found


@cached(
    TTLCache(256, _NAMES_SECONDS),
    key=lambda read: read.knowledge.digest,
    lock=threading.Lock(),
)
def _listed(read: Settings) -> list[tuple[str, str]]:
    """The names of a workspace's knowledge bases, remembered for some seconds."""
    return list(knowledge.datasets(read.knowledge))


def _check_permitted(read: Settings, datasets: Sequence[str], where: str) -> None:
    """Raise BadInput for too many knowledge bases, or one that is not allowed."""
    allowed = read.knowledge.allowed
    if len(datasets) > inputs.MAX_IDS:
        raise BadInput(f"{where} takes at most {inputs.MAX_IDS} knowledge bases.")
    for one in datasets if allowed else ():
        if one not in allowed:
            raise BadInput(
                f"The knowledge base {one} is not among Allowed Knowledge Bases "
                "(allowed_datasets) in the plugin's credentials."
            )


def _form(read: Settings, ask: Ask, datasets: Sequence[Dataset]) -> Json:
    """Everything that can change the result."""
    return {
        "of": read.knowledge.digest,
        "query": ask.query,
        "datasets": [one.in_key for one in datasets],
        # Another form may permit an older result.
        "max_age": read.cache.options.retrieval_max_age_seconds,
        "overrides": ask.overrides,
        "top_k": ask.top_k,
        "rerank": [ask.reranker.form, ask.score_threshold] if ask.reranker else None,
    }


def _request(
    caller: Caller,
    read: Settings,
    ask: Ask,
    datasets: Sequence[Dataset],
    *,
    outlives_call: bool,
) -> Request:
    rules = read.cache.rules
    life = min(ask.ttl or rules.ttl, read.cache.options.retrieval_max_age_seconds)
    return Request(
        kind="retrieval",
        label="cached_retrieve",
        form=_form(read, ask, datasets),
        rules=rules.in_halves(life)
        if outlives_call
        else replace(rules, ttl=life, stale_while_revalidate=0, stale_if_error=0),
        app=caller.app_id,
        asked=lambda: ask.query,
        parts=lambda: {
            "parameters": [ask.overrides, ask.top_k],
            "context": [one.in_key for one in datasets],
        },
        control=ask.control,
        traits=Traits(
            scope_id=caller.scope_id(rules.scope), ends_at=time.time() + life
        ),
        tags=ask.tags,
        belongs=tuple(one.tag for one in datasets),
        credential=read.knowledge.credential,
        at_most=partial(_at_most, max(one.since for one in datasets)),
        rebuild_error=knowledge.rebuilt,
    )


def _at_most(since: float, answer: Piece) -> float | None:
    result, now = answer.data["result"], time.time()
    most = []
    if not result:
        most.append(float(EMPTY_SECONDS))
    if _is_settling(since):
        most.append(_SETTLING_LIFE)
    ends = urls.expires_at(result)  # images in a segment, under Dify's signatures
    if ends is not None:
        most.append(ends - now)
    return min(most, default=None)


# --- loading --------------------------------------------------------------


def _found(dataset: Dataset, answer: list[Json] | KnowledgeError) -> Json:
    count = 0 if isinstance(answer, KnowledgeError) else len(answer)
    return {"id": dataset.id, "name": dataset.name, "found": count}


def _loaded(
    read: Settings, ask: Ask, described: Sequence[Dataset | KnowledgeError]
) -> Piece:
    """The items of all datasets. Raises KnowledgeError if every dataset failed."""
    named = [
        one if isinstance(one, Dataset) else Dataset(which)
        for which, one in zip(ask.datasets, described, strict=True)
    ]
    unknown = {
        which: one
        for which, one in zip(ask.datasets, described, strict=True)
        if isinstance(one, KnowledgeError)
    }

    def asked(one: Dataset) -> list[Json]:
        # Overrides need the dataset's own settings, which are not known either.
        if one.id in unknown and ask.overrides:
            raise unknown[one.id]
        return _items(read, ask, one)

    answers = knowledge.side_by_side(asked, named)
    good = [answer for answer in answers if not isinstance(answer, KnowledgeError)]
    bad = [answer for answer in answers if isinstance(answer, KnowledgeError)]
    if not good:
        raise bad[0]
    warnings = list(dict.fromkeys(str(error) for error in (*unknown.values(), *bad)))
    found = citations.ranked([item for items in good for item in items])
    if ask.reranker is not None and found:
        try:
            found = _reranked(ask, ask.reranker, found)
        except ReverseError as error:
            warnings.append(str(error))
    data = {
        "result": citations.ranked(found, _top_k(ask, named)),
        "datasets": list(map(_found, named, answers)),
        "warnings": warnings,
    }
    return Piece(data=data, finish_reason="partial" if warnings else "stop")


def _items(read: Settings, ask: Ask, one: Dataset) -> list[Json]:
    records = knowledge.retrieve(read.knowledge, one.id, ask.query, _model(ask, one))
    return citations.items(records, one.id, one.name)


def _model(ask: Ask, one: Dataset) -> Json | None:
    """The dataset's own settings, with overrides; None if nothing is overridden.

    Dify's page stores a semantic search for an economical dataset, and its API then
    fails because there are no vectors (1.14.0). Such a dataset can be searched by
    keywords only.
    """
    by_keywords = one.economical and "search_method" not in ask.overrides
    if not ask.overrides and not by_keywords:
        return None
    own = one.own_settings if isinstance(one.own_settings, dict) else {}
    known = {name: value for name, value in own.items() if value is not None}
    keywords = {"search_method": "keyword_search"} if by_keywords else {}
    return {**_LEAST, **known, **ask.overrides, **keywords}


def _top_k(ask: Ask, datasets: Sequence[Dataset]) -> int | None:
    """The number of items in all: as asked, else the largest of the datasets' own."""
    asked = ask.overrides.get("top_k")
    if asked is not None or len(datasets) == 1:
        return asked if isinstance(asked, int) else None
    own = [one.own_settings for one in datasets]
    counts = [each.get("top_k") for each in own if isinstance(each, dict)]
    return max((count for count in counts if isinstance(count, int)), default=None)


def _reranked(ask: Ask, reranker: Reranker, found: Sequence[Json]) -> list[Json]:
    texts = [str(item["content"]) for item in found]
    top_n = min(ask.top_k or len(texts), len(texts))
    threshold = ask.score_threshold or 0.0
    return citations.rescored(
        found, reranker.choose(ask.query, texts, top_n, threshold)
    )


# --- choosing datasets ------------------------------------------------------


def choices(credentials: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Id and name of each dataset that the credentials permit, for a selection list.

    Raises ConfigError or KnowledgeError.
    """
    return list(knowledge.datasets(settings.read(credentials).knowledge))
