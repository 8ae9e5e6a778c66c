"""A model or an app of the workspace, through the cache, streaming.

The work is a reverse invocation, which ends with its caller. So nothing of it continues
in the background, nobody waits long for a silent one, and its errors are not shared.
"""

import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dify_plugin.entities.model.message import (
    PromptMessage,
    SystemPromptMessage,
    UserPromptMessage,
)

from cachecore.answer import Piece, Usage, split
from cachecore.cache import RequestState
from cachecore.errors import FlightBroken, NothingCached
from cachecore.keys import Kind
from cachecore.policy import Traits
from cachecore.request import Request
from difykit.codec import messages, urls
from rag_cache import inputs, settings
from rag_cache.caller import Caller
from rag_cache.errors import BadInput, ReverseError
from rag_cache.outcome import Outcome, outcome_of
from rag_cache.settings import Settings
from rag_cache.work import meaning, models
from rag_cache.work.calls import Call
from rag_cache.work.meaning import Models
from rag_cache.work.models import Chat
from rag_cache.work.reverse import CUT, UNPROVEN, Limits

type AskApp = Callable[[str, str, Mapping[str, Any], Limits], Iterator[Piece]]


@dataclass(slots=True)
class Work:
    """An answer in progress: read ``pieces`` first, then the other fields."""

    pieces: Iterator[Piece]
    state: RequestState
    usage: Usage | None = None
    data: Any = None
    tool_calls: tuple[dict[str, str], ...] = ()
    finish_reason: str | None = None
    complete: bool = False
    missing: bool = False
    done: Callable[[], None] = lambda: None

    def texts(self) -> Iterator[str]:
        """The text as it arrives. Raises ReverseError."""
        try:
            for piece in self.pieces:
                self.usage = piece.usage or self.usage
                self.data = self.data if piece.data is None else piece.data
                self.tool_calls += piece.tool_calls
                if piece.finish_reason is not None:
                    self.complete = piece.finish_reason != UNPROVEN
                    self.finish_reason = piece.finish_reason if self.complete else None
                for part in split(piece):
                    if part.text:
                        yield part.text
        except NothingCached:
            self.missing = True
        except FlightBroken as error:
            msg = "The load that this answer was shared from ended early; ask again."
            raise ReverseError(msg) from error
        finally:
            self.done()

    @property
    def uncut(self) -> bool:
        """Whether the answer is complete: nothing was lost, and no limit cut it."""
        return self.complete and self.finish_reason not in CUT

    @property
    def outcome(self) -> Outcome:
        """The outcome; valid after the texts have ended."""
        return outcome_of(self.state)

    @property
    def tokens(self) -> dict[str, Any]:
        """The usage as the tools output it; empty if none was reported."""
        if self.usage is None:
            return {}
        return {
            "prompt_tokens": self.usage.prompt_tokens,
            "completion_tokens": self.usage.completion_tokens,
            "billed": self.usage.billed,
        }


def model(caller: Caller, parameters: Mapping[str, Any], ask: Models) -> Work:
    """Ask a model. Raises BadInput or ConfigError; the texts raise ReverseError."""
    read = settings.read(caller.credentials)
    chosen = models.model_config(inputs.table(parameters, "model"), "model")
    prompt = inputs.required(parameters, "prompt")
    system = inputs.text(parameters, "system_prompt")
    stop = chosen.completion_params.pop("stop", None) or []
    if not isinstance(stop, list):
        stop = [str(stop)]
    turns: list[PromptMessage] = [UserPromptMessage(content=prompt)]
    if system.strip():
        turns.insert(0, SystemPromptMessage(content=system))
    form = {
        "provider": chosen.provider,
        "model": chosen.model,
        "mode": chosen.mode,
        "parameters": chosen.completion_params,
        "stop": stop,
        "system": urls.unsigned(system),
        "prompt": urls.unsigned(prompt),
    }
    request = request_of(
        caller,
        read,
        parameters,
        "llm",
        chosen.model,
        form,
        (f"model:{chosen.model}",),
        question="prompt",
    )
    by = meaning.chosen(parameters, read)
    request = meaning.matched(read, request, "prompt", by, ask)
    chat = Chat(chosen, turns, stop)
    return begin(read, request, lambda: ask.chat(chat, limits(read)))


def app(
    caller: Caller, parameters: Mapping[str, Any], ask: AskApp, helpers: Models
) -> Work:
    """Ask an app. Raises BadInput or ConfigError; the texts raise ReverseError."""
    read = settings.read(caller.credentials)
    chosen = inputs.table(parameters, "app")
    app_id = str(chosen.get("app_id") or "")
    if not app_id:
        raise BadInput("The parameter app is empty; choose an app.")
    if app_id == caller.app_id:
        raise BadInput("The parameter app is this very app, which would call itself.")
    query = inputs.text(parameters, "query")
    # Inputs from the app's selector; the parameter ``inputs`` overrides them.
    filled = chosen.get("inputs")
    given = {
        **(filled if isinstance(filled, dict) else {}),
        **inputs.table(parameters, "inputs"),
    }
    form = {
        "app": app_id,
        "query": urls.unsigned(query),
        "inputs": urls.unsigned(given),
    }
    request = request_of(
        caller,
        read,
        parameters,
        "app",
        app_id,
        form,
        (f"app:{app_id}",),
        question="query",
    )

    by = meaning.chosen(parameters, read)
    request = meaning.matched(read, request, "query", by, helpers)
    call = Call(settings.open_cache(read), caller, app_id)
    call.enter()

    def load() -> Iterator[Piece]:
        call.remember()
        return ask(app_id, query, given, limits(read))

    work = begin(read, request, load)
    work.done = call.end
    return work


def begin(
    read: Settings, request: Request, load: Callable[[], Iterator[Piece]]
) -> Work:
    """Begin to answer a request; ``load`` does the work if it is needed."""
    state = RequestState()
    cache = settings.open_cache(read)
    return Work(cache.stream(request, load, outlives_call=False, state=state), state)


def limits(read: Settings) -> Limits:
    """How long the settings let the work take."""
    options = read.cache.options
    return Limits(options.work_deadline_seconds, options.work_silence_seconds)


def request_of(
    caller: Caller,
    read: Settings,
    parameters: Mapping[str, Any],
    kind: Kind,
    label: str,
    form: Mapping[str, Any],
    belongs: tuple[str, ...],
    *,
    question: str = "",
) -> Request:
    """A request for the cache. Raises BadInput or ConfigError.

    ``parameters`` hold the caller's choices for the cache, ``form`` holds the question
    and its context. ``question`` names the field of ``form`` that ``match`` compares.
    """
    rules = read.cache.rules
    seed = inputs.text(parameters, "context_keys")
    keyed = settings.matched_form(read, form, question) if question else form
    return Request(
        kind=kind,
        label=label,
        # ``by`` distinguishes it from Cached Model's requests, which have the same
        # kind.
        form={"by": f"cached_{kind}", "context": urls.unsigned(seed), **keyed},
        rules=rules,
        app=caller.app_id,
        asked=lambda: _asked(form),
        parts=lambda: _parts(form, seed),
        control=inputs.control(parameters),
        traits=Traits(
            temperature=_temperature(form.get("parameters")),
            scope_id=caller.scope_id(rules.scope),
            ends_at=urls.expires_at([dict(parameters)]),
        ),
        tags=inputs.tags(parameters),
        belongs=belongs,
        ttl=inputs.lifetime(parameters),
        at_most=_at_most,
        # Unique for each call: if a caller leaves its call, no other call gets the
        # error.
        credential=secrets.token_hex(8),
    )


def _parts(form: Mapping[str, Any], seed: str) -> dict[str, Any]:
    stripped = urls.stripped(form.get("messages"))
    parts = messages.parts(stripped) if stripped else {}
    return {
        "system": form.get("system"),
        **parts,
        "parameters": [
            form.get("parameters"),
            form.get("inputs") if form.get("query") else None,
            form.get("stop"),
        ],
        "tools": form.get("tools"),
        "context": [parts.get("context"), seed],
    }


def _asked(form: Mapping[str, Any]) -> str:
    question = form.get("prompt") or form.get("query")
    # A workflow has no question except its inputs.
    return str(question or json.dumps(form.get("inputs") or "", default=str))


def _at_most(answer: Piece) -> float | None:
    ends = urls.expires_at([answer.text, answer.data])  # files under Dify's signatures
    return None if ends is None else ends - time.time()


def _temperature(completion: Any) -> float | None:
    value = completion.get("temperature") if isinstance(completion, dict) else None
    return value if isinstance(value, int | float) else None
