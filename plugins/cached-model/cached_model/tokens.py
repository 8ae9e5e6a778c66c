"""How many tokens a text has, roughly and without a vocabulary.

The SDK counts with GPT-2's vocabulary, which it downloads: a plugin must not
need the network for that. The figures below are averages over common
tokenizers: about four Latin characters a token, and two tokens for three CJK
characters.
"""

import re
from typing import Final

_CJK: Final = re.compile(r"[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef]")
_LATIN_PER_TOKEN: Final = 4
_CJK_PER_TOKEN: Final = 1.5


def estimate(text: str) -> int:
    """At least 1 for any text that is not empty."""
    wide = len(_CJK.findall(text))
    tokens = (len(text) - wide) / _LATIN_PER_TOKEN + wide / _CJK_PER_TOKEN
    return max(1, round(tokens)) if text else 0
