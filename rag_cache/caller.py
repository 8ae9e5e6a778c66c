"""The caller of a tool."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller of a tool. Ids are empty if the host does not send them."""

    credentials: Mapping[str, Any] = field(repr=False)
    app_id: str = ""
    user_id: str = ""
