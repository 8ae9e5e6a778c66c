"""The credential form of Cached Model, read once per distinct form.

Dify sends credentials as strings, drops a switch that is off, and adds nothing from the
provider's form (host contract 5.1, 5.2). So the model's form has all settings.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field

from cachecore import config, opening
from cachecore.cache import Cache
from cachecore.config import Settings
from cachecore.errors import ConfigError, NoTenant
from cachecore.keys import canonical, fingerprint
from cachecore.options import Options, number
from cached_model.address import read_api_key, read_base_url, read_headers
from difykit import data, runtime
from difykit.codec.messages import ToolStyle

_MAX_TOKENS: Final = 10**9 - 1
# The most texts in one request, from Dify and to the upstream.
_CHUNKS: Final = 32
_MAX_CHUNKS: Final = 2048


def _model_name(what: str) -> Any:
    description = f"the name of {what} at the same endpoint, without spaces"
    return Field("", max_length=200, pattern=r"^\S*$", description=description)


class ModelOptions(Options):
    """The options of ``cache_options`` for models only."""

    read_timeout_seconds: int = number(300, 1, 600, "seconds")
    deadline_seconds: int = number(580, 1, 600, "seconds")
    media_parts: Literal["image_url", "native"] = Field(
        "image_url", description="image_url or native"
    )
    audit_judge: str = _model_name("a chat model")
    meaning_model: str = _model_name("an embedding model")
    meaning_judge: str = _model_name("a chat model")
    meaning_url: str = Field(
        "", max_length=500, description="an address, as in http://embeddings:8080/v1"
    )


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Form:
    """A checked form, for all kinds of models; each kind reads its own fields.

    Equal credentials give the same object, so other modules may remember data by it.
    """

    display_name: str
    base_url: str
    api_key: str = field(repr=False)
    endpoint_model_name: str
    mode: Literal["chat", "completion"]
    context_size: int
    max_tokens_to_sample: int
    tool_style: ToolStyle
    stream_tool_calls: bool
    vision: bool
    video: bool
    audio: bool
    documents: bool
    structured_output: bool
    thoughts: Literal["supported", "not_supported", "only_thinking_supported"]
    extended: bool
    token_param_name: Literal["auto", "max_tokens", "max_completion_tokens"]
    send_user: bool
    include_usage: bool
    check_streaming: bool
    max_chunks: int
    float_format: bool
    prefixes: Mapping[str, str]
    extra_headers: Mapping[str, str] = field(repr=False)
    settings: Settings[ModelOptions]
    not_kept: str  # why nothing may be kept, for the person that saves the form
    # A digest of everything that decides how a call fails (the payer, the time limits): only
    # callers with the same digest share an error. And a digest of the headers, for keys.
    credential: str
    headers_digest: str

    @property
    def cache(self) -> Cache:
        """The cache of this form."""
        return opening.open_cache(self.settings.store)

    def model_name(self, model: str) -> str:
        """The upstream's name of the model that Dify calls ``model``."""
        return self.endpoint_model_name or model


@cache
def _selects() -> Mapping[str, Any]:
    """The fields with options, with the options' labels, by their names."""
    path = Path(__file__).parents[1] / "provider" / "cached_model.yaml"
    fields = data.read(path)["model_credential_schema"]["credential_form_schemas"]
    return {field["variable"]: field for field in fields if "options" in field}


_YES: Final = ("support", "supported", "enabled", "extended", "use", "float")


class _Fields:
    """The texts of a form. A mistake raises ConfigError."""

    def __init__(self, credentials: Mapping[str, Any]) -> None:
        self._credentials = credentials

    def text(self, name: str) -> str:
        value = self._credentials.get(name)
        return "" if value is None else str(value).strip()

    def choice(self, name: str) -> Any:
        shown = _selects()[name]
        choices = [option["value"] for option in shown["options"]]
        value = self.text(name) or shown["default"]
        if value not in choices:
            label = shown["label"]["en_US"]
            sentence = f"{label} ({name}) must be one of {', '.join(choices)}."
            raise ConfigError(name, sentence)
        return value

    def yes(self, name: str) -> bool:
        return self.choice(name) in _YES

    def count(self, name: str, label: str, default: int, most: int, what: str) -> int:
        value = self.text(name) or str(default)
        plain = value.isascii() and value.isdigit() and len(value) <= len(str(most))
        if not plain or not 0 < int(value) <= most:
            sentence = f"{label} ({name}) must be a whole number of {what}."
            raise ConfigError(name, sentence)
        return int(value)

    def tokens(self, name: str, label: str) -> int:
        return self.count(name, label, 4096, _MAX_TOKENS, "tokens above 0")


@config.remembered
def read(credentials: Mapping[str, Any]) -> Form:
    """The form in ``credentials``; raises ConfigError with one sentence."""
    fields = _Fields(credentials)
    base_url = read_base_url(fields.text("endpoint_url"))
    api_key = read_api_key(fields.text("api_key"))
    extra_headers = read_headers(fields.text("extra_headers"))
    payer = fingerprint(canonical([base_url, api_key, dict(extra_headers)]))
    # An address does not distinguish workspaces: they may use the same model server.
    tenant = payer if api_key else ""
    at_once, not_kept = not runtime.outlives_call(), ""
    try:
        settings = config.read(
            credentials, os.environ, ModelOptions, tenant, at_once=at_once
        )
    except NoTenant:
        off = {**credentials, "cache_ttl": config.OFF}
        settings = config.read(off, os.environ, ModelOptions, payer, at_once=at_once)
        wanted = fields.text("cache_ttl") != config.OFF
        not_kept = wanted * (
            "Redis URL (redis_url) is empty: without a Redis, fill in API Key (api_key) or "
            "Cache Secret (cache_secret), so that no other workspace can share your answers."
        )
    options = settings.options
    if options.match == "meaning" and not options.meaning_model:
        sentence = (
            "Cache options (cache_options) need meaning_model, the name of an embedding model "
            "at the same endpoint, for match: meaning."
        )
        raise ConfigError("cache_options", sentence)
    if options.meaning_url:
        shown = "The address (meaning_url) in Cache options (cache_options)"
        read_base_url(options.meaning_url, "cache_options", shown)
    limits = options.read_timeout_seconds, options.deadline_seconds
    return Form(
        display_name=fields.text("display_name"),
        base_url=base_url,
        api_key=api_key,
        endpoint_model_name=fields.text("endpoint_model_name"),
        mode=fields.choice("mode"),
        context_size=fields.tokens("context_size", "Model Context Size"),
        max_tokens_to_sample=fields.tokens(
            "max_tokens_to_sample", "Upper limit of Max Tokens in a node"
        ),
        tool_style=fields.choice("function_calling_type"),
        stream_tool_calls=fields.yes("stream_function_calling"),
        vision=fields.yes("vision_support"),
        video=fields.yes("video_support"),
        audio=fields.yes("audio_support"),
        documents=fields.yes("document_support"),
        structured_output=fields.yes("structured_output_support"),
        thoughts=fields.choice("agent_thought_support"),
        extended=fields.yes("compatibility_mode"),
        token_param_name=fields.choice("token_param_name"),
        send_user=fields.yes("user_identity_support"),
        include_usage=fields.yes("stream_include_usage"),
        check_streaming=fields.yes("stream_mode_auth"),
        max_chunks=fields.count(
            "max_chunks",
            "Texts sent in one request",
            _CHUNKS,
            _MAX_CHUNKS,
            f"texts from 1 to {_MAX_CHUNKS}",
        ),
        float_format=fields.yes("encoding_format"),
        prefixes={
            "document": fields.text("document_prefix"),
            "query": fields.text("query_prefix"),
        },
        extra_headers=extra_headers,
        settings=settings,
        not_kept=not_kept,
        credential=fingerprint(canonical([payer, *limits])),
        headers_digest=fingerprint(canonical(dict(extra_headers))),
    )
