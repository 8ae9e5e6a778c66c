"""The version of a dataset: a digest that changes when its knowledge does.

It is part of a retrieval's key, so that a change of the knowledge makes old entries
unreachable. Dify's API has no version. So the version is computed from the answer to
``GET /datasets/{id}``, for a deep check also from the list of documents.

A version is an entry of the cache, for all processes, at most ``dataset_check_seconds``
old. In the second half of its life a request refreshes it in the background. Two more
memories serve other purposes: ``_near`` saves a hit the round trip for this entry, and
the entry of ``_since``, which lives for a day, has the time when the version was first
seen.
"""

import hashlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from cachetools import LRUCache

from cachecore.answer import Piece, data_of
from cachecore.cache import Cache, RequestState
from cachecore.events import INTERNAL
from cachecore.keys import canonical
from cachecore.policy import Control, Rules, Traits
from cachecore.request import Request
from difykit import runtime
from rag_cache.errors import KnowledgeError
from rag_cache.retrieval import knowledge
from rag_cache.settings import Settings

# The fields that distinguish states of a dataset. Not ``hit_count``: each retrieval
# changes it. ``updated_at`` is the time of the settings; changes of documents show in
# the counters (fields/dataset_fields.py, models/dataset.py).
_VERSION_FIELDS: Final = (
    *("name", "provider", "indexing_technique", "doc_form", "updated_at"),
    *("document_count", "total_documents", "total_available_documents", "word_count"),
    *("embedding_model", "embedding_model_provider", "embedding_available"),
    *("retrieval_model_dict", "external_retrieval_model", "external_knowledge_info"),
    *("summary_index_setting", "enable_api", "built_in_field_enabled", "doc_metadata"),
    *("is_multimodal", "runtime_mode", "chunk_structure"),
)
# The fields that distinguish states of a document (fields/document_fields.py).
_DOCUMENT_VERSION_FIELDS: Final = (
    *("id", "name", "enabled", "archived", "indexing_status", "display_status"),
    *("word_count", "tokens", "doc_form", "doc_metadata", "created_at", "disabled_at"),
    *("dataset_process_rule_id", "summary_index_status", "data_source_info"),
)
_ECONOMICAL: Final = "economy"
_LAST_SEEN_SECONDS: Final = 86400


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset as it is now. ``own_settings`` is its own ``retrieval_model``.

    An ``economical`` one has no vectors: it can be searched by keywords only.

    ``since`` is when this version was first seen, in seconds since the epoch.
    """

    id: str
    name: str = ""
    version: str = ""
    since: float = 0.0
    own_settings: Any = None
    economical: bool = False

    @property
    def in_key(self) -> list[object]:
        """The values that distinguish this version in a key."""
        return [self.id, self.version, self.since]

    @property
    def tag(self) -> str:
        """The tag that invalidates everything made from this dataset."""
        return f"dataset:{self.id}"


# Datasets that this process knows, and since when, so that a hit takes one round trip.
_near: LRUCache[tuple[str, str, str, int, bool], tuple[Dataset, float]] = LRUCache(4096)
_near_lock = threading.Lock()


def of_all(
    cache: Cache, settings: Settings, ids: tuple[str, ...]
) -> list[Dataset | KnowledgeError]:
    """Each dataset, or the error that its request raised."""
    return knowledge.side_by_side(lambda one: of(cache, settings, one), ids)


def of(cache: Cache, settings: Settings, dataset_id: str) -> Dataset:
    """A dataset's state, at most ``dataset_check_seconds`` old."""
    options = settings.cache.options
    seconds, now = options.dataset_check_seconds, time.time()
    # Without a cache, nothing remembers when a version was first seen. So ``kept`` is
    # part of the name.
    kept = settings.cache.rules.enabled
    name = settings.knowledge.digest, dataset_id, options.dataset_check, seconds, kept
    with _near_lock:
        near = _near.get(name)
    # Only while the entry is fresh: after that, a request must start the refresh.
    if (
        seconds
        and near is not None
        and 0 <= now - near[1] < _rules(seconds, kept=kept).ttl
    ):
        return near[0]
    state = RequestState()
    found = _asked(cache, settings, dataset_id, state)
    entry = state.look.entry if state.look else None
    if not state.shared:  # The age of a shared load is not known.
        with _near_lock:
            _near[name] = found, entry.created_at if entry else now
    return found


@lru_cache(256)  # A hit needs them for each of its datasets.
def _rules(seconds: int, *, kept: bool) -> Rules:
    return Rules(enabled=kept).in_halves(seconds)


def _asked(
    cache: Cache, settings: Settings, dataset_id: str, state: RequestState
) -> Dataset:
    seconds = settings.cache.options.dataset_check_seconds

    def load() -> Iterator[Piece]:
        data = _described(settings, dataset_id)
        data["since"] = _since(cache, settings, dataset_id, data["version"])
        yield Piece(data=data, finish_reason="stop")

    request = Request(
        kind="value",
        label=INTERNAL,
        # With its maximum age: another form may permit an older one.
        form=_form(settings, dataset_id) | {"seconds": seconds},
        rules=_rules(seconds, kept=settings.cache.rules.enabled),
        control=Control.DEFAULT if seconds else Control.BYPASS,
        traits=Traits(ends_at=time.time() + seconds),
        belongs=(f"dataset:{dataset_id}",),
        credential=settings.knowledge.credential,
        rebuild_error=knowledge.rebuilt,
    )
    pieces = cache.stream(
        request, load, outlives_call=runtime.outlives_call(), state=state
    )
    data = data_of(pieces)
    return Dataset(
        dataset_id,
        data["name"],
        data["version"],
        data["since"],
        data["own_settings"],
        economical=bool(data.get("economical")),
    )


def _form(settings: Settings, dataset_id: str) -> dict[str, object]:
    return {
        "dataset": dataset_id,
        "of": settings.knowledge.digest,
        "check": settings.cache.options.dataset_check,
    }


def _since(cache: Cache, settings: Settings, dataset_id: str, version: str) -> float:
    """When this version was first seen; now, if a different version was seen last.

    A version that returns counts as a new one: an entry with the old one may have been
    retrieved after the knowledge had changed, but before the change was noticed.
    """
    request = Request(
        kind="value",
        label=INTERNAL,
        form=_form(settings, dataset_id) | {"what": "last seen"},
        rules=Rules(enabled=settings.cache.rules.enabled, ttl=_LAST_SEEN_SECONDS),
    )
    look = cache.find(request)
    last = look.entry.payload if look.entry else None
    now = time.time()
    since = round(now, 3)
    if isinstance(last, list) and last[0] == version and look.entry is not None:
        since = float(last[1])
        if now - look.entry.created_at < _LAST_SEEN_SECONDS / 2:
            return since
    stamps = cache.settle(look)
    if stamps is not None:
        cache.keep(request, look.key, stamps, [version, since])
    return since


def _described(settings: Settings, dataset_id: str) -> dict[str, Any]:
    place = settings.knowledge
    facts = knowledge.dataset(place, dataset_id)
    values: list[Any] = [facts.get(name) for name in _VERSION_FIELDS]
    if settings.cache.options.dataset_check == "deep":
        values += sorted(
            canonical([document.get(name) for name in _DOCUMENT_VERSION_FIELDS]).hex()
            for document in knowledge.documents(place, dataset_id)
        )
    return {
        "name": str(facts.get("name") or ""),
        "version": hashlib.sha256(canonical(values)).hexdigest()[:32],
        "own_settings": facts.get("retrieval_model_dict"),
        "economical": facts.get("indexing_technique") == _ECONOMICAL,
    }
