"""The README's picture: which package has which folder, and a request's path."""

from pathlib import Path

from drawing.shapes import OURS, SOFT, Canvas
from packager.build import RECIPES, files

_WIDTH = 860
# A few words for each folder.
_FOLDERS = {
    "cachecore": "keys, policy, flights, replay",
    "difykit": "Dify's messages",
    "cached_model": "the model provider's logic",
    "models": "its three model types",
    "rag_cache": "the tools' and endpoints' logic",
    "tools": "ten tools for workflows",
    "endpoints": "metrics, dashboard, OpenAI's API",
}
_SHARED = ("cachecore", "difykit")


def draw(root: Path) -> dict[str, str]:
    """The picture by its name; the folders are those of the packages' recipes."""
    canvas = Canvas(_WIDTH, "What ships in which package, and where a request goes")
    for place, recipe in enumerate(sorted(RECIPES, key=lambda one: one.name)):
        shipped = {
            name.partition("/")[0] for name in files(root, recipe) if "/" in name
        }
        own = [name for name in _FOLDERS if name in shipped and name not in _SHARED]
        _package(canvas, 200 + place * 240, recipe.name, own)
    canvas.box(212, 216, 436, 58, fill="#eff6ff", line=OURS)
    for place, name in enumerate(_SHARED):
        x = 224 + 240 * place
        canvas.text(x, 240, f"{name}/", bold=True)
        canvas.text(x, 256, f"{_FOLDERS[name]}, in both", size=11, fill=SOFT)
    _around(canvas)
    return {"overview.svg": canvas.svg()}


def _package(canvas: Canvas, x: float, name: str, folders: list[str]) -> None:
    canvas.box(x, 60, 220, 226, fill="#f9fafb", line=SOFT)
    canvas.text(x + 12, 84, f"{name}.difypkg", bold=True)
    for place, folder in enumerate(folders):
        y = 112 + 34 * place
        canvas.text(x + 12, y, f"{folder}/", bold=True)
        canvas.text(x + 12, y + 14, _FOLDERS[folder], size=11, fill=SOFT)


def _around(canvas: Canvas) -> None:
    canvas.box(16, 110, 130, 76, line=SOFT)
    canvas.text(81, 138, "Dify", anchor="middle", bold=True)
    canvas.text(81, 158, "workflows, apps,", size=11, fill=SOFT, anchor="middle")
    canvas.text(81, 172, "any OpenAI client", size=11, fill=SOFT, anchor="middle")
    canvas.arrow(146, 140, 198, 140)
    canvas.arrow(198, 160, 148, 160)
    canvas.box(714, 60, 130, 96, line=SOFT)
    canvas.text(779, 88, "upstream", anchor="middle", bold=True)
    canvas.text(779, 108, "vLLM, OpenAI, …", size=11, fill=SOFT, anchor="middle")
    canvas.text(779, 124, "Knowledge API,", size=11, fill=SOFT, anchor="middle")
    canvas.text(779, 140, "apps and nodes", size=11, fill=SOFT, anchor="middle")
    canvas.arrow(662, 108, 712, 108, dash="4 3")
    canvas.text(687, 100, "a miss", size=11, fill=SOFT, anchor="middle")
    canvas.box(714, 210, 130, 70, line=OURS)
    canvas.text(779, 240, "your Redis", anchor="middle", bold=True)
    canvas.text(779, 260, "the only place", size=11, fill=SOFT, anchor="middle")
    canvas.arrow(662, 245, 712, 245)
    canvas.text(687, 235, "always", size=11, fill=SOFT, anchor="middle")
    canvas.text(
        16, 32, "A hit is one round trip to Redis; all else is a miss.", bold=True
    )
