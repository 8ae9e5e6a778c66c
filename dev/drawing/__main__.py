"""python -m drawing [RESULTS.json]: draw docs/pictures; charts from measured results."""

import json
import sys
from pathlib import Path

from drawing import charts, forms, overview

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "docs" / "pictures"


def pictures() -> dict[str, str]:
    """Those that need nothing measured."""
    return {**overview.draw(ROOT), **forms.draw(ROOT)}


def main() -> None:
    """Write them."""
    drawn = pictures()
    if len(sys.argv) > 1:
        drawn |= charts.draw(json.loads(Path(sys.argv[1]).read_text("utf-8"))["groups"])
    PICTURES.mkdir(parents=True, exist_ok=True)
    for name, svg in drawn.items():
        (PICTURES / name).write_text(svg, "utf-8")
        print(f"docs/pictures/{name}")


if __name__ == "__main__":
    main()
