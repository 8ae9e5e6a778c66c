from cachecore.differences import Difference, Differences
from cachecore.events import Subject

OF = Subject("llm", "m")


def test_the_first_miss_is_compared_with_nothing() -> None:
    assert Differences().compare(OF, {"question": "q"}) is None


def test_a_clock_in_the_system_prompt_keeps_equal_questions_apart() -> None:
    differences = Differences()
    differences.compare(OF, {"system": "at 10:01", "question": "q", "tools": "t"})
    differences.compare(OF, {"system": "at 10:01", "question": "other", "tools": "t"})
    found = differences.compare(
        OF, {"system": "at 10:02", "question": "q", "tools": "t"}
    )
    assert found == Difference(("system",), asked_before=True, breaks_prefix="system")


def test_a_new_question_differs_in_the_question_alone() -> None:
    differences = Differences()
    differences.compare(OF, {"system": "s", "question": "q"})
    found = differences.compare(OF, {"system": "s", "question": "another"})
    assert found == Difference(("question",), asked_before=False)


def test_a_part_that_only_one_of_them_has_is_a_difference() -> None:
    differences = Differences()
    differences.compare(OF, {"question": "q"})
    found = differences.compare(OF, {"question": "q", "tools": "t"})
    assert found == Difference(("tools",), asked_before=True, breaks_prefix="tools")


def test_the_part_that_breaks_a_shared_prefix_is_the_first_one_in_the_prompt() -> None:
    differences = Differences()
    differences.compare(OF, {"tools": "t", "system": "at 1", "question": "q"})
    both = differences.compare(OF, {"tools": "u", "system": "at 2", "question": "q"})
    assert both is not None
    assert both.breaks_prefix == "tools"
    # The request right before it counts, not the nearest: a provider caches the former.
    back = differences.compare(OF, {"tools": "t", "system": "at 1", "question": "r"})
    assert back is not None
    assert back.breaks_prefix == "tools"
    same = differences.compare(OF, {"tools": "t", "system": "at 1", "question": "s"})
    assert same is not None
    assert same.breaks_prefix == ""


def test_models_and_apps_are_not_compared_with_each_other() -> None:
    differences = Differences()
    differences.compare(OF, {"question": "q"})
    assert differences.compare(Subject("llm", "m", "app"), {"question": "q"}) is None


def test_the_memory_is_bounded() -> None:
    differences = Differences()
    for number in range(150):
        differences.compare(OF, {"question": str(number)})
        differences.compare(Subject("llm", str(number)), {"question": "q"})
    assert len(differences._seen) <= 128
    assert all(len(seen) <= 64 for seen in differences._seen.values())
    assert not differences.compare(OF, {"question": "0"}).asked_before
