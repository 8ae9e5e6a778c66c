"""The models that the gateway serves: those picked in the endpoint's settings.

A plugin can't list the workspace's models, and not every model is meant to be called
from outside.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from rag_cache.errors import BadInput, NotServed

type Kind = Literal["llm", "text-embedding"]

_PICKS: Final[Mapping[str, Kind]] = {
    **{f"chat_model_{number}": "llm" for number in range(1, 3)},
    "embedding_model_1": "text-embedding",
}
_OURS: Final = "cached_model"
_LEADS_BACK: Final = (
    "Cached Model's, which may call this gateway again; pick the model of its own "
    "provider in the endpoint's settings."
)


@dataclass(frozen=True, slots=True)
class Served:
    """A model that callers may name ``id``; ``selector`` is how Dify picked it."""

    id: str
    kind: Kind
    selector: Mapping[str, Any]

    @property
    def provider(self) -> str:
        """The model's provider, as in ``langgenius/openai/openai``."""
        return str(self.selector.get("provider") or "")

    @property
    def full_name(self) -> str:
        """The provider and the model's name."""
        return f"{self.provider}/{self.selector['model']}"


def models(settings: Mapping[str, Any]) -> list[Served]:
    """The served models, each once.

    A model's name is its id. If two picked models have the same name, the provider is
    added before it.
    """
    picked: dict[tuple[Kind, str, str], Mapping[str, Any]] = {}
    for kind, pick in _picked(settings):
        named = kind, str(pick.get("provider") or ""), str(pick["model"])
        picked.setdefault(named, pick)
    names = [model for _, _, model in picked]
    return [
        Served(model if names.count(model) == 1 else f"{provider}/{model}", kind, pick)
        for (kind, provider, model), pick in picked.items()
    ]


def _picked(settings: Mapping[str, Any]) -> Iterator[tuple[Kind, dict[str, Any]]]:
    for name, kind in _PICKS.items():
        pick = settings.get(name)
        if not isinstance(pick, dict) or not pick.get("model"):
            continue
        # The field may hold a model of another kind, if the pick was exchanged.
        if pick.get("model_type") in (None, kind):
            yield kind, pick


def find(settings: Mapping[str, Any], wanted: Any, kind: Kind) -> Served:
    """The model that a request names. Raises NotServed, or BadInput for a circle."""
    if not isinstance(wanted, str) or not wanted:
        raise BadInput("model is empty; it takes the id of a model in GET /v1/models.")
    offered = [served for served in models(settings) if served.kind == kind]
    # Ids take precedence: one model's id may be another model's full name.
    by_id = {served.full_name: served for served in offered}
    by_id |= {served.id: served for served in offered}
    served = by_id.get(wanted)
    if served is None:
        raise NotServed(
            f"No model {wanted[:100]!r} of this kind is picked in the endpoint's settings."
        )
    if leads_back(served):
        raise BadInput(f"The model {served.id} is {_LEADS_BACK}")
    return served


def refused(settings: Mapping[str, Any]) -> list[str]:
    """A sentence for each model that is picked and not served."""
    return [
        f"The model {served.id} is picked and not served: it is {_LEADS_BACK}"
        for served in models(settings)
        if leads_back(served)
    ]


def leads_back(served: Served) -> bool:
    """Whether a model may call this gateway again."""
    return served.provider.rpartition("/")[2] == _OURS
