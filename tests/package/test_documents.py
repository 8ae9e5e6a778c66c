"""The documents: their links lead somewhere, and they quote the product correctly."""

import ast
import re
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_LINK = re.compile(r"(?:\]\(|src=\")(?!https?://|mailto:)([^)\s\"]+)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_CJK = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\u3040-\u30ff]")


def _documents() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "*.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    return [ROOT / name for name in listed]


def _anchors(path: Path) -> set[str]:
    """The anchors of its headings, as code hosts make them."""
    headings = _HEADING.findall(path.read_text("utf-8"))
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in headings
    }


@pytest.mark.parametrize("path", _documents(), ids=lambda p: str(p.relative_to(ROOT)))
def test_every_link_leads_somewhere(path: Path) -> None:
    for link in _LINK.findall(path.read_text("utf-8")):
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), f"{path.name} links to {link}"
        if anchor:
            assert anchor in _anchors(target), f"{path.name} links to {link}"


def test_the_readme_is_short_and_in_english() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.split()) < 750
    assert not _CJK.search(text)


def _source() -> str:
    """All texts of the product, with adjacent literals joined as Python joins them."""
    folders = ("cachecore", "difykit", "rag_cache", "plugins", "ops/worker", "tools")
    texts = [
        path.read_text("utf-8")
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*.py"))
    ]
    texts.append((ROOT / "rag_cache/observe/words.yaml").read_text("utf-8"))
    joined = re.sub(r"[\"']\s*\n\s*f?[\"']", "", "\n".join(texts))
    return re.sub(r"\\(.)", r"\1", joined)


def _pairs(sentence: str) -> list[str]:
    """Each pair of words in sequence, without placeholders."""
    parts = re.split(r"\{[^}]*\}|\d+|[();:,.'\"]", sentence.replace("\\|", "|"))
    return [
        f"{one} {other}"
        for part in parts
        for words in [part.split()]
        for one, other in pairwise(words)
    ]


def test_every_sentence_in_troubleshooting_is_in_the_product() -> None:
    """Compared by pairs of words, because many sentences are composed of parts."""
    source = " ".join(_source().split())
    text = (ROOT / "docs/troubleshooting.md").read_text("utf-8")
    said = [line.split(" | ")[0][2:] for line in text.split("\n") if line[:2] == "| "]
    sentences = [one for one in said if one not in ("it says", "--")]
    unknown = []
    for sentence in sentences:
        pairs = _pairs(sentence)
        known = sum(pair in source for pair in pairs)
        if known < 0.75 * len(pairs):
            unknown.append(sentence)
    assert len(sentences) > 80
    assert not unknown


def test_each_warning_of_the_plugins_is_in_troubleshooting() -> None:
    text = (ROOT / "docs/troubleshooting.md").read_text("utf-8")
    logs = text.partition("## Logs")[2].partition("\n## ")[0]
    shapes = re.sub(r"\{[^}]*\}", "%s", logs)
    said = [
        ast.literal_eval(node.args[0])
        for folder in ("cachecore", "difykit", "rag_cache", "plugins/cached-model")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and _is_log(node.func) and node.args
    ]
    assert len(said) > 15
    missing = [one for one in said if one.partition("\n")[0] not in shapes]
    assert missing == []


def _is_log(function: ast.expr) -> bool:
    if not isinstance(function, ast.Attribute):
        return False
    levels = ("debug", "info", "warning", "error", "exception")
    return function.attr in levels and ast.unparse(function.value) == "logger"


def test_each_paragraph_on_correctness_names_tests_that_exist() -> None:
    tests = "\n".join(
        path.read_text("utf-8") for path in sorted((ROOT / "tests").rglob("*.py"))
    )
    text = (ROOT / "docs/correctness.md").read_text("utf-8")
    blocks = [
        block
        for block in re.split(r"\n\n|\n(?=- )", text)
        if block.strip() and not block.startswith(("#", "|", "    "))
    ]
    unproven = [block for block in blocks if not re.search(r"`tests?[_/]", block)]
    assert not unproven
    named = re.findall(r"`(test_\w+)`", text)
    named += re.findall(
        r"`(test_\w+)`", (ROOT / "docs/architecture.md").read_text("utf-8")
    )
    assert len(named) > 80
    assert [name for name in named if f"def {name}(" not in tests] == []


_PRODUCT = ("cachecore", "difykit", "rag_cache", "plugins/cached-model", "ops/worker")
# Tools' parameters, Redis' keys and commands: names that are not in the code.
_NO_CODE = re.compile(r"[<>…:*]| |^--|^test_|^\.")


def test_every_name_in_the_architecture_exists() -> None:
    files = [path for folder in _PRODUCT for path in (ROOT / folder).rglob("*.py")]
    texts = {path: path.read_text("utf-8") for path in files}
    text = (ROOT / "docs/architecture.md").read_text("utf-8")
    spans = set(re.findall(r"`([^`\n]+)`", text))
    names = sorted(name for name in spans if not _NO_CODE.search(name))
    unknown = [name for name in names if not _is_there(name, texts)]
    assert len(names) > 60
    assert not unknown


def test_the_pictures_of_the_architecture_show_every_module_of_the_core() -> None:
    text = (ROOT / "docs/architecture.md").read_text("utf-8")
    pictures = re.findall(r"```\n(.*?)```", text, re.DOTALL)
    assert len(pictures) > 1
    files = {path.name for folder in _PRODUCT for path in (ROOT / folder).rglob("*.py")}
    named = set(re.findall(r"\b(\w+\.py)\b", "".join(pictures)))
    assert named - files == set()
    box = pictures[0].partition("cachecore/")[2]
    modules = {path.stem for path in (ROOT / "cachecore").glob("[a-z]*.py")}
    assert {name for name in modules if not re.search(rf"\b{name}\b", box)} == set()


def test_the_architecture_has_a_line_for_each_entry_of_the_root() -> None:
    listed = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True)
    entries = {line.partition("/")[0] for line in listed.splitlines()}
    text = (ROOT / "docs/architecture.md").read_text("utf-8")
    folders = text.partition("## Folders")[2].partition("\n## ")[0]
    assert {one for one in entries if f"`{one}`" not in folders} == set()
    assert len(entries) < 25


def test_each_test_of_the_core_has_the_name_of_a_module() -> None:
    modules = {path.stem for path in (ROOT / "cachecore").rglob("*.py")} | {"meaning"}
    for path in (ROOT / "tests/core").glob("test_*.py"):
        name = path.stem.removeprefix("test_")
        assert any(name == one or name.startswith(f"{one}_") for one in modules), name


def _is_there(name: str, texts: dict[Path, str]) -> bool:
    folders = ROOT, ROOT / "plugins", ROOT / "plugins/cached-model", ROOT / "cachecore"
    module = name.replace(".", "/") + ".py"
    if any((one / name).exists() or (one / module).exists() for one in folders):
        return True
    *owners, last = name.split(".")
    defined = re.compile(
        rf"(?:def|class) {last}\b|^    {last},$|import {last}$", re.MULTILINE
    )
    for path, text in texts.items():
        modules = {path.stem, path.parent.name}
        held = not owners or owners[-1] in modules or f"class {owners[-1]}" in text
        if (held and defined.search(text)) or (not owners and last == path.stem):
            return True
    # A parameter, an option, or an output.
    used = re.compile(rf"[\"']{last}[\"']|\b{last}\b *[:=]")
    return not owners and any(used.search(text) for text in texts.values())
