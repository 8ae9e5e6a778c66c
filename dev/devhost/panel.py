"""The parameters that a person can't fill in on Dify's panel of a tool.

Seen in 1.13.2 and 1.16.1. Dify reports nothing if a parameter has no control or a list
stays empty: the person can't continue. devhost fails.
"""

from collections.abc import Mapping
from typing import Any, Final

# web/app/components/workflow/nodes/_base/components/form-input-item.tsx has a control
# for each of these types, and none for ``any``.
CONTROLS: Final = {
    *("string", "number", "boolean", "select", "secret-input", "object", "array"),
    *("file", "files", "model-selector", "app-selector", "dynamic-select"),
}


def fault(parameter: Mapping[str, Any]) -> str | None:
    """Why a person can't fill in a parameter of a tool; None if a person can."""
    kind = parameter["type"]
    if kind not in CONTROLS:
        return f"it is of type {kind}, for which Dify has no control"
    if kind == "dynamic-select" and parameter.get("form") != "llm":
        # web/app/components/workflow/nodes/tool/panel.tsx passes provider and tool,
        # which the request for the options needs, only to the form of input variables.
        return f"its list stays empty where its form is {parameter.get('form')}"
    if kind == "dynamic-select" and parameter.get("multiple"):
        return "1.13.2 drops multiple, and newer hosts refuse it"
    return None
