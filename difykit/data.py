"""Our own YAML files, which are beside the code that reads them."""

from pathlib import Path
from typing import Any

import yaml


def read(path: Path) -> Any:
    """The data of a file. libyaml, if present, takes a tenth of the time."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(path.read_text("utf-8"), loader)
