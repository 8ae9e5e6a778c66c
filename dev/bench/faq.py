"""The questions of a shop's users, in our own wording, in two languages.

Each has a class, which gives its answer's lifetime, and a topic, whose answers are
invalidated when the topic's page changes.
"""

from dataclasses import dataclass
from typing import Final

_THINGS: Final = (
    ("desk lamp", "台灯"),
    ("floor lamp", "落地灯"),
    ("night light", "夜灯"),
    ("pendant light", "吊灯"),
    ("wall light", "壁灯"),
    ("bicycle light", "自行车灯"),
    ("torch", "手电筒"),
    ("lantern", "提灯"),
    ("light strip", "灯带"),
    ("ceiling fan", "吊扇"),
    ("smart bulb", "智能灯泡"),
    ("halogen bulb", "卤素灯泡"),
    ("lamp shade", "灯罩"),
    ("dimmer", "调光器"),
    ("light switch", "电灯开关"),
    ("motion sensor", "人体感应器"),
    ("power adapter", "电源适配器"),
    ("extension cord", "延长线"),
    ("battery pack", "电池组"),
    ("solar light", "太阳能灯"),
    ("garden spotlight", "花园射灯"),
    ("fairy lights", "彩灯串"),
    ("reading light", "阅读灯"),
    ("clip lamp", "夹灯"),
    ("aquarium light", "水族灯"),
    ("grow light", "植物灯"),
    ("mirror light", "镜前灯"),
    ("cabinet light", "橱柜灯"),
    ("picture light", "画框灯"),
    ("emergency light", "应急灯"),
    ("work light", "工作灯"),
    ("ring light", "环形补光灯"),
    ("studio softbox", "摄影柔光箱"),
    ("salt lamp", "盐灯"),
    ("lava lamp", "熔岩灯"),
    ("table candle light", "桌面烛光灯"),
    ("stair light", "楼梯灯"),
    ("outdoor lantern", "户外灯笼"),
    ("track light", "轨道灯"),
    ("downlight", "筒灯"),
    ("panel light", "面板灯"),
    ("tube light", "灯管"),
    ("vintage bulb", "复古灯泡"),
    ("colour bulb", "彩色灯泡"),
    ("lamp base", "灯座"),
    ("lamp cable", "灯线"),
    ("remote control", "遥控器"),
    ("wall plug", "墙插"),
    ("timer plug", "定时插座"),
    ("smart hub", "智能网关"),
)
# English, Chinese, the class of its answer's lifetime.
_ASKED: Final = (
    ("Can I give the {} back if I do not like it?", "{}不喜欢可以退吗?", "policy"),
    ("For how many years is the {} under warranty?", "{}保修几年?", "policy"),
    ("How do I clean the {}?", "{}怎么清洁?", "policy"),
    ("Which bulb fits the {}?", "{}配什么灯泡?", "policy"),
    ("May children use the {} by themselves?", "孩子可以自己用{}吗?", "policy"),
    ("How heavy is the {}?", "{}有多重?", "policy"),
    ("What is the {} made of?", "{}是什么材质的?", "policy"),
    ("Does the {} work outdoors in the rain?", "{}下雨天能在室外用吗?", "policy"),
    ("How do I mount the {} without drilling?", "不打孔怎么安装{}?", "policy"),
    ("Who may repair a broken {}?", "{}坏了找谁修?", "policy"),
    ("How much power does the {} draw?", "{}功率是多少?", "policy"),
    ("Is the {} allowed in a rented flat?", "租的房子能装{}吗?", "policy"),
    ("In which colours is the {} made?", "{}有哪些颜色?", "policy"),
    ("Can the {} be dimmed?", "{}可以调光吗?", "policy"),
    ("How do I pair the {} with my phone?", "{}怎么和手机配对?", "policy"),
    ("How do I dispose of an old {}?", "旧的{}怎么处理?", "policy"),
    ("How is the {} packed when it is shipped?", "{}寄出时怎么包装?", "faq"),
    ("How soon is the {} delivered?", "{}多久能送到?", "faq"),
    ("Does a voucher count for the {}?", "{}能用优惠券吗?", "faq"),
    ("Do you ship the {} abroad?", "{}可以寄到国外吗?", "faq"),
    ("Is the {} in stock today?", "{}今天有货吗?", "volatile"),
)


@dataclass(frozen=True)
class Question:
    """A question, with its class and topic."""

    text: str
    topic: str
    lifetime: str
    language: str


def questions() -> list[Question]:
    """All questions, always in the same order."""
    return [
        Question(form.format(thing[place]), thing[0], asked[2], language)
        for thing in _THINGS
        for asked in _ASKED
        for place, (language, form) in enumerate((("en", asked[0]), ("zh", asked[1])))
    ]
