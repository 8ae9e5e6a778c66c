"""Vectors as bytes, to be kept, and back: every number as it was.

One letter, then the numbers, little-endian: ``f`` of 4 bytes each where that changes
none of them, as for those that came as 4 bytes; else ``d`` of 8.
"""

import struct
from array import array
from collections.abc import Sequence
from math import isfinite
from typing import Final

_SIZES: Final = {b"f": 4, b"d": 8}


def pack(vector: Sequence[float]) -> bytes:
    """The bytes of a vector. Raises ValueError for what is not one."""
    try:
        numbers = array("d", vector)
    except (TypeError, OverflowError):
        msg = "a vector holds what is no number"
        raise ValueError(msg) from None
    if not numbers or not all(map(isfinite, numbers)):
        msg = "a vector is empty, or holds a number that is not finite"
        raise ValueError(msg)
    letter = b"f" if array("f", numbers).tolist() == numbers.tolist() else b"d"
    return letter + struct.pack(f"<{len(numbers)}{letter.decode()}", *numbers)


def unpack(data: bytes) -> list[float]:
    """The vector that ``pack`` was given. Raises ValueError for other bytes."""
    letter, numbers = data[:1], data[1:]
    count, rest = divmod(len(numbers), _SIZES.get(letter, 1))
    if letter not in _SIZES or rest:
        msg = "not a vector"
        raise ValueError(msg)
    return list(struct.unpack(f"<{count}{letter.decode()}", numbers))


def size(data: bytes) -> int:
    """How many numbers there are in a packed vector."""
    return (len(data) - 1) // _SIZES.get(data[:1], 1)
