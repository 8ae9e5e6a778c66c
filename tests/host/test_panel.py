"""A value that nobody can enter by hand in Dify fails here as well."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from devhost import panel

TOOLS = sorted((Path(__file__).parents[2] / "tools").glob("*.yaml"))


@pytest.mark.parametrize(
    ("parameter", "said"),
    [
        ({"type": "any", "form": "llm"}, "no control"),
        ({"type": "dynamic-select", "form": "form"}, "stays empty"),
        ({"type": "dynamic-select", "form": "llm", "multiple": True}, "multiple"),
    ],
)
def test_a_parameter_that_nobody_can_fill_in_is_a_fault(
    parameter: dict[str, Any], said: str
) -> None:
    assert said in (panel.fault(parameter) or "")


@pytest.mark.parametrize("path", TOOLS, ids=lambda path: path.stem)
def test_every_parameter_of_our_tools_has_a_control(path: Path) -> None:
    found = [panel.fault(one) for one in yaml.safe_load(path.read_text())["parameters"]]
    assert found == [None] * len(found)
