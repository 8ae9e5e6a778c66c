import pytest

from cachecore.errors import ConfigError
from cachecore.redis_url import RedisUrl, parse
from tests.core.helpers import each


@each(
    ("text", "expected"),
    [
        ("redis://cache", RedisUrl("single", hosts=(("cache", 6379),))),
        (
            "redis://me:p%40ss@cache:6380/2",
            RedisUrl(
                "single", hosts=(("cache", 6380),), db=2, username="me", password="p@ss"
            ),
        ),
        (
            "redis://:pw@[::1]:6380",
            RedisUrl("single", hosts=(("::1", 6380),), password="pw"),
        ),
        (
            "rediss://cache?ca_certs=/etc/ca.crt",
            RedisUrl(
                "single", tls=True, hosts=(("cache", 6379),), ca_certs="/etc/ca.crt"
            ),
        ),
        (
            "redis+sentinel://a:26379,b:26380/mymaster/1",
            RedisUrl(
                "sentinel", hosts=(("a", 26379), ("b", 26380)), service="mymaster", db=1
            ),
        ),
        (
            "redis+sentinel://:pw@a/m?sentinel_username=u&sentinel_password=s",
            RedisUrl(
                "sentinel",
                hosts=(("a", 6379),),
                service="m",
                password="pw",
                sentinel_username="u",
                sentinel_password="s",
            ),
        ),
        (
            "redis+cluster://a:7000,b:7001",
            RedisUrl("cluster", hosts=(("a", 7000), ("b", 7001))),
        ),
        ("unix:///run/redis.sock?db=3", RedisUrl("unix", path="/run/redis.sock", db=3)),
    ],
)
def test_every_form_is_taken_apart(text: str, expected: RedisUrl) -> None:
    assert parse(text) == expected


@each(
    ("text", "says"),
    [
        ("", "must begin with redis://"),
        ("cache:6379", "must begin with redis://"),
        ("http://cache", "must begin with redis://"),
        ("redis://", "has no host"),
        ("redis://:pw@", "has no host"),
        ("redis://cache:port", "has a port that is not a number"),
        ("redis://cache:0", "has a port"),
        ("redis://cache:70000", "has a port"),
        ("redis://cache/first", "number of a database"),
        ("redis://cache/-1", "number of a database"),
        ("redis://a,b", "names several hosts"),
        ("redis+sentinel://a:26379", "needs the name of the master"),
        ("redis+cluster://a/1", "only database 0"),
        ("redis://cache?timeout=3", "an option that this scheme does not know"),
        ("redis://cache:" + "9" * 5000, "has a port"),
        ("redis://:pa?hunter2=1@cache", "write them as %40"),
        ("redis://u:12#rest@cache", "write them as %40"),
        ("redis://u:p/w@cache", "write them as %40"),
        ("unix://run/redis.sock", "absolute path"),
        ("redis://[::1", "is not a URL"),
    ],
)
def test_every_mistake_is_one_sentence_that_names_the_field(
    text: str, says: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        parse(text)
    sentence = str(raised.value)
    assert sentence.startswith("Redis URL (redis_url) ")
    assert says in sentence
    assert sentence.endswith(".")
    assert raised.value.field == "redis_url"
    assert "hunter2" not in sentence


def test_a_password_is_in_no_message_and_no_repr() -> None:
    url = "redis://me:hunter2hunter2@cache:port"
    with pytest.raises(ConfigError) as raised:
        parse(url)
    assert "hunter2" not in str(raised.value)
    assert "hunter2" not in repr(parse(url.replace("port", "1")))
