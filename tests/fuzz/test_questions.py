"""Questions that nobody types, and the trap questions of fow-cache's authors."""

import json
from importlib.resources import files

from hypothesis import given
from hypothesis import strategies as st

from cachecore.question import normalized


@given(st.text())
def test_a_normalized_question_is_its_own(text: str) -> None:
    assert normalized(normalized(text)) == normalized(text)


def test_none_of_300_traps_is_taken_for_one_question_and_some_restatements_are() -> (
    None
):
    lines = (
        (files("fow_cache") / "data" / "pairs.jsonl").read_text("utf-8").splitlines()
    )
    matched: dict[bool, int] = {True: 0, False: 0}
    for pair in map(json.loads, lines):
        same = normalized(pair["a"]) == normalized(pair["b"])
        matched[pair["same_answer"]] += same
    assert len(lines) == 600
    assert matched[False] == 0
    assert matched[True] > 0
