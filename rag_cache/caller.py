"""Who runs a tool."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Caller:
    """Who runs the tool, as far as the host says. Ids are empty where it does not."""

    credentials: Mapping[str, Any] = field(repr=False)
    app_id: str = ""
    user_id: str = ""
