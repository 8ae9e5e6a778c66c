"""The requests of all kinds of models to the cache, and their errors for the host."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

from dify_plugin.core.session_context import get_current_session
from dify_plugin.errors.model import (
    InvokeAuthorizationError,
    InvokeBadRequestError,
    InvokeConnectionError,
    InvokeError,
    InvokeRateLimitError,
    InvokeServerUnavailableError,
)

from cachecore.errors import ConfigError, FlightBroken, NothingCached
from cachecore.keys import Kind
from cachecore.policy import Traits
from cachecore.request import Request
from cached_model import form as forms
from cached_model.form import Form

# The errors that upstream.py raises, which a leader in another process may publish.
_ERRORS: Final[Mapping[str, type[InvokeError]]] = {
    kind.__name__: kind
    for kind in (
        InvokeAuthorizationError,
        InvokeBadRequestError,
        InvokeConnectionError,
        InvokeRateLimitError,
        InvokeServerUnavailableError,
    )
}
# The errors of a failing upstream, which a stale answer may replace. A refused key or
# request is not one.
_OUTAGES: Final = (
    InvokeConnectionError,
    InvokeRateLimitError,
    InvokeServerUnavailableError,
)


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller; ids are empty if the host sends none."""

    user_id: str = ""
    app_id: str = ""


class TypedErrors:
    """A model of the SDK whose errors reach the host unchanged.

    The SDK would hide the sentence, and often the class, which Dify's load balancing uses.
    """

    def _transform_invoke_error(self, error: Exception) -> InvokeError:
        return error if isinstance(error, InvokeError) else InvokeError(str(error))

    @property
    def _invoke_error_mapping(self) -> dict[type[InvokeError], list[type[Exception]]]:
        return {}


def read(credentials: Mapping[str, Any]) -> Form:
    """The form that a model was configured with. Raises InvokeBadRequestError."""
    try:
        return forms.read(credentials)
    except ConfigError as error:
        raise InvokeBadRequestError(str(error)) from error


def caller(user: str | None) -> Caller:
    """The caller of the current call."""
    session = get_current_session()
    return Caller(user or "", (session and session.app_id) or "")


def request(
    form: Form,
    kind: Kind,
    model: str,
    key_form: Mapping[str, object],
    asking: Caller,
    *,
    traits: Traits,
    **more: Any,
) -> Request:
    """A request to a model, for the cache; ``traits`` without the id of its scope.

    ``more`` are further fields of the request.
    """
    rules = form.settings.rules
    whose = rules.scope.whose(app_id=asking.app_id, user_id=asking.user_id)
    return Request(
        kind=kind,
        label=model,
        form=key_form,
        rules=rules,
        app=asking.app_id,
        traits=replace(traits, scope_id=whose) if whose else traits,
        belongs=(f"model:{model}",),
        credential=form.credential,
        stale_may_replace=lambda error: isinstance(error, _OUTAGES),
        rebuild_error=_rebuilt,
        **more,
    )


def _rebuilt(name: str, text: str) -> InvokeError | None:
    kind = _ERRORS.get(name)
    return None if kind is None else kind(text)


@contextmanager
def errors() -> Iterator[None]:
    """Convert the cache's own errors to the host's."""
    try:
        yield
    except NothingCached as error:
        msg = (
            "No answer is kept for this request, and Cache: when to use it "
            "(cache_control) allows only kept answers."
        )
        raise InvokeBadRequestError(msg) from error
    except FlightBroken as error:
        msg = "The load that this answer was shared from ended early; please ask again."
        raise InvokeServerUnavailableError(msg) from error
