"""The values of release.yaml, which every package repeats."""

import re
from dataclasses import dataclass
from pathlib import Path

import yaml

_VERSION = re.compile(r"\d{1,4}(\.\d{1,4}){2}(-\w{1,16})?", re.ASCII)
_AUTHOR = re.compile(r"[a-z0-9_-]{1,64}")
_CONTACT = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
# Validators compare these characters and refuse others.
_FORGES = (
    *("github.com", "gitlab.com", "bitbucket.org", "gitee.com", "codeberg.org"),
    "git.sr.ht",
)


class BadRelease(Exception):
    """release.yaml, or a file that must agree with it, can't be published."""


@dataclass(frozen=True)
class Release:
    """Version, author, repository and contact of all packages."""

    version: str
    author: str
    repository: str
    contact: str


def read(root: Path) -> Release:
    """The release of a checkout; raises BadRelease with a sentence."""
    data = yaml.safe_load((root / "dev/release.yaml").read_text("utf-8"))
    try:
        release = Release(**{name: str(value) for name, value in data.items()})
    except (TypeError, AttributeError):
        msg = "release.yaml needs version, author, repository and contact, and no more."
        raise BadRelease(msg) from None
    forge = release.repository.removeprefix("https://").partition("/")
    wrong = {
        "version": not _VERSION.fullmatch(release.version),
        "author": not _AUTHOR.fullmatch(release.author)
        or any(word in release.author for word in ("dify", "langgenius")),
        "repository": not release.repository.startswith("https://")
        or forge[0] not in _FORGES
        or not forge[2],
        "contact": not _CONTACT.fullmatch(release.contact),
    }
    for name, is_wrong in wrong.items():
        if is_wrong:
            value = getattr(release, name)
            msg = f"{name} in release.yaml can't be published: {value!r}."
            raise BadRelease(msg)
    return release


def other_versions(root: Path, release: Release) -> dict[str, str]:
    """The files that have another version than the release."""
    patterns = {
        "pyproject.toml": r'^version = "(.+)"$',
        "manifest.yaml": r"^version: (\S+)$",
        "plugins/cached-model/manifest.yaml": r"^version: (\S+)$",
        "CHANGELOG.md": r"^## \[(\d\S*)\]",
    }
    found = {}
    for name, pattern in patterns.items():
        stands = re.search(pattern, (root / name).read_text("utf-8"), re.MULTILINE)
        version = stands[1] if stands else "none"
        if version != release.version:
            found[name] = version
    return found
