"""Filters, tests and operators, and how each pays for what it does.

What a single step could do in one go is checked before it, and nothing is lazy.
"""

import re
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
from typing import Any, Final

from jinja2 import pass_context
from jinja2.runtime import Context

from rag_cache.purse import (
    CHARACTERS,
    MAX_BITS,
    MAX_TEXT,
    Purse,
    TooMuch,
    joined,
    purse_of,
)

_MAX_ITEMS: Final = 100_000
# A mapping key in a conversion may hold anything, brackets too: those are refused.
_CONVERSION: Final = re.compile(r"%(?:\([^()]*\))?[^%a-zA-Z(]*(?:\d{3,}|\*|\()")
_PARTS: Final = 8  # of an attribute's path
_SEARCHED: Final = 1000  # characters compared in searching, for one unit

# Of Jinja's own.
FILTERS: Final = (
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
# What a number may be where it makes more of what is given.
_SIZES: Final[Mapping[str, int]] = {
    "round": 20,
    "tojson": 8,
    "indent": 100,
    **dict.fromkeys(("batch", "center", "slice"), 10_000),
}
_SEARCHING: Final = ("in", "trim", "replace")
_LAZY: Final = (Iterator, ItemsView, KeysView, ValuesView)


def paying(name: str, step: Callable[..., Any]) -> Callable[..., Any]:
    """The filter or test, which pays for what it is given and what it makes."""
    wants = getattr(step, "jinja_pass_arg", None)
    wants = wants.name if wants is not None else ""
    price, most = _DEAR.get(name, 1), _SIZES.get(name)

    @pass_context
    def paid(context: Context, value: Any, *args: Any, **named: Any) -> Any:
        purse = purse_of(context)
        value = eager(purse, value) if isinstance(value, _LAZY) else value
        arguments = [*args, *named.values()]
        for _ in range(price):
            purse.pay_for(value)
        size = purse.pay_for(arguments)
        if most is not None:
            _pay_for_sizes(purse, name, arguments, most)
        if isinstance(value, list | tuple | dict | range):
            _pay_for_items(purse, len(value), arguments)
        _check_text(name, value, arguments, size)
        if name in _SEARCHING and arguments:
            pay_for_search(purse, value, arguments[0])
            pay_for_search(purse, arguments[0], value)
        given = {
            "context": (context,),
            "eval_context": (context.eval_ctx,),
            "environment": (context.environment,),
        }.get(wants, ())
        return eager(purse, step(*given, value, *args, **named))

    return paid


def _pay_for_sizes(
    purse: Purse, name: str, arguments: Sequence[Any], most: int
) -> None:
    for argument in arguments:
        if isinstance(argument, int):
            if abs(argument) > most:
                raise TooMuch(f"a number: the filter {name} takes at most {most}")
            purse.pay(abs(argument))


def _pay_for_items(purse: Purse, count: int, arguments: Sequence[Any]) -> None:
    """Attributes' names and tests are gone through for each item."""
    texts = [argument for argument in arguments if isinstance(argument, str)]
    parts = [1 + text.count(".") + text.count(",") for text in texts]
    if any(part > _PARTS for part in parts):
        raise TooMuch(f"an attribute's name, of more than {_PARTS} parts")
    purse.pay(count * (1 + 4 * sum(parts) + sum(map(len, texts)) // CHARACTERS))


def pay_for_search(purse: Purse, text: Any, wanted: Any) -> None:
    """Pay for looking for a text in another: at worst each letter for each."""
    if isinstance(text, str) and isinstance(wanted, str):
        purse.pay(len(text) * len(wanted) // _SEARCHED)


def _check_text(name: str, value: Any, arguments: Sequence[Any], size: int) -> None:
    if name not in ("format", "indent"):
        return
    if not isinstance(value, str):
        raise TypeError(f"the filter {name} takes a text")
    if name == "format":
        check_format(value, size)
        return
    width = max((a for a in arguments if isinstance(a, int)), default=4)
    longest = max((len(a) for a in arguments if isinstance(a, str)), default=width)
    if len(value) + len(value.splitlines()) * longest > MAX_TEXT:
        raise TooMuch("text, made by indent")


@pass_context
def each(context: Context, items: Iterable[Any], price: int) -> Iterator[Any]:
    """The items of a loop, each of which pays ``price``."""
    purse = purse_of(context)
    for item in items:
        purse.pay(price)
        yield item


@pass_context
def deep(context: Context, value: Any) -> Any:
    """The value, with all that is in it paid for."""
    purse_of(context).pay_for(value)
    return value


@pass_context
def once(context: Context, value: Any, price: int = 0) -> Any:
    """The value, paid for, and ``price`` for the way to it."""
    purse = purse_of(context)
    purse.pay(price)
    return purse.pay_once(value)


@pass_context
def key(context: Context, value: Any) -> Any:
    """The key of a literal, if it may be one."""
    purse_of(context).pay(1)
    return plain(value)


@pass_context
def toll(context: Context, nothing: str, price: int) -> str:
    """Nothing, for the price of a body."""
    purse_of(context).pay(price)
    return nothing


def text_of(parts: Sequence[Any]) -> str:
    """Values as one text: what ``~`` makes."""
    return joined(str(part) for part in parts)


@pass_context
def join(
    context: Context, value: Iterable[Any], d: str = "", attribute: str | None = None
) -> str:
    """Jinja's ``join``, of bounded size."""
    items = list(value)
    if attribute is not None:
        items = [context.environment.getitem(item, attribute) for item in items]
    purse_of(context).pay_for(items)
    return joined((str(item) for item in items), str(d))


def replace(text: Any, old: str, new: str, count: int | None = None) -> str:
    """Jinja's ``replace``, of bounded size."""
    source, old, new = str(text), str(old), str(new)
    times = source.count(old)
    if len(source) + times * len(new) > MAX_TEXT:
        raise TooMuch("text, made by replace")
    return source.replace(old, new, -1 if count is None else count)


@pass_context
def sum_of(
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


def check_binop(operator: str, left: Any, right: Any) -> None:
    """Raise TooMuch for an operator that would make too much."""
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
        if made > MAX_BITS:
            raise TooMuch(f"a number, made by {operator}")


def check_format(text: str, size: int) -> None:
    """Raise TooMuch for a format that would make too much.

    ``size`` is of what is put in: each conversion may put in all of it.
    """
    if _CONVERSION.search(text):
        raise TooMuch("width, in a format")
    if len(text) + text.count("%") * size > MAX_TEXT:
        raise TooMuch("text, made by a format")


def bounded_range(*bounds: int) -> range:
    """A range of so many numbers as may be gone through."""
    made = range(*bounds)
    try:
        size = len(made)
    except OverflowError:
        size = _MAX_ITEMS + 1
    if size > _MAX_ITEMS:
        raise TooMuch(f"a range, of more than {_MAX_ITEMS} numbers")
    return made


def plain(value: Any) -> Any:
    """A value that may be hashed: CPython hashes tuples in tuples without a limit."""
    if not isinstance(value, str | int | float | bool | None):
        kind = type(value).__name__
        raise TypeError(f"a {kind} is no key; keys are texts and numbers")
    return value


def eager(purse: Purse, made: Any) -> Any:
    """What was made, paid for, with nothing left to be done."""
    if not isinstance(made, _LAZY):
        return purse.pay_once(made)
    items = []
    for item in made:
        purse.pay(1)
        items.append(item)
    return items
