"""Jinja for strangers: sandboxed, and bounded in work and size.

A greenlet can't be interrupted, and all requests of a process share one thread. So a
template pays for what it does out of a purse: for each turn of a loop by the length of
its body, for each call, filter, comparison, subscript and literal, for what these are
given and what they make. Where work hides from Jinja's own hooks, the syntax tree is
changed so that it pays. What a single step could do in one go is checked before it,
nothing is lazy, nothing but a plain value is hashed, and values may be nested only so
deep: CPython walks some of them without a limit of its own. Now and then a paying
template lets other requests have a turn.
"""

from collections.abc import Mapping
from typing import Any, Final

from jinja2 import StrictUndefined, nodes
from jinja2.runtime import Context, LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Cycler, Joiner, Namespace

from rag_cache import steps, toll
from rag_cache.purse import joined, purse_of

_CALL: Final = 6
_TEXT_METHODS: Final = frozenset(
    (
        *("capitalize", "casefold", "count", "endswith", "find", "index", "isalnum"),
        *("isalpha", "isdigit", "islower", "isnumeric", "isspace", "isupper", "lower"),
        *("lstrip", "partition", "removeprefix", "removesuffix", "rfind", "rpartition"),
        *("rsplit", "rstrip", "split", "splitlines", "startswith", "strip", "swapcase"),
        *("title", "upper", "join", "replace"),
    )
)
_METHODS: Final[Mapping[type, frozenset[str]]] = {
    str: _TEXT_METHODS,
    dict: frozenset(("get", "items", "keys", "values")),
    list: frozenset(("count", "index")),
    tuple: frozenset(("count", "index", "grouper", "list")),  # groupby's are tuples
    **dict.fromkeys((int, float, range, type), frozenset()),
}
# Jinja's own, which templates handle.
_HANDLED: Final = (LoopContext, Macro, Namespace, Cycler, Joiner)


def _public(name: str) -> str:
    """A filter's name that may stand in a text, as in ``map("upper")``."""
    if str(name).startswith("_"):
        raise TypeError(f"there is no filter {name}")
    return name


def _joined(between: str, texts: Any) -> str:
    return joined([str(text) for text in texts], between)


# Methods of texts that would make too much.
_BOUNDED: Final[Mapping[str, Any]] = {"join": _joined, "replace": steps.replace}


class Sandbox(ImmutableSandboxedEnvironment):
    """An environment whose templates pay for their work."""

    intercepted_binops = frozenset(("+", "-", "*", "/", "//", "**", "%"))

    def __init__(self) -> None:
        super().__init__(
            autoescape=False,
            undefined=StrictUndefined,
            keep_trailing_newline=True,
            optimized=False,
            cache_size=0,
        )
        known = {name: self.filters[name] for name in steps.FILTERS}
        known |= {"join": steps.join, "replace": steps.replace, "sum": steps.sum_of}
        self.filters = {name: steps.paying(name, step) for name, step in known.items()}
        self.filters |= {
            "_each": steps.each,
            "_deep": steps.deep,
            "_once": steps.once,
            "_key": steps.key,
        }
        self.filters |= {
            "_text": steps.paying("_text", steps.text_of),
            "_toll": steps.toll,
        }
        tests: Any = self.tests
        self.tests = {name: steps.paying(name, step) for name, step in tests.items()}
        self.globals.pop("lipsum")
        self.globals["range"] = steps.bounded_range
        self.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "sort_keys": False}

    def _parse(self, source: str, name: Any, filename: Any) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        toll.check(tree)
        changed: nodes.Template = toll.Toll().visit(tree)
        return changed

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        for kind, allowed in _METHODS.items():
            if isinstance(obj, kind):
                return attr in allowed
        known = isinstance(obj, _HANDLED)
        return known and super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> None:
        """No wrapper: ``"".format`` is not among the methods at all."""

    def getitem(self, obj: Any, argument: Any) -> Any:
        return super().getitem(obj, steps.plain(argument))

    def call(self, context: Context, called: Any, /, *args: Any, **named: Any) -> Any:
        purse = purse_of(context)
        purse.pay(_CALL)
        owner, name = getattr(called, "__self__", None), getattr(called, "__name__", "")
        purse.pay_for([owner, *args, *named.values()])
        if isinstance(owner, str):
            for argument in args:
                steps.pay_for_search(purse, owner, argument)
            if name in _BOUNDED:
                return purse.pay_once(_BOUNDED[name](owner, *args, **named))
            # startswith takes a tuple of texts, and there are only lists here.
            args = tuple(tuple(a) if isinstance(a, list) else a for a in args)
        return steps.eager(purse, super().call(context, called, *args, **named))

    def call_filter(self, name: str, *args: Any, **named: Any) -> Any:
        return super().call_filter(_public(name), *args, **named)

    def call_test(self, name: str, *args: Any, **named: Any) -> Any:
        return super().call_test(_public(name), *args, **named)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        purse = purse_of(context)
        sizes = purse.pay_for(left), purse.pay_for(right)
        if operator == "%" and isinstance(left, str):
            steps.check_format(left, sizes[1])
            right = tuple(right) if isinstance(right, list) else right
        elif operator in ("*", "**", "+"):
            steps.check_binop(operator, left, right)
        return purse.pay_once(super().call_binop(context, operator, left, right))
