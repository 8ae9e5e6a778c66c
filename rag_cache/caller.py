"""The caller of a tool."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cachecore.policy import Scope


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller of a tool. Ids are empty if the host does not send them."""

    credentials: Mapping[str, Any] = field(repr=False)
    app_id: str = ""
    user_id: str = ""

    def scope_id(self, scope: Scope) -> str:
        """The owner of an answer with this scope; empty if all callers share it."""
        return scope.whose(app_id=self.app_id, user_id=self.user_id)
