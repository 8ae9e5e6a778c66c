"""python -m drawing: draw docs/pictures, but for the charts, which bench.report draws."""

from pathlib import Path

from drawing import overview

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "docs" / "pictures"


def pictures() -> dict[str, str]:
    """Those that need nothing measured."""
    return overview.draw(ROOT)


def main() -> None:
    """Write them."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    for name, svg in pictures().items():
        (PICTURES / name).write_text(svg, "utf-8")
        print(f"docs/pictures/{name}")


if __name__ == "__main__":
    main()
