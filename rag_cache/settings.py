"""Reads the credentials of the tools and the settings of the endpoints.

Both hold the same fields, under the same names as Cached Model's form, so that the
values of one form can be pasted into another.
"""

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field

from cachecore import config, opening
from cachecore.cache import Cache
from cachecore.errors import ConfigError
from cachecore.keys import canonical
from cachecore.options import Options, number
from cachecore.policy import MAX_TTL
from cachecore.question import matched
from cachecore.statistics import Statistics
from difykit import runtime
from rag_cache import inputs
from rag_cache.errors import BadInput

_KEY: Final = re.compile(r"[\x21-\x7e]+")


class RagOptions(Options):
    """The options in ``cache_options`` that only RAG Cache has, and the common ones."""

    dataset_check: Literal["counters", "deep"] = Field(
        "counters", description="counters or deep"
    )
    dataset_check_seconds: int = number(15, 0, 3600, "seconds", "always")
    retrieval_max_age_seconds: int = number(300, 1, MAX_TTL, "seconds")
    knowledge_deadline_seconds: int = number(60, 1, 300, "seconds")
    # The host closes a reverse invocation after 240 s (host contract 8).
    work_deadline_seconds: int = number(240, 1, 600, "seconds")
    work_silence_seconds: int = number(120, 1, 600, "seconds")
    gateway_file_urls: Literal["refuse", "pass"] = Field(
        "refuse", description="refuse or pass"
    )
    feedback_votes: int = number(3, 1, 20)
    feedback_window_seconds: int = number(86400, 60, MAX_TTL, "seconds")


@dataclass(frozen=True, slots=True)
class Knowledge:
    """The URL and key of Dify's knowledge API, and the datasets that may be asked.

    ``allowed`` is empty if all datasets of the workspace may be asked. ``seconds`` is the
    time limit of a call. ``digest`` is that of URL and key, for keys of entries; it does
    not reveal the key.
    """

    url: str
    key: str = field(repr=False)
    allowed: frozenset[str]
    seconds: float
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        digest = hashlib.sha256(canonical([self.url, self.key])).hexdigest()[:32]
        object.__setattr__(self, "digest", digest)

    @property
    def credential(self) -> str:
        """Equal for calls that fail alike: those with the same key and time limit."""
        return f"{self.digest} {self.seconds}"


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of a form."""

    cache: config.Settings[RagOptions]
    knowledge: Knowledge


@config.remembered
def read(credentials: Mapping[str, Any]) -> Settings:
    """The settings; raises ConfigError with one sentence."""
    cache = config.read(
        credentials, os.environ, RagOptions, at_once=not runtime.outlives_call()
    )
    seconds = cache.options.knowledge_deadline_seconds
    return Settings(cache, _read_knowledge(credentials, seconds))


def _read_knowledge(credentials: Mapping[str, Any], seconds: int) -> Knowledge:
    url = inputs.text(credentials, "knowledge_api_url").strip().rstrip("/")
    key = inputs.text(credentials, "knowledge_api_key").strip()
    if url:
        try:
            parts = urlsplit(url)
            valid = bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            valid = False
        if not valid or parts.scheme not in ("http", "https") or parts.query:
            raise ConfigError(
                "knowledge_api_url",
                "Knowledge API URL (knowledge_api_url) must be the address of Dify's API, "
                "as in https://api.dify.ai/v1 or http://nginx/v1.",
            )
        if parts.username or parts.password:
            raise ConfigError(
                "knowledge_api_url",
                "Knowledge API URL (knowledge_api_url) must not hold a password; put the "
                "key into Knowledge API key (knowledge_api_key).",
            )
    if key and not _KEY.fullmatch(key):
        raise ConfigError(
            "knowledge_api_key",
            "Knowledge API key (knowledge_api_key) holds characters that no key has; "
            "copy it again from Knowledge, API Access in Dify.",
        )
    shown = "Allowed Knowledge Bases (allowed_datasets)"
    try:
        allowed = inputs.ids(credentials, "allowed_datasets", shown)
    except BadInput as error:
        raise ConfigError("allowed_datasets", str(error)) from None
    return Knowledge(url.removesuffix("/v1"), key, frozenset(allowed), seconds)


def matched_form(
    settings: Settings, form: Mapping[str, Any], question: str
) -> dict[str, Any]:
    """The form of a key, with its field ``question`` as ``match`` compares it."""
    match = settings.cache.options.match
    if match == "exact" or not isinstance(form[question], str):
        return dict(form)
    return {**form, question: matched(match, form[question]), "match": match}


def open_cache(settings: Settings) -> Cache:
    """The cache that the settings name."""
    return opening.open_cache(settings.cache.store)


def open_statistics(settings: Settings) -> Statistics:
    """The statistics of the settings' namespace."""
    return opening.open_statistics(settings.cache.store)
