"""Questions that differ only in their typing (``match: normalized``, or ``meaning``).

Two questions match if ``normalized`` returns the same text for both. It removes only
differences that can't change a question:

- White space: several spaces become one, and spaces at the ends are removed. This does not
  apply to a question with a line break, a tab or a quotation, which may be about the space.
- Full-width letters, digits and signs, which Chinese and Japanese keyboards type. This is
  not all of Unicode's compatibility forms: NFKC turns 10² into 102.
- Typographic quotation marks.
- The capital of the first word, if the word is in a short list: no other word is known to
  mean the same with and without it (Polish and polish, US and us).
- A full stop at the end, unless a colon shows that something is quoted. A question mark
  only if the first word or, in Chinese, an asking word shows that it is a question. "You
  ship to Norway?" is not the same without it.

Text that looks like code keeps everything except the spaces at its ends, because white
space and case matter in code. The key has the normalised question; the upstream gets the
question as it was typed.
"""

import re
import unicodedata
from typing import Final, Literal

type Match = Literal["exact", "normalized", "meaning"]

_CODE: Final = re.compile(r"[`{}\[\]<>|\\^$=;~_]|[\n\r\t\v\f]|//|\w\(|[+*/] |\"")
_WIDE_WORD: Final = re.compile(r"[\uff10-\uff19\uff21-\uff3a\uff41-\uff5a]+")
_NARROW_WORD: Final = re.compile(r"[0-9A-Za-z]+")
_SPACE: Final = re.compile(r"\s+")
LONGEST: Final = 2_000  # characters; a longer text is a document, not a question
# Full-width signs. NFKC would also turn 10² into 102.
WIDTH: Final = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: " "}
_QUOTES: Final = str.maketrans("‘’“”", "''\"\"")
# Words that begin questions, and that mean the same with and without a capital.
_ASKING: Final = frozenset(
    "what when where who whom whose which why how is are was were do does did could "
    "would should shall has have had".split()
)
_OTHERS: Final = frozenset(
    "my the if please tell show give explain there this that".split()
)
_ASKING_CHINESE: Final = re.compile(
    r"吗|呢|什么|怎么|怎样|如何|哪|谁|几|多少|多久|为什么|为何|是否|能否|可否"
)
_FULL_STOPS: Final = ".。"
_QUESTION_MARKS: Final = "?？"


def matched(match: Match, question: str) -> str:
    """The question in the form that a key has."""
    return question if match == "exact" else normalized(question)


def normalized(question: str) -> str:
    """The same text for all questions that differ only in their typing."""
    if len(question) > LONGEST:
        return question
    text = unicodedata.normalize("NFC", question).translate(WIDTH)
    text = text.translate(_QUOTES).strip()
    if _CODE.search(text) or _has_both_widths(question):
        return unicodedata.normalize("NFC", question).strip()
    text = _SPACE.sub(" ", text)
    first, space, rest = text.partition(" ")
    lower = first.lower()
    if lower in _ASKING or lower in _OTHERS:
        is_capital = first == first.capitalize()
        text = (lower if is_capital else first) + space + rest
    return _without_end(text, asks=lower in _ASKING)


def _has_both_widths(question: str) -> bool:
    """Whether the text has a word in full-width and in half-width letters."""
    narrow = {word.translate(WIDTH) for word in _WIDE_WORD.findall(question)}
    return bool(narrow) and not narrow.isdisjoint(_NARROW_WORD.findall(question))


def _without_end(text: str, *, asks: bool) -> str:
    """The text without the sign at its end, if the rest means the same."""
    body, last = text[:-1].rstrip(), text[-1:]
    # "3 ." and "etc.." are not a sentence with a full stop.
    if not body or not body[-1].isalnum():
        return text
    if last in _FULL_STOPS:
        return text if ":" in body else body
    is_question = asks or bool(_ASKING_CHINESE.search(body))
    return body if last in _QUESTION_MARKS and is_question else text
