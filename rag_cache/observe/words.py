"""The words of the dashboard, in the languages of Dify's users; they stand in words.yaml."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

from difykit import data

LANGUAGES: Final = ("en-US", "zh-Hans", "ja-JP", "pt-BR")


@cache
def _words() -> Mapping[str, Mapping[str, str]]:
    """Each word's text in each language, by the word's name."""
    words: Mapping[str, Mapping[str, str]] = data.read(
        Path(__file__).with_name("words.yaml")
    )
    return words


class Words:
    """The words of one language."""

    def __init__(self, language: str) -> None:
        self.language = language

    def __call__(self, name: str, **values: object) -> str:
        """The words for ``name``; the name itself where there are none."""
        found = _words().get(name)
        return found[self.language].format(**values) if found else name


def preferred(accepted: str) -> Words:
    """The words for a browser's Accept-Language."""
    for wanted in accepted.lower().split(","):
        short = wanted.partition(";")[0].strip()[:2]
        for language in LANGUAGES:
            if short and language.lower().startswith(short):
                return Words(language)
    return Words(LANGUAGES[0])
