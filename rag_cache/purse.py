"""What a template may spend, and the limits of what it may make.

A unit is about a microsecond at most: a turn of a loop, 64 characters.
"""

import time
from collections.abc import Iterable
from typing import Any, Final

from jinja2.runtime import Context
from jinja2.utils import Namespace

WORK: Final = 100_000
MAX_TEXT: Final = 1_000_000
MAX_BITS: Final = 4096
CHARACTERS: Final = 64
_TURN_EVERY: Final = 2_000
_MAX_DEPTH: Final = 50
# The name under which a rendering carries its purse: no template can write it.
PURSE: Final = "purse!"


class TooMuch(Exception):
    """The template asks for more than one may; ``str`` says what of."""


class Purse:
    """What one rendering may still spend."""

    def __init__(self, work: int = WORK) -> None:
        self._left = work
        self._next_turn = work - _TURN_EVERY

    def pay(self, units: int) -> None:
        """Pay for work that is about to be done, or was. Raises TooMuch."""
        self._left -= max(0, units)
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
                    units += len(one) // CHARACTERS
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
            self.pay(1 + len(value) // CHARACTERS)
        elif isinstance(value, list | tuple | dict):
            self.pay(1 + len(value))
        else:
            _digits(value)
            self.pay(1)
        return value


def _digits(value: Any) -> int:
    """The characters of a value that is no text and no container, about."""
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise TooMuch(f"a number: more than {MAX_BITS} bits")
    return 24


def purse_of(context: Context) -> Purse:
    """The purse of the rendering that a context belongs to."""
    purse: Purse = context.parent[PURSE]
    return purse


def joined(texts: Iterable[str], between: str = "") -> str:
    """The texts as one, of at most MAX_TEXT characters. Raises TooMuch."""
    parts, size = [], 0
    for part in texts:
        parts.append(part)
        size += len(part) + len(between)
        if size > MAX_TEXT + len(between):
            raise TooMuch(f"text: more than {MAX_TEXT} characters")
    return between.join(parts)
