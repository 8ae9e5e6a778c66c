"""python -m drawing: draws docs/pictures without the charts (see bench.report)."""

import argparse
from pathlib import Path

from drawing import overview

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "docs" / "pictures"


def pictures() -> dict[str, str]:
    """The pictures that need no measured figures."""
    return overview.draw(ROOT)


def main() -> None:
    """Write the pictures."""
    about = "Draw docs/pictures/overview.svg; bench.report draws the charts."
    argparse.ArgumentParser(prog="python -m drawing", description=about).parse_args()
    PICTURES.mkdir(parents=True, exist_ok=True)
    for name, svg in pictures().items():
        (PICTURES / name).write_text(svg, "utf-8")
        print(f"docs/pictures/{name}")


if __name__ == "__main__":
    main()
