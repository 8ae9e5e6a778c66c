"""A built package, as the checks see it."""

import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from unicodedata import east_asian_width

import yaml

from packager.release import Release

LANGUAGES = ("en_US", "zh_Hans", "ja_JP", "pt_BR")


@dataclass(frozen=True)
class Built:
    """A ``.difypkg``, its release, and the folder that it is unpacked to."""

    path: Path
    release: Release
    folder: Path

    @cached_property
    def files(self) -> dict[str, bytes]:
        """Every file by its name."""
        with zipfile.ZipFile(self.path) as archive:
            return {name: archive.read(name) for name in archive.namelist()}

    @cached_property
    def entries(self) -> list[zipfile.ZipInfo]:
        """The zip's own entries."""
        with zipfile.ZipFile(self.path) as archive:
            return archive.infolist()

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The manifest's data."""
        data: dict[str, Any] = yaml.safe_load(self.files["manifest.yaml"])
        return data

    @cached_property
    def documents(self) -> dict[str, Any]:
        """The data of every YAML file that Dify reads, without those of the code."""
        return {
            name: yaml.safe_load(data)
            for name, data in self.files.items()
            if name.endswith(".yaml")
            and name.split("/")[0] not in ("rag_cache", "cached_model")
        }

    @cached_property
    def requirements(self) -> list[str]:
        """The lines of requirements.txt."""
        return self.text("requirements.txt").split()

    def text(self, name: str) -> str:
        """A file as text; empty if it does not exist."""
        return self.files.get(name, b"").decode("utf-8", "replace")

    def sources(self, *ends: str) -> Iterator[tuple[str, str]]:
        """Names and texts of the files with this suffix."""
        for name in self.files:
            if name.endswith(ends):
                yield name, self.text(name)


type Check = Callable[[Built], Iterator[str]]


def columns(text: str) -> int:
    """The width of a text: a Chinese or Japanese character takes two columns."""
    return sum(2 if east_asian_width(sign) in "WF" else 1 for sign in text)


def walk(value: Any) -> Iterator[Any]:
    """A value and all values inside it."""
    yield value
    if isinstance(value, dict):
        for item in value.values():
            yield from walk(item)
    elif isinstance(value, list):
        for item in value:
            yield from walk(item)


def strings_of(data: Any) -> Iterator[dict[str, str]]:
    """Every text that a user sees, by language."""
    for value in walk(data):
        if isinstance(value, dict) and "en_US" in value:
            yield value
