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

import re
import time
from collections.abc import (
    Callable,
    ItemsView,
    Iterable,
    Iterator,
    KeysView,
    Mapping,
    Sequence,
    ValuesView,
)
from typing import Any, Final, cast

from jinja2 import StrictUndefined, TemplateSyntaxError, nodes, pass_context
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

# One unit is about a microsecond at most: a turn of a loop, a call, 64 characters.
WORK: Final = 100_000
MAX_TEXT: Final = 1_000_000
_CHARACTERS: Final = 64
_CALL: Final = 6
_ARGUMENT: Final = 16  # characters of a filter's arguments, for one unit an item
_NODES: Final = 8  # of a loop's or macro's body, for one unit
_TURN_EVERY: Final = 2_000
_MAX_BITS: Final = 4096
_MAX_NUMBER: Final = 10_000
_MAX_ITEMS: Final = 100_000
_MAX_DEPTH: Final = 50
# Blocks within blocks: compiling them takes the longer the deeper they are.
_MAX_NESTING: Final = 12
_MAX_STEPS: Final = 20
# The name under which a rendering carries its purse: no template can write it.
PURSE: Final = "purse!"
_CONVERSION: Final = re.compile(r"%[^%a-zA-Z]*(?:\d{4,}|\*)")

_FILTERS: Final = (
    *("abs", "batch", "capitalize", "center", "count", "d", "default", "dictsort"),
    *("e", "escape", "filesizeformat", "first", "float", "forceescape", "format"),
    *("groupby", "indent", "int", "items", "last", "length", "list", "lower", "map"),
    *("max", "min", "reject", "rejectattr", "reverse", "round", "safe", "select"),
    *("selectattr", "slice", "sort", "string", "striptags", "title", "tojson"),
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
# What a number may be where it makes more of each line or digit.
_SMALL: Final[Mapping[str, int]] = {"round": 20, "tojson": 8, "indent": 100}
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
    tuple: frozenset(("count", "index", "grouper", "list")),  # groupby's are tuples
    int: frozenset(),
    float: frozenset(),
}
_LAZY: Final = (Iterator, ItemsView, KeysView, ValuesView)


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

    def pay_for(self, value: Any) -> int:
        """Pay for all that is in a value, as a step that goes through it would.

        Returns how many characters it has when written, about. Raises TooMuch.
        """
        size, depth, level = 0, 0, [value]
        while level:
            if depth > _MAX_DEPTH:
                raise TooMuch(f"nesting: values within values, {_MAX_DEPTH} deep")
            units, below = len(level), list[Any]()
            for one in level:
                if isinstance(one, str):
                    units += len(one) // _CHARACTERS
                    size += len(one)
                elif isinstance(one, list | tuple | set | frozenset):
                    below += one
                elif isinstance(one, dict):
                    below += one
                    below += one.values()
                elif isinstance(one, Namespace):
                    below += one._Namespace__attrs.values()  # noqa: SLF001
                elif isinstance(one, range):
                    units += len(one)
                else:
                    size += _digits(one)
                if len(below) > self._left:
                    break  # More than can be paid: the next level shows it.
            self.pay(units)
            level, depth = below, depth + 1
        return size

    def pay_once(self, value: Any) -> Any:
        """Pay for a value that was made, and not for what it refers to."""
        if isinstance(value, str):
            self.pay(1 + len(value) // _CHARACTERS)
        elif isinstance(value, list | tuple | dict):
            self.pay(1 + len(value))
        else:
            _digits(value)
            self.pay(1)
        return value


def _digits(value: Any) -> int:
    """The characters of a value that is no text and no container, about."""
    if isinstance(value, int) and value.bit_length() > _MAX_BITS:
        raise TooMuch(f"a number: more than {_MAX_BITS} bits")
    return 24


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
        known |= {"join": _join, "replace": _replace, "sum": _sum}
        self.filters = {name: _paying(name, step) for name, step in known.items()}
        self.filters |= {"_each": _each, "_deep": _deep, "_once": _once, "_key": _key}
        self.filters |= {"_text": _paying("_text", _text), "_toll": _toll}
        tests: Any = self.tests
        self.tests = {name: _paying(name, step) for name, step in tests.items()}
        self.globals.pop("lipsum")
        self.globals["range"] = _range
        self.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "sort_keys": False}

    def _parse(self, source: str, name: Any, filename: Any) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        _check_tree(tree)
        changed: nodes.Template = _Toll().visit(tree)
        return changed

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        for kind, allowed in _METHODS.items():
            if isinstance(obj, kind):
                return attr in allowed
        return super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> None:
        """No wrapper: ``"".format`` is not among the methods at all."""

    def getitem(self, obj: Any, argument: Any) -> Any:
        return super().getitem(obj, _plain(argument))

    def call(self, context: Context, called: Any, /, *args: Any, **named: Any) -> Any:
        purse = _purse(context)
        purse.pay(_CALL)
        purse.pay_once(getattr(called, "__self__", None))
        purse.pay_for([*args, *named.values()])
        return _eager(purse, super().call(context, called, *args, **named))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        purse = _purse(context)
        sizes = purse.pay_for(left), purse.pay_for(right)
        if operator == "%" and isinstance(left, str):
            _check_format(left, sizes[1])
            right = tuple(right) if isinstance(right, list) else right
        elif operator in ("*", "**", "+"):
            _check_binop(operator, left, right)
        return purse.pay_once(super().call_binop(context, operator, left, right))


def _check_binop(operator: str, left: Any, right: Any) -> None:
    sized = [side for side in (left, right) if isinstance(side, str | list | tuple)]
    if operator == "+" and sum(map(len, sized)) > MAX_TEXT:
        raise TooMuch("text or items, made by +")
    if operator == "*" and sized:
        times = right if sized[0] is left else left
        if isinstance(times, int) and len(sized[0]) * times > _MAX_ITEMS:
            raise TooMuch("text or items, made by *")
    elif operator != "+" and isinstance(left, int) and isinstance(right, int):
        bits = left.bit_length()
        made = bits + right.bit_length() if operator == "*" else bits * abs(right)
        if made > _MAX_BITS:
            raise TooMuch(f"a number, made by {operator}")


def _check_format(text: str, size: int) -> None:
    """``size`` is of what is put in: each conversion may put in all of it."""
    if _CONVERSION.search(text):
        raise TooMuch("width, in a format")
    if len(text) + text.count("%") * size > MAX_TEXT:
        raise TooMuch("text, made by a format")


def _range(*bounds: int) -> range:
    made = range(*bounds)
    try:
        size = len(made)
    except OverflowError:
        size = _MAX_ITEMS + 1
    if size > _MAX_ITEMS:
        raise TooMuch(f"a range, of more than {_MAX_ITEMS} numbers")
    return made


def _plain(value: Any) -> Any:
    """A value that may be hashed: CPython hashes tuples in tuples without a limit."""
    if not isinstance(value, str | int | float | bool | None):
        kind = type(value).__name__
        raise TypeError(f"a {kind} is no key; keys are texts and numbers")
    return value


def _eager(purse: Purse, made: Any) -> Any:
    """What was made, paid for, with nothing left to be done."""
    if not isinstance(made, _LAZY):
        return purse.pay_once(made)
    items = []
    for item in made:
        purse.pay(1)
        items.append(item)
    return items


# --- filters and tests ------------------------------------------------------


def _paying(name: str, step: Callable[..., Any]) -> Callable[..., Any]:
    """The filter or test, which pays for what it is given and what it makes."""
    wants = getattr(step, "jinja_pass_arg", None)
    wants = wants.name if wants is not None else ""
    price, most = _DEAR.get(name, 1), _SMALL.get(name, _MAX_NUMBER)

    @pass_context
    def paid(context: Context, value: Any, *args: Any, **named: Any) -> Any:
        purse = _purse(context)
        arguments = [*args, *named.values()]
        for _ in range(price):
            purse.pay_for(value)
        size = purse.pay_for(arguments)
        for argument in arguments:
            if isinstance(argument, int):
                if abs(argument) > most:
                    raise TooMuch(f"a number: the filter {name} takes at most {most}")
                purse.pay(abs(argument))
        if isinstance(value, list | tuple | dict | range):
            # Attributes' names and tests are gone through for each item.
            purse.pay(len(value) * (1 + size // _ARGUMENT))
        elif isinstance(value, str):
            _check_text(name, value, arguments, size)
        given = {
            "context": (context,),
            "eval_context": (context.eval_ctx,),
            "environment": (context.environment,),
        }.get(wants, ())
        return _eager(purse, step(*given, value, *args, **named))

    return paid


def _check_text(name: str, text: str, arguments: Sequence[Any], size: int) -> None:
    if name == "format":
        _check_format(text, size)
    if name == "indent":
        width = max((a for a in arguments if isinstance(a, int)), default=4)
        longest = max((len(a) for a in arguments if isinstance(a, str)), default=width)
        if len(text) + text.count("\n") * longest > MAX_TEXT:
            raise TooMuch("text, made by indent")


@pass_context
def _each(context: Context, items: Iterable[Any], price: int) -> Iterator[Any]:
    purse = _purse(context)
    for item in items:
        purse.pay(price)
        yield item


@pass_context
def _deep(context: Context, value: Any) -> Any:
    _purse(context).pay_for(value)
    return value


@pass_context
def _once(context: Context, value: Any, price: int = 0) -> Any:
    purse = _purse(context)
    purse.pay(price)
    return purse.pay_once(value)


@pass_context
def _key(context: Context, value: Any) -> Any:
    _purse(context).pay(1)
    return _plain(value)


@pass_context
def _toll(context: Context, nothing: str, price: int) -> str:
    _purse(context).pay(price)
    return nothing


def _text(parts: Sequence[Any]) -> str:
    return joined(str(part) for part in parts)


@pass_context
def _join(
    context: Context, value: Iterable[Any], d: str = "", attribute: str | None = None
) -> str:
    items = list(value)
    if attribute is not None:
        items = [context.environment.getitem(item, attribute) for item in items]
    _purse(context).pay_for(items)
    return joined((str(item) for item in items), str(d))


def _replace(text: Any, old: str, new: str, count: int | None = None) -> str:
    source, old, new = str(text), str(old), str(new)
    times = source.count(old)
    if len(source) + times * len(new) > MAX_TEXT:
        raise TooMuch("text, made by replace")
    return source.replace(old, new, -1 if count is None else count)


@pass_context
def _sum(
    context: Context, value: Iterable[Any], attribute: str | None = None, start: Any = 0
) -> Any:
    """The sum of numbers: that of lists takes longer with each."""
    total = start
    for item in value:
        one = item
        if attribute is not None:
            one = context.environment.getitem(item, attribute)
        if not isinstance(one, int | float) or not isinstance(total, int | float):
            raise TypeError("sum takes numbers")
        total += one
    return total


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

_BLOCKS: Final = (
    *(nodes.For, nodes.If, nodes.Macro, nodes.CallBlock, nodes.FilterBlock),
    *(nodes.With, nodes.Block, nodes.AssignBlock, nodes.Scope),
)
_ELSEWHERE: Final = (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)


def _check_tree(tree: nodes.Template) -> None:
    """Raise TemplateSyntaxError for what is not to be compiled."""
    waiting: list[tuple[nodes.Node, int, int]] = [(tree, 0, 0)]
    while waiting:
        node, depth, steps = waiting.pop()
        if isinstance(node, _ELSEWHERE):
            said = "there are no other templates to include, import or extend"
            raise TemplateSyntaxError(said, node.lineno)
        depth += isinstance(node, _BLOCKS)
        if depth > _MAX_NESTING:
            said = f"blocks are nested more than {_MAX_NESTING} deep"
            raise TemplateSyntaxError(said, node.lineno)
        steps = steps + 1 if isinstance(node, nodes.Expr) else 0
        if steps > _MAX_STEPS:
            said = f"an expression has more than {_MAX_STEPS} steps within one another"
            raise TemplateSyntaxError(said, node.lineno)
        waiting += [(child, depth, steps) for child in node.iter_child_nodes()]


def _filtered(node: nodes.Node, name: str, *arguments: int) -> nodes.Filter:
    given: list[nodes.Expr] = [nodes.Const(argument) for argument in arguments]
    made = nodes.Filter(cast("nodes.Expr", node), name, given, [], None, None)
    made.set_lineno(node.lineno, override=False)
    return made


def _price(body: Iterable[nodes.Node]) -> int:
    """What it costs to go through a body once, besides what its parts pay."""
    return 1 + sum(1 for part in body for _ in part.find_all(nodes.Node)) // _NODES


class _Toll(NodeTransformer):
    """Puts a filter that pays wherever work hides from the environment's hooks."""

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802
        price = _price(node.body)
        self.generic_visit(node)
        node.iter = _filtered(node.iter, "_each", price)
        return node

    def visit_Macro(self, node: nodes.Macro) -> nodes.Macro:  # noqa: N802
        return self._with_toll(node)

    def visit_CallBlock(self, node: nodes.CallBlock) -> nodes.CallBlock:  # noqa: N802
        return self._with_toll(node)

    def visit_Block(self, node: nodes.Block) -> nodes.Block:  # noqa: N802
        return self._with_toll(node)

    def _with_toll[N: (nodes.Macro, nodes.CallBlock, nodes.Block)](self, node: N) -> N:
        price = _price(node.body)
        self.generic_visit(node)
        nothing = nodes.Const("")
        nothing.set_lineno(node.lineno)
        toll = nodes.Output([_filtered(nothing, "_toll", price)])
        toll.set_lineno(node.lineno, override=False)
        node.body.insert(0, toll)
        return node

    def visit_Compare(self, node: nodes.Compare) -> nodes.Compare:  # noqa: N802
        self.generic_visit(node)
        node.expr = _filtered(node.expr, "_deep")
        for operand in node.ops:
            operand.expr = _filtered(operand.expr, "_deep")
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Filter:  # noqa: N802
        self.generic_visit(node)
        parts = nodes.List(node.nodes)
        parts.set_lineno(node.lineno, override=False)
        return _filtered(parts, "_text")

    def __init__(self) -> None:
        # Within a chain of attributes, or a literal: it is paid for as one. A filter
        # around each part would take long to compile.
        self._within: type[nodes.Node] | None = None

    def visit_Getattr(self, node: nodes.Getattr) -> nodes.Expr:  # noqa: N802
        return self._made(node, nodes.Getattr)

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Expr:  # noqa: N802
        return self._made(node, nodes.Getattr)

    def visit_List(self, node: nodes.List) -> nodes.Expr:  # noqa: N802
        return self._made(node, nodes.List)

    def visit_Dict(self, node: nodes.Dict) -> nodes.Expr:  # noqa: N802
        return self._made(node, nodes.List)

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Expr:  # noqa: N802
        """A list instead, unless it is what a loop or a set assigns to."""
        if node.ctx != "load":
            self.generic_visit(node)
            return node
        made = nodes.List(node.items)
        made.set_lineno(node.lineno, override=False)
        return self._made(made, nodes.List)

    def visit_Pair(self, node: nodes.Pair) -> nodes.Pair:  # noqa: N802
        self.generic_visit(node)
        node.key = _filtered(node.key, "_key")
        return node

    def _made(self, node: nodes.Expr, kind: type[nodes.Node]) -> nodes.Expr:
        price = sum(1 for _ in node.find_all(nodes.Expr)) // 2
        outer, self._within = self._within, kind
        self.generic_visit(node)
        self._within = outer
        if outer is kind or getattr(node, "ctx", "load") != "load":
            return node
        return _filtered(node, "_once", price)

    def visit_Output(self, node: nodes.Output) -> nodes.Output:  # noqa: N802
        self.generic_visit(node)
        node.nodes = [self._paid_output(part) for part in node.nodes]
        return node

    @staticmethod
    def _paid_output(part: nodes.Expr) -> nodes.Expr:
        if not isinstance(part, nodes.TemplateData):
            return _filtered(part, "_deep")
        if len(part.data) < _CHARACTERS:
            return part
        constant = nodes.Const(part.data)
        constant.set_lineno(part.lineno)
        return _filtered(constant, "_once")
