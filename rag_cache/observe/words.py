"""The dashboard's texts, in the languages of Dify's users; words.yaml has them."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

from difykit import data

LANGUAGES: Final = ("en-US", "zh-Hans", "ja-JP", "pt-BR")


@cache
def _words() -> Mapping[str, Mapping[str, str]]:
    """Each text in each language, by its name."""
    words: Mapping[str, Mapping[str, str]] = data.read(
        Path(__file__).with_name("words.yaml")
    )
    return words


class Words:
    """The texts of one language."""

    def __init__(self, language: str) -> None:
        self.language = language

    def __call__(self, name: str, **values: object) -> str:
        """The text for ``name``; the name itself if there is none."""
        found = _words().get(name)
        return found[self.language].format(**values) if found else name


def preferred(accepted: str) -> Words:
    """The texts for a browser's Accept-Language."""
    for wanted in accepted.lower().split(","):
        short = wanted.partition(";")[0].strip()[:2]
        for language in LANGUAGES:
            if short and language.lower().startswith(short):
                return Words(language)
    return Words(LANGUAGES[0])
