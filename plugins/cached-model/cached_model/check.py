"""What is tried when credentials are saved: the upstream, then the Redis."""

import logging
from collections.abc import Mapping
from typing import Any

from dify_plugin.entities.model.message import UserPromptMessage
from dify_plugin.errors.model import CredentialsValidateFailedError, InvokeError

from cachecore.errors import ConfigError, StoreError
from cached_model import form as forms
from cached_model import upstream
from cached_model.body import build

logger = logging.getLogger(__name__)

# Reasoning models spend tokens before the first word; fewer make some refuse.
_PING_TOKENS = 16


def check(model: str, credentials: Mapping[str, Any]) -> None:
    """Raise CredentialsValidateFailedError with one sentence, or return."""
    try:
        form = forms.read(credentials)
    except ConfigError as error:
        raise CredentialsValidateFailedError(str(error)) from error
    _check_upstream(form, model)
    try:
        advice = form.cache.check()
    except StoreError as error:
        msg = f"Redis URL (redis_url): {error.remedy}"
        raise CredentialsValidateFailedError(msg) from error
    for sentence in advice:  # Dify shows errors only, and this is none.
        logger.warning("Redis URL (redis_url): %s", sentence)


def _check_upstream(form: forms.Form, model: str) -> None:
    ping = [UserPromptMessage(content="ping")]
    call = build(form, model, ping, {"max_tokens": _PING_TOKENS}, [], [])
    try:
        for _ in upstream.ask(form, call, stream=False, user=None):
            pass
    except InvokeError as error:
        raise CredentialsValidateFailedError(str(error)) from error
