"""Questions that ``match: normalized`` makes equal, and questions that it must not."""

from cachecore.question import matched, normalized
from tests.core.helpers import each

SAME = [
    ("When do you open?", "when do you open"),
    ("When do you open?", "  When   do you  open ? "),
    ("When do you open?", "Ｗｈｅｎ do you open？"),
    ("when do you open", "When\u3000do you open."),
    ("My order is late.", "my order is late"),
    ("What’s the gold plan?", "What's the gold plan?"),
    ("Tell me your hours.", "tell me your hours"),
    ("你们几点开门？", "你们几点开门"),
    ("可以退货吗？", " 可以退货吗 "),
    ("订单１２３在哪？", "订单123在哪？"),
    ("caf\u00e9 hours", "cafe\u0301 hours"),
]
# Pairs that would share an answer if too much were normalized.
TRAPS = [
    ("Is US mail delivered?", "Is us mail delivered?"),
    ("Polish recipes", "polish recipes"),
    ("Turkey travel", "turkey travel"),
    ("Is it IT support?", "Is it it support?"),
    ("IT is down", "It is down"),
    ("You ship to Norway?", "You ship to Norway."),
    ("今天营业？", "今天营业。"),
    ("What is 5!", "What is 5"),
    ("What is 10²?", "What is 102?"),
    ("Add ½ cup", "Add 12 cup"),
    ("Dose of 1.5 mg", "Dose of 15 mg"),
    ("Version 1.2", "Version 12"),
    ("What is -5?", "What is 5?"),
    ("What is C++?", "What is C?"),
    ("What does `a  b` do?", "What does `a b` do?"),
    ("Sort:\n  a\nb", "Sort:\na\n  b"),
    ("What is f(X)?", "What is f(x)?"),
    ("Cancel my order", "Don't cancel my order"),
    ("Send it to Ann, not Bob", "Send it to Bob, not Ann"),
    ("not allowed", "no tallowed"),
    ("Is it re-sent?", "Is it resent?"),
    ("退款", "退 款"),
    ("can't", "cant"),
    ("①", "1"),
    ("How much is ５０％?", "How much is 50?"),
    ("In which column?\na\t\tb", "In which column?\na\tb"),
    ("How many?\nNew York\nCity", "How many?\nNew\nYork\nCity"),
    ('How many spaces are in "a  b"?', 'How many spaces are in "a b"?'),
    ("What does I mean in physics?", "What does i mean in physics?"),
    ("Solve I * I", "Solve i * i"),
    ("A minor: which notes?", "a minor: which notes?"),
    ("Will is ill, what now?", "will is ill, what now?"),
    ("In is which element?", "in is which element?"),
    ("Complete: the cat sat on the.", "Complete: the cat sat on the"),
    ("difference between Ａ and A", "difference between A and A"),
]


@each(("one", "other"), SAME)
def test_questions_that_differ_in_typing_only_are_one_question(
    one: str, other: str
) -> None:
    assert normalized(one) == normalized(other)


@each(("one", "other"), TRAPS)
def test_questions_that_may_mean_something_else_stay_separate(
    one: str, other: str
) -> None:
    assert normalized(one) != normalized(other)


def test_a_document_is_no_question() -> None:
    document = "A  word. " * 300
    assert normalized(document) == document


def test_an_exact_match_folds_nothing() -> None:
    assert matched("exact", " When? ") == " When? "
