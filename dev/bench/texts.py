"""The questions and answers of the benchmarks."""

import random

_SENTENCE = "The parcel is on its way and arrives within two to four working days. "


def prose(size: int) -> str:
    """Text of ``size`` characters."""
    return (_SENTENCE * (size // len(_SENTENCE) + 1))[:size]


def messages() -> list[dict[str, str]]:
    """A prompt of 2 KB, as a workflow sends it."""
    return [
        {"role": "system", "content": prose(2048)},
        {"role": "user", "content": "When does my parcel come?"},
    ]


# Words for prose without repetition.
_EN = """
parcel order delivery return refund invoice lamp shade bulb warranty customer service
please contact within days working the a of and to in for is on that with by as are
cable switch colour size price voucher address shipping express standard free charge
account password email order number status stock available soon back again repair
""".split()
_ZH = """
包裹 订单 配送 退货 退款 发票 台灯 灯罩 灯泡 保修 客户 服务 请 联系 工作日 以内 的 了 和 在
是 对于 有 我们 您 可以 需要 电缆 开关 颜色 尺寸 价格 优惠券 地址 运费 快递 标准 免费 账户
密码 邮箱 订单号 状态 库存 供应 维修 如果 收到 之后 通过 网站 申请 处理 三天 商品 质量 问题
更换 一般
""".split()


def random_prose(size: int, language: str, rng: random.Random) -> str:
    """Words in an order without repetition, of about ``size`` bytes in UTF-8.

    ``language`` is en or zh.
    """
    words, between, each = (_EN, " ", 1) if language == "en" else (_ZH, "", 3)
    said: list[str] = []
    length = 0
    while length < size:
        word = rng.choice(words)
        said.append(word)
        length += each * len(word) + len(between)
    return between.join(said)
