"""Guards: differences that make two similar questions different.

Each guard is a pure function of two questions. It has a veto if, for example, only one
of them has a number, a name or a negation. A veto is final. Without a veto the
questions may still be different. Guards know English and Chinese. In other languages
they see numbers, names and signs.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Final

from cachecore.meaning.words import (
    ASKING,
    ASKING_CHINESE,
    CONTRARIES,
    CONTRARIES_CHINESE,
    DATES,
    DATES_CHINESE,
    FOLLOWING,
    LIGHT,
    NEGATIONS,
    NO_NEGATION,
    NUMBERS,
    PREFIXES,
    SCOPE,
    SCOPE_CHINESE,
    UNITS,
)

_WORD: Final = re.compile(
    r"\d+(?:[.,:/-]\d+)*|[a-z]+(?:['’][a-z]+)?|[\u3400-\u9fff]|[^\W\d_]+"
)
_NUMBER: Final = re.compile(r"\d+(?:[.,:/-]\d+)*")
# A comma may separate thousands, or decimals.
_THOUSANDS: Final = re.compile(r",(?=\d{3}(?!\d))")
_SYMBOLS: Final = re.compile(r"[+*/^<>=#%€$£¥~|\\]|(?<![^\W_])-|-(?![^\W_])")
_CODE: Final = re.compile(r"\b(?=\w*\d)(?=\w*[A-Za-z])[\w-]+\b")
_CJK: Final = re.compile(r"[\u3400-\u9fff]")
_LONGEST_WORD: Final = 4  # characters of a Chinese word
_SHORTEST: Final = 3  # the fewest words, or Chinese characters, of a question


_WAYS: Final = re.compile(
    r"\b(from|to|by|for|with|against|than)\s+(?:(?:my|the|a|an|your)\s+)*(\w+)"
)
_FROM_TO_CHINESE: Final = re.compile(
    r"从(.{1,8}?)(?:到|转到|改成|换成|至)(.{1,8}?)(?:[，。？?]|要|的|需|多|怎|$)"
)
_CONTRACTED: Final = re.compile(r"n['’]t\b")


@dataclass(frozen=True, slots=True)
class Read:
    """A parsed question. ``tokens`` are in their order, in lower case."""

    text: str
    tokens: tuple[str, ...]
    words: frozenset[str]
    numbers: tuple[str, ...]
    codes: frozenset[str]
    names: frozenset[str]


@lru_cache(512)
def read(question: str) -> Read:
    """Parse a question for the guards."""
    text = unicodedata.normalize("NFKC", question)
    spread = _CONTRACTED.sub(" not", text.lower()).replace("’", "'")
    tokens = tuple(_WORD.findall(spread))
    digits = [_NUMBER.fullmatch(token) is not None for token in tokens]
    numbers = [
        _THOUSANDS.sub("", token) if is_digit else NUMBERS[token]
        for token, is_digit in zip(tokens, digits, strict=True)
        if is_digit or token in NUMBERS
    ]
    # A sentence's first word always has a capital, so it does not count as a name.
    named = re.findall(r"(?<![.?!]\s)(?<!^)\b[A-Z][A-Za-z]*\b", text)
    names = {name.lower() for name in named if name != "I"}
    return Read(
        text=spread,
        tokens=tokens,
        words=frozenset(tokens),
        numbers=tuple(sorted(numbers)),
        codes=frozenset(code.lower() for code in _CODE.findall(text)),
        names=frozenset(names),
    )


def _differs(one: Read, other: Read, words: frozenset[str]) -> bool:
    return one.words & words != other.words & words


def numbers(one: Read, other: Read) -> bool:
    """Different numbers, or the same numbers with different units."""
    # "One", as in "the blue one", is not a number.
    found = [tuple(n for n in read.numbers if n != "1") for read in (one, other)]
    if found[0] != found[1] or one.codes != other.codes:
        return True
    units = [_units(read) for read in (one, other)]
    return any(units[0][n] != units[1][n] for n in units[0].keys() & units[1].keys())


def _units(read: Read) -> dict[str, str]:
    """The unit after each number that has one."""
    return {
        number: unit.removesuffix("s")
        for number, unit in pairwise(read.tokens)
        if _NUMBER.fullmatch(number) and unit in UNITS
    }


def signs(one: Read, other: Read) -> bool:
    """Different signs: C# and C++, 3 - 2 and 3 + 2, €5 and $5."""
    found = [sorted(_SYMBOLS.findall(read.text)) for read in (one, other)]
    return found[0] != found[1]


def dates(one: Read, other: Read) -> bool:
    """Different days, months or times of day."""
    found = [set(DATES_CHINESE.findall(read.text)) for read in (one, other)]
    return found[0] != found[1] or _stems(one.words & DATES) != _stems(
        other.words & DATES
    )


def _stems(words: Iterable[str]) -> set[str]:
    return {word.removesuffix("s") for word in words}


def negation(one: Read, other: Read) -> bool:
    """A negation that the other question does not have."""
    return _count_negations(one) % 2 != _count_negations(other) % 2


def _count_negations(read: Read) -> int:
    text = NO_NEGATION.sub("", read.text)
    return sum(token in NEGATIONS for token in _WORD.findall(text))


def names(one: Read, other: Read) -> bool:
    """A name that the other question does not have, in any letter case."""
    return not (one.names <= other.words and other.names <= one.words)


def contraries(one: Read, other: Read) -> bool:
    """A word, and its opposite in the other question."""
    mine, theirs = one.words - other.words, other.words - one.words
    for left, right in CONTRARIES:
        if (mine & left and theirs & right) or (mine & right and theirs & left):
            return True
    for with_prefix, plain in ((mine, theirs), (theirs, mine)):
        if any(prefix + word in with_prefix for word in plain for prefix in PREFIXES):
            return True
    for this, that in CONTRARIES_CHINESE:
        has = [(this in read.text, that in read.text) for read in (one, other)]
        if has[0] != has[1] and True in has[0] and True in has[1]:
            return True
    return False


def scope(one: Read, other: Read) -> bool:
    """Different scope: all or some, the first or the last."""
    chinese = [set(SCOPE_CHINESE.findall(read.text)) for read in (one, other)]
    return chinese[0] != chinese[1] or _differs(one, other, SCOPE)


def order(one: Read, other: Read) -> bool:
    """The same words, with subject and object exchanged."""
    ways = [dict(_WAYS.findall(read.text)) for read in (one, other)]
    if any(ways[0][way] != ways[1][way] for way in ways[0].keys() & ways[1].keys()):
        crossed = set(ways[0].values()) & set(ways[1].values())
        if crossed:
            return True
    chinese = [_FROM_TO_CHINESE.findall(read.text) for read in (one, other)]
    if chinese[0] and chinese[1] and chinese[0] != chinese[1]:
        return True
    if sorted(one.tokens) != sorted(other.tokens) or one.tokens == other.tokens:
        return False
    # A question means the same if a clause moved to the front with its words together.
    turned = (one.tokens[n:] + one.tokens[:n] for n in range(len(one.tokens)))
    return other.tokens not in turned


def asking(one: Read, other: Read) -> bool:
    """Different question words: when, where, who, why."""
    kinds = [_asked(read) for read in (one, other)]
    return bool(kinds[0]) and bool(kinds[1]) and not kinds[0] & kinds[1]


def _asked(read: Read) -> set[str]:
    found = {ASKING[word] for word in read.words & ASKING.keys()}
    return found | {
        kind for kind, found in ASKING_CHINESE.items() if found.search(read.text)
    }


def exchanged(one: Read, other: Read) -> bool:
    """Exchanged Chinese words, which the vectors of most models hardly distinguish.

    If the words mean the same, the veto costs a hit.
    """
    mine, theirs = list(one.tokens), list(other.tokens)
    whole = len(mine)
    for at in (0, -1):
        while mine and theirs and mine[at] == theirs[at]:
            del mine[at], theirs[at]
    if not mine or not theirs or max(len(mine), len(theirs)) > _LONGEST_WORD:
        return False
    chinese = all(_CJK.fullmatch(token) for token in (*mine, *theirs))
    light = LIGHT | NEGATIONS  # negations have their own guard
    weighs = not light.issuperset(mine) and not light.issuperset(theirs)
    return chinese and weighs and len(mine) < whole and set(mine).isdisjoint(theirs)


GUARDS: Final[Mapping[str, Callable[[Read, Read], bool]]] = {
    "numbers": numbers,
    "signs": signs,
    "dates": dates,
    "negation": negation,
    "names": names,
    "contraries": contraries,
    "scope": scope,
    "order": order,
    "asking": asking,
    "exchanged": exchanged,
}


def stands_alone(question: str) -> bool:
    """Whether a question is complete by itself; "And in red?" is not.

    A question that continues earlier text, or has only a word or two, is never
    compared.
    """
    found = read(question)
    short = len(found.tokens) < _SHORTEST or LIGHT.issuperset(found.tokens)
    return not (short or FOLLOWING.search(found.text.strip()))


# These guards are nearly always right. A judge model is better than the others.
SURE: Final = ("numbers", "signs", "contraries", "order")


def veto(one: str, other: str, *, judged: bool = False) -> str:
    """The name of the first guard with a veto; empty if there is none.

    ``judged`` says that a judge is asked too; then only the guards of SURE are used.
    """
    first, second = read(one), read(other)
    names = SURE if judged else GUARDS
    return next((name for name in names if GUARDS[name](first, second)), "")
