"""The files of each package, and the bytes of the package.

A ``.difypkg`` is a plain zip without entries for folders. Names are sorted, times are
fixed and nothing is compressed, so that the same sources give the same bytes on every
machine: the daemon derives a plugin's identity from them.
"""

import fnmatch
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from packager import release as releases
from packager.release import Release

_TIME = (1980, 1, 1, 0, 0, 0)
_AUTHOR = re.compile(rb"^( *)author: \S+$", re.MULTILINE)
_VERSION = re.compile(rb"^version: \S+\n", re.MULTILINE)

# A list of patterns; ``*`` does not cross a folder. A file that matches none does not
# ship.
_COMMON = (
    *("manifest.yaml", "main.py", "requirements.txt", "PRIVACY.md", "_assets/*.svg"),
    *("provider/*.yaml", "provider/*.py"),
)
_README = ("README.md", "readme/README_*.md")
_CORE = ("cachecore/*.py", "cachecore/meaning/*.py", "cachecore/stores/*.py")
_KIT = ("difykit/*.py", "difykit/codec/*.py")


@dataclass(frozen=True)
class Recipe:
    """One package: its folders and patterns."""

    name: str
    sources: tuple[tuple[str, tuple[str, ...]], ...]


RECIPES = (
    Recipe(
        "rag_cache",
        (
            (
                ".",
                (
                    *_COMMON,
                    *("tools/*.yaml", "tools/*.py"),
                    *(
                        "endpoints/*.yaml",
                        "endpoints/*.py",
                        "rag_cache/*.py",
                        "rag_cache/*/*.py",
                        "rag_cache/observe/*.html",
                        "rag_cache/observe/*.yaml",
                    ),
                    *("LICENSE", *_CORE, *_KIT),
                ),
            ),
            # The root's README and other files are those of the project.
            ("plugins/rag-cache", ("PRIVACY.md", *_README)),
        ),
    ),
    Recipe(
        "cached_model",
        (
            (
                "plugins/cached-model",
                (
                    *_COMMON,
                    *_README,
                    "models/*/*.py",
                    "cached_model/*.py",
                    "cached_model/*.yaml",
                ),
            ),
            (".", ("LICENSE", *_CORE, *_KIT)),
        ),
    ),
)


def files(root: Path, recipe: Recipe) -> dict[str, bytes]:
    """The package's files by name."""
    found: dict[str, bytes] = {}
    for folder, patterns in recipe.sources:
        base = root / folder
        for pattern in patterns:
            for path in base.glob(pattern):
                name = path.relative_to(base).as_posix()
                if path.is_file() and fnmatch.fnmatch(name, pattern):
                    found[name] = path.read_bytes()
    return found


def build(root: Path, recipe: Recipe, target: Path) -> Path:
    """Write ``<name>-<version>.difypkg`` into ``target``; return its path."""
    release = releases.read(root)
    path = target / f"{recipe.name}-{release.version}.difypkg"
    write(path, published(files(root, recipe), release))
    return path


def published(content: Mapping[str, bytes], release: Release) -> dict[str, bytes]:
    """The files, with the release's author, version, repository and contact."""
    author = f"author: {release.author}".encode()
    made = {
        name: _AUTHOR.sub(rb"\1" + author, data) if name.endswith(".yaml") else data
        for name, data in content.items()
    }
    own = f"version: {release.version}\nrepo: {release.repository}\n"
    own += f'contact: "{release.contact}"\n'
    manifest = _VERSION.sub(b"", made["manifest.yaml"], count=1)
    return {**made, "manifest.yaml": own.encode() + manifest}


def write(path: Path, content: Mapping[str, bytes]) -> None:
    """A zip of these files; the same files give the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(content):
            archive.writestr(zipfile.ZipInfo(name, _TIME), content[name])
