"""Some shapes as SVG: plain, on white, readable at half size."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

INK, SOFT, LINE, PAPER = "#1f2937", "#6b7280", "#d1d5db", "#ffffff"
OURS, THEIRS = "#2563eb", "#9ca3af"
_FONT = "system-ui, -apple-system, 'Segoe UI', sans-serif"


@dataclass
class Canvas:
    """A picture of ``width`` pixels; its height fits its content."""

    width: int
    title: str
    parts: list[str] = field(default_factory=list)
    height: int = 0

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        *,
        fill: str = PAPER,
        line: str = LINE,
        round_: float = 6,
    ) -> None:
        """A rectangle."""
        self._reach(y + height)
        self.parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" '
            f'rx="{round_:g}" fill="{fill}" stroke="{line}"/>'
        )

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: int = 13,
        fill: str = INK,
        anchor: str = "start",
        bold: bool = False,
    ) -> None:
        """A line of text; ``y`` is its baseline."""
        self._reach(y + 4)
        weight = ' font-weight="600"' if bold else ""
        self.parts.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{fill}" '
            f'text-anchor="{anchor}"{weight}>{escape(text)}</text>'
        )

    def arrow(
        self, x: float, y: float, to_x: float, to_y: float, dash: str = ""
    ) -> None:
        """An arrow."""
        self._reach(max(y, to_y))
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        self.parts.append(
            f'<line x1="{x:g}" y1="{y:g}" x2="{to_x:g}" y2="{to_y:g}" stroke="{SOFT}" '
            f'stroke-width="1.5" marker-end="url(#head)"{dashed}/>'
        )

    def svg(self) -> str:
        """The picture."""
        return "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        height = self.height + 16
        yield (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width}" height="{height}" '
            f'viewBox="0 0 {self.width} {height}" font-family="{_FONT}" role="img">'
        )
        yield f"<title>{escape(self.title)}</title>"
        yield (
            '<defs><marker id="head" markerWidth="8" markerHeight="8" refX="7" refY="4" '
            f'orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="{SOFT}"/></marker></defs>'
        )
        yield f'<rect width="{self.width}" height="{height}" rx="8" fill="{PAPER}"/>'
        yield from self.parts
        yield "</svg>"

    def _reach(self, y: float) -> None:
        self.height = max(self.height, int(y))
