"""D: the documents."""

import re
from collections.abc import Iterator

from packager.checks.package import LANGUAGES, Built, Check

_CJK = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
_FENCE = re.compile(r"```.*?```", re.DOTALL)
_LINK = re.compile(r"\]\((?!https?://|#)([^)\s#]+)")
_MOST_WORDS = 600
# Groups of words; a README must use at least one word of each group.
_NEEDED = ("set up|install", "use|usage", "credential|api key", "require|connect")
_KEPT = ("retention|expire|ttl", "delete|invalidate", "redis", "author receives")


def readme(built: Built) -> Iterator[str]:
    text = _FENCE.sub("", built.text("README.md"))
    if not text.strip():
        yield "README.md is empty"
    if _CJK.search(text):
        yield "README.md has Chinese or Japanese characters"
    if built.release.repository not in text:
        yield "README.md does not name the source repository"


def subjects(built: Built) -> Iterator[str]:
    text = built.text("README.md").lower()
    yield from (f"nothing of {w}" for w in _NEEDED if not re.search(w, text))


def translations(built: Built) -> Iterator[str]:
    for language in LANGUAGES[1:]:
        if not built.text(f"readme/README_{language}.md").strip():
            yield f"readme/README_{language}.md is missing"
    for name in built.files:
        if re.match(r"README_", name):
            yield f"{name} lies at the root"


def length(built: Built) -> Iterator[str]:
    words = len(built.text("README.md").split())
    if words > _MOST_WORDS:
        yield f"README.md has {words} words"
    for name, text in built.sources(".md"):
        folder = name.rpartition("/")[0]
        for link in _LINK.findall(text):
            target = f"{folder}/{link}".lstrip("/")
            while "/../" in f"/{target}":
                target = re.sub(r"(^|/)[^/]+/\.\./", r"\1", target, count=1)
            if target not in built.files:
                yield f"{name} links to {link}, which does not ship"


def retention(built: Built) -> Iterator[str]:
    text = built.text("PRIVACY.md").lower()
    yield from (f"nothing of {w}" for w in _KEPT if not re.search(w, text))


CHECKS: dict[str, Check] = {
    "D1": readme,
    "D2": subjects,
    "D3": translations,
    "D4": length,
    "D5": retention,
}
