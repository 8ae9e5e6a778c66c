"""The words of guards and score, in English and Chinese, as data."""

import re
from collections.abc import Mapping
from typing import Final


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


NUMBERS: Final[Mapping[str, str]] = {
    word: number
    for number, words in {
        "0": "zero 零",
        "1": "one once single 一",
        "2": "two double pair 二 两 俩",
        "3": "three triple 三",
        "4": "four 四",
        "5": "five 五",
        "6": "six 六",
        "7": "seven 七",
        "8": "eight 八",
        "9": "nine 九",
        "10": "ten 十",
        "11": "eleven",
        "12": "twelve dozen",
        "100": "hundred 百",
        "1000": "thousand 千",
        "1000000": "million",
    }.items()
    for word in words.split()
}
NEGATIONS: Final = _words(
    "not no never none nothing nobody without neither nor cannot except unless "
    "不 没 無 无 未 别 勿 非 否"
)
# Chinese words with a negation sign that negate nothing, and forms of yes-no questions.
NO_NEGATION: Final = re.compile(
    r"是否|能否|可否|有没有|是不是|能不能|可不可以|要不要|不同|不过|不好意思"
)
UNITS: Final = _words(
    "mg g kg gram grams kilogram kilograms ml l litre litres liter liters cm mm m km mile "
    "miles metre metres inch inches foot feet second seconds minute minutes hour hours day "
    "days week weeks month months year years percent am pm usd eur gbp dollar dollars euro "
    "euros pound pounds gb mb tb celsius fahrenheit 秒 分 时 天 日 周 月 年 元 块 斤 米"
)
DATES: Final = _words(
    "january february march april may june july august september october november december "
    "monday tuesday wednesday thursday friday saturday sunday mondays tuesdays wednesdays "
    "thursdays fridays saturdays sundays weekend weekends weekday weekdays today tomorrow "
    "yesterday tonight morning afternoon evening night midnight noon christmas easter "
    "spring summer autumn fall winter"
)
DATES_CHINESE: Final = re.compile(
    r"今天|明天|昨天|后天|前天|今晚|上午|下午|早上|晚上|中午|周末|工作日|春节|国庆|"
    r"(?:周|星期)[一二三四五六日天]|[上下这本]个?(?:周|月|年)|今年|明年|去年"
)
SCOPE: Final = _words("all only each every first last next previous half most whole")
SCOPE_CHINESE: Final = re.compile(
    r"全部|所有|只|仅|每|第一|最后|一半|部分|任何|其他|另外"
)
# The two sides of each line are opposites.
CONTRARIES: Final = tuple(
    (_words(left), _words(right))
    for line in """
open opens opening opened | close closes closing closed shut
start starts starting begin begins | stop stops stopping end ends
activate enable join | cancel cancels deactivate disable leave quit
cancel cancels cancelling | renew renews renewing keep continue book reactivate
pause suspend freeze | resume unfreeze restart continue
lock block | unlock unblock
allow allowed allows permit permitted | forbid forbidden ban banned prohibited
include includes included including | exclude excludes excluded excluding
safe | unsafe dangerous harmful
increase increases increasing raise raised rise up | decrease decreases reduce lower cut down
more higher bigger larger longer faster | less lower smaller shorter slower fewer
cheaper above over maximum max | expensive below under minimum min
before earlier | after later
buy buys buying purchase | sell sells selling
send sends sending | receive receives receiving
lend lending | borrow borrowing
pass passed | fail failed
win won | lose lost
add adds adding | remove removes removing delete deletes
upgrade upgrading | downgrade downgrading
income incoming inbound in | outgoing outbound out
arrival arrivals arrive arriving | departure departures depart departing
pick | drop
men men's male boys man | women women's female girls woman
parents parent | children child kids
employer employers | employee employees
tenant tenants | landlord landlords
customer buyer | seller supplier merchant
free | paid
new | used old existing
full | part
indoor indoors inside | outdoor outdoors outside
hot | cold
left | right
online | offline store
eat | avoid
accept accepted | reject rejected refuse refused decline declined
import imports | export exports
public | private
minimum least | maximum most
best | worst
benefits advantages pros | drawbacks disadvantages cons risks
early | late
with | without
yes | no
domestic | international abroad overseas
single | joint return double
开 多 大 高 长 快 前 买 借 进 | 关 少 小 低 短 慢 后 卖 还 出
""".strip().splitlines()
    for left, _, right in [line.partition("|")]
)
CONTRARIES_CHINESE: Final = tuple(
    tuple(pair.split("/"))
    for pair in (
        "开通/取消 开启/关闭 打开/关闭 启用/停用 增加/减少 上调/下调 涨/跌 升级/降级 存/取 "
        "转入/转出 进口/出口 允许/禁止 包含/不含 安装/卸载 添加/删除 最高/最低 最多/最少 最大/最小 "
        "之前/之后 以前/以后 以上/以下 男/女 线上/线下 国内/国外 免费/收费 收/发 租客/房东 "
        "买家/卖家 成人/儿童 登录/退出 锁定/解锁 暂停/恢复 开始/结束 左/右 早/晚 新/旧"
    ).split()
)
# A word with one of these prefixes is the opposite of the word without it.
PREFIXES: Final = ("un", "in", "im", "dis", "non", "ir", "de")
ASKING: Final[Mapping[str, str]] = {
    "when": "time",
    "where": "place",
    "who": "person",
    "whose": "person",
    "why": "reason",
}
ASKING_CHINESE: Final[Mapping[str, re.Pattern[str]]] = {
    "time": re.compile(r"什么时候|何时|几点|多久"),
    "place": re.compile(r"哪里|哪儿|在哪"),
    "person": re.compile(r"谁"),
    "reason": re.compile(r"为什么|为何"),
    "price": re.compile(r"多少钱|价格|费用"),
}
# The beginning, or in Chinese also the end, of a question that continues earlier text.
FOLLOWING: Final = re.compile(
    r"^(?:and|or|but|also|then|plus|instead|otherwise|(?:what|how) about|(?:the )?same|"
    r"(?:the )?other|another|this|that|these|those|it|its|they|them|he|him|she|her)\b|"
    r"^(?:那|还有|以及|或者|但是|可是|然后|另外|其他|这|它|他|她)|^(?:.{1,6}呢|为什么|怎么办)[?？]?$"
)
# Words with little meaning for a question.
LIGHT: Final = _words(
    "a an the my your our their his her its i we you they it me us is are was were be been "
    "am do does did can could will would should shall may might have has had to of for on in "
    "at by with from and or if so ok okay hi hello please thanks thank just there this that "
    "these those what how when where who whom whose which why s d m ve re ll t need want "
    "like get got tell know possible way best some about much many not "
    "的 了 吗 呢 啊 吧 我 你 您 们 是 请 问 想 要 能 可 以 怎 么 什 样 如 何 一 下 在 有"
)
