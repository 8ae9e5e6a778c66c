"""Prompt templates: compiled once, kept in the process, rendered within bounds."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from cachetools import LRUCache
from jinja2 import Template, TemplateSyntaxError, UndefinedError, meta
from jinja2.exceptions import SecurityError

from rag_cache import inputs
from rag_cache.inputs import BadInput
from rag_cache.purse import PURSE, Purse, TooMuch, joined
from rag_cache.sandbox import Sandbox

MAX_SOURCE: Final = 20_000
_MAX_WORDS: Final = 3_000
_REMEMBERED: Final = 256
_SAID: Final = 200  # characters of an error's own text
_NAMES: Final = 20


@dataclass(frozen=True, slots=True)
class Rendered:
    """``hit`` says that the template had been compiled before."""

    text: str
    hit: bool


@dataclass(frozen=True, slots=True)
class _Compiled:
    template: Template
    names: frozenset[str]


_sandbox = Sandbox()
# What can't be compiled is remembered by its sentence: it would take as long again.
_compiled: LRUCache[str, _Compiled | str] = LRUCache(_REMEMBERED)
_lock = threading.Lock()  # guards _compiled


def render(parameters: Mapping[str, Any]) -> Rendered:
    """The template with its variables put in. Raises BadInput."""
    source = inputs.required(parameters, "template")
    if len(source) > MAX_SOURCE:
        raise BadInput(
            f"The parameter template may have at most {MAX_SOURCE} characters."
        )
    values = _values(parameters)
    with _lock:
        found = _compiled.get(source)
    compiled = found or _compile(source)
    if found is None:
        with _lock:
            _compiled[source] = compiled
    if isinstance(compiled, str):
        raise BadInput(compiled)
    return Rendered(_rendered(compiled, values), found is not None)


def _values(parameters: Mapping[str, Any]) -> dict[str, Any]:
    values = inputs.table(parameters, "variables")
    for name in ("query", "context"):
        if parameters.get(name) not in (None, ""):
            values = {**values, name: parameters[name]}
    return values


def _compile(source: str) -> _Compiled | str:
    """The template, or a sentence that says why it is none."""
    try:
        # Compiling takes some 50 us for a word of Jinja, and nobody else has a turn.
        if sum(1 for _ in islice(_sandbox.lex(source), _MAX_WORDS + 1)) > _MAX_WORDS:
            return (
                "The parameter template has too many tags and expressions; give lists to "
                "a loop, or render it in parts."
            )
        tree = _sandbox.parse(source)
        names = meta.find_undeclared_variables(tree) - _sandbox.globals.keys()
        code = _sandbox.compile(tree)
        template = Template.from_code(_sandbox, code, _sandbox.make_globals(None))
        return _Compiled(template, frozenset(names))
    except TemplateSyntaxError as error:
        said = str(error.message)[:_SAID].rstrip(".")
        return f"The parameter template is not Jinja in line {error.lineno}: {said}."
    except Exception as error:  # noqa: BLE001 - what a source provokes is its author's
        return f"The parameter template can't be compiled: {type(error).__name__}."


def _rendered(compiled: _Compiled, values: Mapping[str, Any]) -> str:
    try:
        # Not ``generate``: it keeps all variables of each step of a failure.
        template = compiled.template
        context = template.new_context({**values, PURSE: Purse()})
        text = joined(template.root_render_func(context))
        return text.encode("utf-8", "replace").decode()
    except TooMuch as error:
        raise BadInput(f"The template asks for too much {error}.") from None
    except UndefinedError as error:
        said = str(error.message)[:_SAID]
        raise BadInput(_missing(compiled, values, said)) from None
    except SecurityError as error:
        said = str(error)[:_SAID].rstrip(".")
        raise BadInput(f"The template may not do this: {said}.") from None
    except RecursionError:
        raise BadInput("The template calls itself too deeply.") from None
    except Exception as error:  # noqa: BLE001 - what a template provokes is its author's
        said = str(error)[:_SAID].rstrip(".")
        raise BadInput(
            f"The template failed: {type(error).__name__}: {said}."
        ) from None


def _missing(compiled: _Compiled, values: Mapping[str, Any], said: str) -> str:
    missing = [name[:_SAID] for name in sorted(compiled.names - values.keys())][:_NAMES]
    if missing:
        return (
            f"The template uses variables that it was not given: {', '.join(missing)}; "
            "add them to the parameter variables."
        )
    return f"The template uses a value that is not there: {said}."
