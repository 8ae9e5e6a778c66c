"""Vectors <-> bytes, without a change of any number.

The bytes are one letter, then the numbers, little-endian. The letter is ``f`` for 4
bytes each, if that changes no number, as with numbers that arrived in 4 bytes.
Otherwise it is ``d`` for 8 bytes each.
"""

import struct
from array import array
from collections.abc import Sequence
from math import isfinite
from typing import Final

_SIZES: Final = {b"f": 4, b"d": 8}


def pack(vector: Sequence[float]) -> bytes:
    """The bytes of a vector. Raises ValueError for anything else."""
    try:
        numbers = array("d", vector)
    except (TypeError, OverflowError):
        msg = "a vector holds something that is not a number"
        raise ValueError(msg) from None
    if not numbers or not all(map(isfinite, numbers)):
        msg = "a vector is empty, or holds a number that is not finite"
        raise ValueError(msg)
    letter = b"f" if array("f", numbers).tolist() == numbers.tolist() else b"d"
    return letter + struct.pack(f"<{len(numbers)}{letter.decode()}", *numbers)


def unpack(data: bytes) -> list[float]:
    """The vector from the bytes of ``pack``. Raises ValueError for other bytes."""
    letter, numbers = data[:1], data[1:]
    count, rest = divmod(len(numbers), _SIZES.get(letter, 1))
    if letter not in _SIZES or rest:
        msg = "not a vector"
        raise ValueError(msg)
    return list(struct.unpack(f"<{count}{letter.decode()}", numbers))


def size(data: bytes) -> int:
    """The number of dimensions of a packed vector."""
    return (len(data) - 1) // _SIZES.get(data[:1], 1)
