"""Calls of helper models on the same server: judges, and vectors of questions."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from dify_plugin.entities.model.message import PromptMessage

from cachecore.answer import Piece, merge
from cached_model import upstream
from cached_model.body import build
from cached_model.form import Form
from difykit import judges


def asking(
    form: Form, model: str, seconds: int
) -> Callable[[Sequence[PromptMessage]], Piece]:
    """A function that asks a chat model within a time limit; it raises InvokeErrors."""

    def ask(messages: Sequence[PromptMessage]) -> Piece:
        limited = replace(with_time_limit(form, seconds), endpoint_model_name=model)
        limits = {"max_tokens": judges.MOST_TOKENS, "temperature": 0}
        call = build(limited, model, messages, limits, [], [])
        return merge(upstream.ask(limited, call, stream=True, user=None))

    return ask


def with_time_limit(form: Form, seconds: int) -> Form:
    """The form with at most this many seconds for a call."""
    options = form.settings.options
    limits = {
        name: min(seconds, getattr(options, name))
        for name in ("read_timeout_seconds", "deadline_seconds")
    }
    settings = replace(form.settings, options=options.model_copy(update=limits))
    return replace(form, settings=settings)
