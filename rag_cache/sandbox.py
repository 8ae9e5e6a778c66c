"""Jinja for strangers: sandboxed, and bounded in work and size.

A greenlet can't be interrupted, and all requests of a process share one thread. So a
template pays for what it does out of a purse: for each turn of a loop, call, filter
and comparison, for what these are given and what they make. Where work hides from
Jinja's own hooks (loops, comparisons, joined text, output), the syntax tree is
changed to pay for it. What a single step could do in one go is checked before it.
Now and then a paying template lets other requests have a turn.
"""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, cast

from jinja2 import StrictUndefined, nodes, pass_context
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

# One unit is about a microsecond: a turn of a loop, a call, 64 characters.
WORK: Final = 100_000
MAX_TEXT: Final = 1_000_000
_CHARACTERS: Final = 64
_TURN_EVERY: Final = 2_000
_MAX_BITS: Final = 4096
_MAX_NUMBER: Final = 10_000
_MAX_ITEMS: Final = 100_000
# The name under which a rendering carries its purse: no template can write it.
PURSE: Final = "purse!"
_WIDE: Final = re.compile(r"%[^%a-zA-Z]*(?:\d{4,}|\*)")

_FILTERS: Final = (
    *("abs", "batch", "capitalize", "center", "count", "d", "default", "dictsort"),
    *("e", "escape", "filesizeformat", "first", "float", "forceescape", "format"),
    *("groupby", "indent", "int", "items", "last", "length", "list", "lower", "map"),
    *("max", "min", "reject", "rejectattr", "reverse", "round", "safe", "select"),
    *("selectattr", "slice", "sort", "string", "striptags", "sum", "title", "tojson"),
    *("trim", "truncate", "unique", "upper", "urlencode", "wordcount"),
)
# Filters that take longer for a character than others, by how much.
_DEAR: Final[Mapping[str, int]] = {
    "title": 16,
    "striptags": 16,
    "wordcount": 8,
    "urlencode": 8,
    "tojson": 4,
    "indent": 4,
    "escape": 4,
    "e": 4,
    "forceescape": 4,
    "sort": 4,
}
_TEXT_METHODS: Final = frozenset(
    (
        *("capitalize", "casefold", "count", "endswith", "find", "index", "isalnum"),
        *("isalpha", "isdigit", "islower", "isnumeric", "isspace", "isupper", "lower"),
        *("lstrip", "partition", "removeprefix", "removesuffix", "rfind", "rpartition"),
        *("rsplit", "rstrip", "split", "splitlines", "startswith", "strip", "swapcase"),
        *("title", "upper"),
    )
)
_METHODS: Final[Mapping[type, frozenset[str]]] = {
    str: _TEXT_METHODS,
    dict: frozenset(("get", "items", "keys", "values")),
    list: frozenset(("count", "index")),
    tuple: frozenset(("count", "index")),
    int: frozenset(),
    float: frozenset(),
}


class TooMuch(Exception):
    """The template asks for more than one may; ``str`` says what of."""


class Purse:
    """What one rendering may still spend."""

    def __init__(self, work: int = WORK) -> None:
        self._left = work
        self._next_turn = work - _TURN_EVERY

    def pay(self, units: int) -> None:
        """Pay for work that is about to be done, or was. Raises TooMuch."""
        self._left -= units
        if self._left < 0:
            raise TooMuch("work: too many turns of its loops, or too much text in them")
        if self._left < self._next_turn:
            self._next_turn = self._left - _TURN_EVERY
            time.sleep(0)  # patched: other requests have a turn

    def pay_for(self, value: Any) -> None:
        """Pay for all that is in a value, as a step that goes through it would."""
        waiting = [value]
        while waiting:
            value = waiting.pop()
            if isinstance(value, str):
                self.pay(1 + len(value) // _CHARACTERS)
            elif isinstance(value, dict):
                self.pay(1 + len(value))
                waiting += value.keys()
                waiting += value.values()
            elif isinstance(value, list | tuple | set | frozenset):
                self.pay(1 + len(value))
                waiting += value
            elif isinstance(value, range):
                self.pay(1 + len(value))
            elif isinstance(value, Namespace):
                waiting += value._Namespace__attrs.values()  # noqa: SLF001
            else:
                self.pay(1)


def _purse(context: Context) -> Purse:
    purse: Purse = context.parent[PURSE]
    return purse


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
        known = {name: self.filters[name] for name in _FILTERS}
        self.filters = {
            name: _paying(step, _DEAR.get(name, 1)) for name, step in known.items()
        }
        self.filters |= {"join": _paying(_join), "replace": _paying(_replace)}
        self.filters |= {"_each": _each, "_paid": _paid, "_text": _paying(_text)}
        tests: Any = self.tests
        self.tests = {name: _paying(step) for name, step in tests.items()}
        self.globals.pop("lipsum")
        self.globals["range"] = _range
        self.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "sort_keys": False}

    def _parse(self, source: str, name: Any, filename: Any) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        changed: nodes.Template = _Toll().visit(tree)
        return changed

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        for kind, allowed in _METHODS.items():
            if isinstance(obj, kind):
                return attr in allowed
        return super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> None:
        """No wrapper: ``"".format`` is not among the methods at all."""

    def call(self, context: Context, called: Any, /, *args: Any, **named: Any) -> Any:
        purse = _purse(context)
        purse.pay_for([getattr(called, "__self__", None), *args, *named.values()])
        result = super().call(context, called, *args, **named)
        if isinstance(result, str):
            purse.pay_for(result)
        return result

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        purse = _purse(context)
        for side in (left, right):
            purse.pay(1 + (len(side) if isinstance(side, list | tuple) else 0))
            if isinstance(side, str):
                purse.pay_for(side)
        _check_binop(operator, left, right)
        return super().call_binop(context, operator, left, right)


def _check_binop(operator: str, left: Any, right: Any) -> None:
    sized = [side for side in (left, right) if isinstance(side, str | list | tuple)]
    if operator == "*" and sized:
        times = right if sized[0] is left else left
        if isinstance(times, int) and len(sized[0]) * times > _MAX_ITEMS:
            raise TooMuch("text or items, made by *")
    elif operator == "%" and isinstance(left, str):
        _check_format(left)
    elif operator in ("*", "**") and isinstance(left, int) and isinstance(right, int):
        bits = left.bit_length()
        made = bits + right.bit_length() if operator == "*" else bits * abs(right)
        if made > _MAX_BITS:
            raise TooMuch(f"a number, made by {operator}")
    elif operator == "+" and sum(map(len, sized)) > MAX_TEXT:
        raise TooMuch("text or items, made by +")


def _check_format(text: str) -> None:
    if _WIDE.search(text):
        raise TooMuch("width, in a format")


def _range(*bounds: int) -> range:
    made = range(*bounds)
    try:
        size = len(made)
    except OverflowError:
        size = _MAX_ITEMS + 1
    if size > _MAX_ITEMS:
        raise TooMuch(f"a range, of more than {_MAX_ITEMS} numbers")
    return made


# --- filters and tests ------------------------------------------------------


def _paying(step: Callable[..., Any], price: int = 1) -> Callable[..., Any]:
    """The filter or test, which pays for what it is given and what it makes."""
    wants = getattr(step, "jinja_pass_arg", None)
    wants = wants.name if wants is not None else ""

    @pass_context
    def paid(context: Context, value: Any, *args: Any, **named: Any) -> Any:
        purse = _purse(context)
        for _ in range(price):
            purse.pay_for([value, *args, *named.values()])
        for argument in (*args, *named.values()):
            if isinstance(argument, int) and abs(argument) > _MAX_NUMBER:
                raise TooMuch(f"a number: a filter takes at most {_MAX_NUMBER}")
        if step.__name__ == "do_format":
            _check_format(str(value))
        given = {
            "context": (context,),
            "eval_context": (context.eval_ctx,),
            "environment": (context.environment,),
        }.get(wants, ())
        result = step(*given, value, *args, **named)
        if isinstance(result, str):
            purse.pay_for(result)
        return result

    return paid


@pass_context
def _each(context: Context, items: Iterable[Any]) -> Iterator[Any]:
    purse = _purse(context)
    for item in items:
        purse.pay(1)
        yield item


@pass_context
def _paid(context: Context, value: Any) -> Any:
    _purse(context).pay_for(value)
    return value


def _text(parts: Sequence[Any]) -> str:
    return joined([str(part) for part in parts], "")


@pass_context
def _join(
    context: Context, value: Iterable[Any], d: str = "", attribute: str | None = None
) -> str:
    items = list(value)
    if attribute is not None:
        items = [
            context.environment.getitem(item, part)
            for part in (attribute,)
            for item in items
        ]
    purse = _purse(context)
    purse.pay_for(items)
    return joined([str(item) for item in items], str(d))


def _replace(text: Any, old: str, new: str, count: int | None = None) -> str:
    source, old, new = str(text), str(old), str(new)
    times = source.count(old)
    if len(source) + times * len(new) > MAX_TEXT:
        raise TooMuch("text, made by replace")
    return source.replace(old, new, -1 if count is None else count)


def joined(texts: Iterable[str], between: str = "") -> str:
    """The texts as one, of at most MAX_TEXT characters. Raises TooMuch."""
    parts, size = [], 0
    for part in texts:
        parts.append(part)
        size += len(part) + len(between)
        if size > MAX_TEXT + len(between):
            raise TooMuch(f"text: more than {MAX_TEXT} characters")
    return between.join(parts)


# --- the syntax tree --------------------------------------------------------


def _filtered(node: nodes.Node, name: str) -> nodes.Filter:
    made = nodes.Filter(cast("nodes.Expr", node), name, [], [], None, None)
    made.set_lineno(node.lineno)
    return made


class _Toll(NodeTransformer):
    """Puts a filter that pays wherever work hides from the environment's hooks."""

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802
        self.generic_visit(node)
        node.iter = _filtered(node.iter, "_each")
        return node

    def visit_Compare(self, node: nodes.Compare) -> nodes.Compare:  # noqa: N802
        self.generic_visit(node)
        node.expr = _filtered(node.expr, "_paid")
        for operand in node.ops:
            operand.expr = _filtered(operand.expr, "_paid")
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Filter:  # noqa: N802
        self.generic_visit(node)
        parts = nodes.List(node.nodes)
        parts.set_lineno(node.lineno)
        return _filtered(parts, "_text")

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Getitem:  # noqa: N802
        self.generic_visit(node)
        if isinstance(node.arg, nodes.Slice):
            node.node = _filtered(node.node, "_paid")
        return node

    def visit_Output(self, node: nodes.Output) -> nodes.Output:  # noqa: N802
        self.generic_visit(node)
        node.nodes = [self._paid_output(part) for part in node.nodes]
        return node

    @staticmethod
    def _paid_output(part: nodes.Expr) -> nodes.Expr:
        if not isinstance(part, nodes.TemplateData):
            return _filtered(part, "_paid")
        if len(part.data) < _CHARACTERS:
            return part
        constant = nodes.Const(part.data)
        constant.set_lineno(part.lineno)
        return _filtered(constant, "_paid")
