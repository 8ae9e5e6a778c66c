"""Questions that differ in how they were typed only (``match: normalized``, or ``meaning``).

Two questions are matched if ``normalized`` makes the same text of them. It folds what can't
change a question, and nothing that can:

- White space: runs of spaces become one, and none is left at the ends. Not where a line or
  a tab is in it, or a quotation: there it may be what is asked about.
- Full-width letters, digits and signs, as Chinese and Japanese keyboards type them. Not all
  of Unicode's compatibility forms: NFKC makes 102 of 10².
- Typographic quotation marks.
- The capital of the first word, where that is one of a short list: no other word is
  known to mean the same with and without it (Polish and polish, US and us).
- A full stop at the end, unless a colon says that something is quoted; a question mark only
  where the first word or, in Chinese, a word of asking says that it is a question. "You ship
  to Norway?" is not what it is without.

What looks like code is left as it is but for its ends: there white space and case count.
Whoever asks is answered under the normalised question; the upstream is asked as it was typed.
"""

import re
import unicodedata
from typing import Final, Literal

type Match = Literal["exact", "normalized", "meaning"]

_CODE: Final = re.compile(r"[`{}\[\]<>|\\^$=;~_]|[\n\r\t\v\f]|//|\w\(|[+*/] |\"")
_WIDE_WORD: Final = re.compile(r"[\uff10-\uff19\uff21-\uff3a\uff41-\uff5a]+")
_NARROW_WORD: Final = re.compile(r"[0-9A-Za-z]+")
_SPACE: Final = re.compile(r"\s+")
LONGEST: Final = 2_000  # characters; what is longer is a document, not a question
# Full-width signs; NFKC would also make 102 of 10².
WIDTH: Final = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: " "}
_QUOTES: Final = str.maketrans("‘’“”", "''\"\"")
# Words with which questions begin, and that mean the same with and without a capital.
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
    """The question as it stands in a key."""
    return question if match == "exact" else normalized(question)


def normalized(question: str) -> str:
    """The one text for all questions that are the same but for their typing."""
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
    """Whether a word in full-width letters stands beside the same one of half width."""
    narrow = {word.translate(WIDTH) for word in _WIDE_WORD.findall(question)}
    return bool(narrow) and not narrow.isdisjoint(_NARROW_WORD.findall(question))


def _without_end(text: str, *, asks: bool) -> str:
    """Without the sign at the end, where the rest says the same without it."""
    body, last = text[:-1].rstrip(), text[-1:]
    # "3 ." and "etc.." are not a sentence and its end.
    if not body or not body[-1].isalnum():
        return text
    if last in _FULL_STOPS:
        return text if ":" in body else body
    is_question = asks or bool(_ASKING_CHINESE.search(body))
    return body if last in _QUESTION_MARKS and is_question else text
