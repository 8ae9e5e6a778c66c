"""python -m bench.sizes: what an entry takes of a Redis, for docs/operations.md.

Entries as Cached Model keeps them, of prose that does not repeat itself, in a Redis of
its own: the growth of used_memory over their number, beside the bytes of the answers.
"""

import random

import redis
from servers import redis as servers

from cachecore.config import StoreSettings, open_cache
from cachecore.request import Request
from cachecore.streams import Piece, Usage

_COUNT = 500
_WORDS = (
    "parcel order delivery return refund invoice lamp shade bulb warranty customer service "
    "please contact within days working the a of and to in for is on that with by as are "
    "cable switch colour size price voucher address shipping express standard free charge "
    "account password email order number status stock available soon back again repair"
)
_EN = _WORDS.split()
_ZH = (
    "包裹订单配送退货退款发票灯罩灯泡保修客户服务请联系工作日内的了和在是对于有我们您可以"
    "需要电缆开关颜色尺寸价格优惠券地址运费快递标准免费账户密码邮箱订单号状态库存供应维修"
)


def prose(size: int, language: str, rng: random.Random) -> str:
    """Text of about ``size`` bytes in UTF-8."""
    if language == "zh":
        return "".join(rng.choice(_ZH) for _ in range(size // 3))
    words: list[str] = []
    while sum(map(len, words)) + len(words) < size:
        words.append(rng.choice(_EN))
    return " ".join(words)


def main() -> None:
    """Print the table."""
    rng = random.Random(7)
    print("| answer | language | bytes an entry | of the answer's |")
    print("|---|---|---|---|")
    with servers.server() as (url, _):
        client = redis.Redis.from_url(url)
        for secret in ("", "a long secret of the cache"):
            for language in ("en", "zh"):
                for size in (500, 2048, 8192, 20480):
                    took, raw = _entry(client, url, size, language, secret, rng)
                    print(
                        f"| {size / 1024:.1f} KB | {language}{', encrypted' * bool(secret)} "
                        f"| {took:.0f} | {took / raw:.2f} |"
                    )
        client.close()


def _entry(
    client: redis.Redis,
    url: str,
    size: int,
    language: str,
    secret: str,
    rng: random.Random,
) -> tuple[float, float]:
    client.flushall()
    settings = StoreSettings("sizes", url, secret, timeout=5, events="off")
    cache = open_cache(settings)
    answers = [prose(size, language, rng) for _ in range(_COUNT)]

    def keep(number: int) -> None:
        def load() -> list[Piece]:
            return [Piece(answers[number], (), "stop", Usage(400, 300))]

        form = {"question": number, "size": size, "language": language}
        for _ in cache.stream(Request("llm", "m", form), load):
            pass

    keep(0)  # the stamps
    before = client.info("memory")["used_memory"]
    for number in range(1, _COUNT):
        keep(number)
    took = (client.info("memory")["used_memory"] - before) / (_COUNT - 1)
    raw = sum(len(one.encode()) for one in answers) / _COUNT
    return took, raw


if __name__ == "__main__":
    main()
