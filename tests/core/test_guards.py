"""Guards: differences that do or do not distinguish questions, English and Chinese."""

from cachecore.meaning.guards import GUARDS, read, stands_alone, veto
from tests.core.helpers import each

TRAPS = {
    "numbers": [
        ("Refund after 14 days?", "Refund after 30 days?"),
        ("Dose of 1.5 mg", "Dose of 15 mg"),
        ("Is it 3 kg?", "Is it 3 g?"),
        ("Is it 1,5 kg?", "Is it 15 kg?"),
        ("A two-bedroom flat", "A three bedroom flat"),
        ("Where is order AB-12?", "Where is order AB-13?"),
        ("7天后退款", "15天后退款"),
        ("三天后退款", "五天后退款"),
    ],
    "signs": [
        ("What is C#?", "What is C++?"),
        ("What is 3 - 2?", "What is 3 + 2?"),
        ("What is -5 + 3?", "What is 5 + 3?"),
        ("Is it €5?", "Is it $5?"),
    ],
    "dates": [
        ("Open on Monday?", "Open on Friday?"),
        ("Price cap from October", "Price cap from January"),
        ("周一开门吗", "周五开门吗"),
        ("今天开门吗", "明天开门吗"),
    ],
    "negation": [
        ("Can I cancel?", "Can't I cancel?"),
        ("Can I pay with a card?", "Can I pay without a card?"),
        ("可以退货吗", "不可以退货吗"),
    ],
    "names": [
        ("Do you ship to Norway?", "Do you ship to Sweden?"),
        ("Who runs Microsoft?", "Who runs Apple?"),
    ],
    "contraries": [
        ("How do I lock my card?", "How do I unlock my card?"),
        ("How do I pause it?", "How do I resume it?"),
        ("Mute the bell", "Unmute the bell"),
        ("How early may I come?", "How late may I come?"),
        ("怎么开通会员", "怎么取消会员"),
        ("最高多少", "最低多少"),
    ],
    "scope": [
        ("Does it apply to all orders?", "Does it apply to half of the orders?"),
        ("所有订单可以吗", "部分订单可以吗"),
    ],
    "order": [
        ("Move it from Ann to Bob", "Move it from Bob to Ann"),
        ("Who sent Ann to Bob", "Who sent Bob to Ann"),
        ("从北京到上海多久", "从上海到北京多久"),
    ],
    "asking": [
        ("When is the office open?", "Where is the office open?"),
        ("什么时候发货", "为什么发货"),
    ],
    "exchanged": [
        ("订单的价格是多少？", "订单的重量是多少？"),
        ("可以在杭州使用吗？", "可以在苏州使用吗？"),
    ],
}
SAME = [
    ("How do I cancel my order?", "how can i cancel my order"),
    ("Can I pay by card at the shop?", "At the shop, can I pay by card?"),
    ("Do you ship to Norway?", "is shipping to norway possible"),
    ("What does it cost?", "How much is it?"),
    ("Is it a 2-year contract?", "Is it a two-year contract?"),
    ("When do you open?", "What time do you open?"),
    ("有没有折扣", "是否有折扣"),
    ("怎么退货", "如何退货"),
]


@each(
    ("guard", "one", "other"),
    [(guard, *pair) for guard, found in TRAPS.items() for pair in found],
)
def test_a_guard_tells_a_trap_apart_both_ways(guard: str, one: str, other: str) -> None:
    assert GUARDS[guard](read(one), read(other))
    assert GUARDS[guard](read(other), read(one))
    assert veto(one, other)


@each(("one", "other"), SAME)
def test_equal_questions_pass_all_guards(one: str, other: str) -> None:
    assert veto(one, other) == ""
    assert veto(other, one) == ""


@each(
    "question",
    [
        *("And in red?", "what about the blue one?", "It does not work, why?", "Why?"),
        "How much is it?",
        *(
            "That one, how much is it?",
            "refund?",
            "",
            "yes please",
            "the same for Oslo",
        ),
        *("那红色的呢？", "红色的呢？", "还有别的颜色吗", "它多少钱", "为什么？"),
    ],
)
def test_a_question_that_continues_another_is_not_independent(
    question: str,
) -> None:
    assert not stands_alone(question)


@each(
    "question", sorted({text for pair in SAME for text in pair} - {"How much is it?"})
)
def test_a_complete_question_is_independent(question: str) -> None:
    assert stands_alone(question)


def test_each_guard_has_its_traps() -> None:
    assert set(TRAPS) == set(GUARDS)


def test_beside_a_judge_only_the_surest_guards_speak() -> None:
    one, other = "Who is the CEO of it?", "Who runs it?"
    assert veto(one, other) == "names"
    assert veto(one, other, judged=True) == ""
    assert veto("Is it 3 kg?", "Is it 3 g?", judged=True) == "numbers"
