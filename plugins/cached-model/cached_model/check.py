"""The test when credentials are saved: first the upstream, then the Redis."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from dify_plugin.errors.model import CredentialsValidateFailedError, InvokeError

from cachecore.errors import ConfigError, StoreError
from cached_model import form as forms

logger = logging.getLogger(__name__)


def check(
    model: str,
    credentials: Mapping[str, Any],
    ping: Callable[[forms.Form, str], None],
) -> None:
    """Raise CredentialsValidateFailedError with one sentence, or return.

    ``ping`` sends the model server the smallest request for its kind of model.
    """
    try:
        form = forms.read(credentials)
    except ConfigError as error:
        raise CredentialsValidateFailedError(str(error)) from error
    if form.not_kept:
        raise CredentialsValidateFailedError(form.not_kept)
    try:
        ping(form, model)
    except InvokeError as error:
        raise CredentialsValidateFailedError(str(error)) from error
    try:
        advice = form.cache.admin.check()
    except StoreError as error:
        msg = f"Redis URL (redis_url): {error.remedy}"
        raise CredentialsValidateFailedError(msg) from error
    for sentence in advice:  # Dify shows only errors, and advice is not an error.
        logger.warning("Redis URL (redis_url): %s", sentence)
