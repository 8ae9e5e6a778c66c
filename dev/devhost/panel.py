"""What Dify's panel of a tool lets a person do, as seen in 1.13.2 and 1.16.1.

Dify says nothing where a parameter has no control or a list never fills: the person just
can't go on. Here it is a failure.
"""

from collections.abc import Mapping
from typing import Any, Final

# web/app/components/workflow/nodes/_base/components/form-input-item.tsx has a control for
# each of these; for ``any`` it has none.
CONTROLS: Final = {
    *("string", "number", "boolean", "select", "secret-input", "object", "array"),
    *("file", "files", "model-selector", "app-selector", "dynamic-select"),
}


def fault(parameter: Mapping[str, Any]) -> str | None:
    """Why a person can't fill in a parameter of a tool; None if it is no trouble."""
    kind = parameter["type"]
    if kind not in CONTROLS:
        return f"it is of type {kind}, for which Dify has no control"
    if kind == "dynamic-select" and parameter.get("form") != "llm":
        # web/app/components/workflow/nodes/tool/panel.tsx hands provider and tool, which
        # the options are asked of, to the form of input variables only.
        return f"its list stays empty where its form is {parameter.get('form')}"
    if kind == "dynamic-select" and parameter.get("multiple"):
        return "1.13.2 drops multiple, and newer hosts refuse it"
    return None
