"""Pairs of questions: fow-cache's, and suites made by rules, in English and Chinese.

A trap looks like its question and asks for something else: another number, unit, date,
name, scope or order, or the contrary. A restatement asks for the same.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import product


@dataclass(frozen=True)
class Pair:
    """Two questions, and whether one answer is right for both."""

    one: str
    other: str
    same: bool
    kind: str = ""


def fow() -> list[Pair]:
    """The pairs of fow-cache (CC BY 4.0)."""
    text = (files("fow_cache") / "data" / "pairs.jsonl").read_text("utf-8")
    found = map(json.loads, text.splitlines())
    return [Pair(p["a"], p["b"], p["same_answer"], p["category"]) for p in found]


_THINGS = (
    "order parcel invoice account subscription booking ticket contract quote permit refund "
    "licence".split()
)
_ENGLISH_TRAPS: Sequence[tuple[str, str, Sequence[tuple[str, str]]]] = (
    (
        "number",
        "Can I get a refund for my {thing} after {x} days?",
        [
            ("14", "30"),
            ("3", "5"),
            ("two", "three"),
            ("1.5", "15"),
            ("7", "70"),
            ("10", "100"),
        ],
    ),
    (
        "unit",
        "How much is my {thing} for 3 {x}?",
        [
            ("weeks", "months"),
            ("kg", "g"),
            ("hours", "days"),
            ("litres", "ml"),
            ("miles", "km"),
            ("days", "years"),
        ],
    ),
    (
        "date",
        "Will my {thing} be ready on {x}?",
        [
            ("Monday", "Friday"),
            ("3 May", "3 June"),
            ("Saturday", "Sunday"),
            ("Christmas", "Easter"),
            ("March", "April"),
            ("weekdays", "weekends"),
        ],
    ),
    (
        "name",
        "Can I use my {thing} in {x}?",
        [
            ("Norway", "Sweden"),
            ("Berlin", "Hamburg"),
            ("Japan", "Korea"),
            ("Austria", "Australia"),
            ("Paris", "Lyon"),
            ("Oslo", "Bergen"),
        ],
    ),
    (
        "negation",
        "Can I change my {thing} {x}?",
        [
            ("with a fee", "without a fee"),
            ("before it starts", "after it starts"),
            ("if it is paid", "if it is not paid"),
            ("when it has expired", "when it has not expired"),
            ("while it is active", "while it is never active"),
            ("online", "offline"),
        ],
    ),
    (
        "contrary",
        "How do I {x} my {thing}?",
        [
            ("cancel", "renew"),
            ("lock", "unlock"),
            ("pause", "resume"),
            ("upgrade", "downgrade"),
            ("add", "remove"),
            ("open", "close"),
        ],
    ),
    (
        "scope",
        "Does this apply to {x} {thing}s?",
        [
            ("all", "some"),
            ("every", "the first"),
            ("my last", "my next"),
            ("all", "half of the"),
            ("only new", "all new"),
            ("the first", "the last"),
        ],
    ),
    (
        "order",
        "Can I move my {thing} from {x}?",
        [
            ("Ann to Bob", "Bob to Ann"),
            ("basic to premium", "premium to basic"),
            ("paper to email", "email to paper"),
            ("May to June", "June to May"),
            ("shop to home", "home to shop"),
            ("cash to card", "card to cash"),
        ],
    ),
    (
        "exchange",
        "What is the {x} of my {thing}?",
        [
            ("price", "status"),
            ("number", "date"),
            ("owner", "address"),
            ("weight", "size"),
            ("tax", "discount"),
            ("limit", "balance"),
        ],
    ),
)
_ENGLISH_QUESTIONS = (
    "How do I cancel my {thing}?",
    "Where can I see my {thing}?",
    "Can I change the address of my {thing}?",
    "How long does my {thing} take to arrive?",
    "How much does my {thing} cost?",
    "Who can I ask about my {thing}?",
    "Is my {thing} covered by the guarantee?",
    "What happens to my {thing} when I move house?",
)
_ENGLISH_WAYS = (
    ("How do I", "How can I"),
    ("How do I", "What is the best way to"),
    ("Where can I", "Where do I"),
    ("Can I", "Is it possible to"),
    ("How long does", "How many days does"),
    ("How much does", "What does"),
    ("Who can I ask", "Whom should I ask"),
    ("my", "my own"),
    ("{all}", "hi, {all}"),
    ("{all}", "{all} thanks"),
    ("{all}", "Please tell me: {all}"),
    ("{all}", "{lower}"),
    ("{all}", "{slip}"),
)
_CHINESE_THINGS = "订单 包裹 发票 账户 会员 预约 机票 合同 报价 许可 退款 证书".split()
_CHINESE_TRAPS: Sequence[tuple[str, str, Sequence[tuple[str, str]]]] = (
    (
        "number",
        "{thing}{x}天后还能退款吗？",
        [
            ("7", "15"),
            ("三", "五"),
            ("10", "100"),
            ("14", "30"),
            ("二", "三"),
            ("1.5", "15"),
        ],
    ),
    (
        "unit",
        "{thing}3{x}要多少钱？",
        [
            ("周", "月"),
            ("天", "年"),
            ("斤", "米"),
            ("分", "秒"),
            ("月", "年"),
            ("天", "周"),
        ],
    ),
    (
        "date",
        "{thing}{x}能办好吗？",
        [
            ("周一", "周五"),
            ("今天", "明天"),
            ("上午", "下午"),
            ("本月", "下月"),
            ("今年", "明年"),
            ("周六", "周日"),
        ],
    ),
    (
        "name",
        "{thing}可以在{x}使用吗？",
        [
            ("北京", "上海"),
            ("日本", "韩国"),
            ("广州", "深圳"),
            ("法国", "德国"),
            ("杭州", "苏州"),
            ("美国", "英国"),
        ],
    ),
    (
        "negation",
        "{thing}{x}可以修改吗？",
        [
            ("付款后", "未付款"),
            ("过期", "没过期"),
            ("激活时", "未激活时"),
            ("签收", "没签收"),
            ("审核", "未审核"),
            ("发货", "没发货"),
        ],
    ),
    (
        "contrary",
        "怎么{x}{thing}？",
        [
            ("开通", "取消"),
            ("锁定", "解锁"),
            ("暂停", "恢复"),
            ("升级", "降级"),
            ("添加", "删除"),
            ("打开", "关闭"),
        ],
    ),
    (
        "scope",
        "{x}{thing}都可以吗？",
        [
            ("所有", "部分"),
            ("每个", "第一个"),
            ("全部", "一半"),
            ("任何", "仅新"),
            ("第一个", "最后一个"),
            ("所有", "其他"),
        ],
    ),
    (
        "order",
        "{thing}可以从{x}吗？",
        [
            ("北京转到上海", "上海转到北京"),
            ("现金换成刷卡", "刷卡换成现金"),
            ("甲改成乙", "乙改成甲"),
            ("店里到家里", "家里到店里"),
            ("旧的换成新的", "新的换成旧的"),
            ("线上转到线下", "线下转到线上"),
        ],
    ),
    (
        "exchange",
        "{thing}的{x}是多少？",
        [
            ("价格", "重量"),
            ("编号", "日期"),
            ("税额", "折扣"),
            ("余额", "额度"),
            ("地址", "电话"),
            ("时长", "尺寸"),
        ],
    ),
)
_CHINESE_QUESTIONS = (
    "怎么取消{thing}？",
    "在哪里查看{thing}？",
    "{thing}的地址能改吗？",
    "{thing}多久能到？",
    "{thing}要多少钱？",
    "{thing}可以找谁咨询？",
    "{thing}在保修范围内吗？",
    "搬家后{thing}怎么办？",
)
_CHINESE_WAYS = (
    ("怎么", "如何"),
    ("怎么", "怎样"),
    ("哪里", "哪儿"),
    ("能", "可以"),
    ("多久", "多长时间"),
    ("多少钱", "什么价格"),
    ("找谁", "向谁"),
    ("怎么办", "要怎么处理"),
    ("{all}", "你好，{all}"),
    ("{all}", "请问{all}"),
    ("{all}", "{all}谢谢"),
    ("{all}", "我想问一下{all}"),
    ("{all}", "麻烦问下{all}"),
)


def english() -> list[Pair]:
    """A suite of more than 1,000 pairs in English."""
    return list(_suite(_THINGS, _ENGLISH_TRAPS, _ENGLISH_QUESTIONS, _ENGLISH_WAYS))


def chinese() -> list[Pair]:
    """The same in Chinese."""
    return list(
        _suite(_CHINESE_THINGS, _CHINESE_TRAPS, _CHINESE_QUESTIONS, _CHINESE_WAYS)
    )


def _suite(
    things: Sequence[str],
    traps: Sequence[tuple[str, str, Sequence[tuple[str, str]]]],
    questions: Sequence[str],
    ways: Sequence[tuple[str, str]],
) -> Iterator[Pair]:
    for (kind, frame, values), thing in product(traps, things):
        for one, other in values:
            asked = (frame.format(thing=thing, x=x) for x in (one, other))
            yield Pair(*asked, same=False, kind=kind)
    for frame, thing, (old, new) in product(questions, things, ways):
        question = frame.format(thing=thing)
        if old == "{all}":
            slip = question.replace(thing, _slip(thing))
            restated = new.format(all=question, lower=question.lower(), slip=slip)
        elif old in question:
            restated = question.replace(old, new, 1)
        else:
            continue
        if restated != question:
            yield Pair(question, restated, same=True)


def _slip(word: str) -> str:
    """The word with two letters swapped."""
    return word[:2] + word[3] + word[2] + word[4:] if len(word) > 4 else word
