import pytest

from cachecore import config, opening
from cachecore.errors import ConfigError
from cachecore.options import Options, read_options
from cachecore.policy import Price, Scope
from cachecore.stores.memory import MemoryStore
from tests.core.helpers import each

REDIS = {"redis_url": "redis://cache", "cache_namespace": "shop"}


def read(form: dict[str, object], environ: dict[str, str] | None = None):
    return config.read(form, environ or {}, Options, tenant="someone")


def test_an_empty_form_means_a_bounded_memory_and_the_defaults() -> None:
    settings = read({})
    assert settings.store.redis_url == ""
    assert settings.rules.enabled
    assert settings.rules.ttl == 6 * 3600
    assert settings.rules.scope is Scope.SHARED
    assert isinstance(opening.open_cache(settings.store).store, MemoryStore)


def test_every_field_is_read() -> None:
    settings = read(
        REDIS
        | {
            "cache_ttl": "volatile",
            "cache_scope": "app",
            "cache_secret": "a long enough secret",
            "cache_options": "max_temperature: 0.5, price: {input: 1.5, output: 2, currency: EUR}",
        }
    )
    assert settings.rules.enabled
    assert settings.rules.ttl == 300
    assert not read(REDIS | {"cache_ttl": "off"}).rules.enabled
    own = read(REDIS | {"cache_ttl": "7 days", "cache_options": "ttl_seconds: 90"})
    assert own.rules.ttl == 90
    assert settings.rules.scope is Scope.APP
    assert settings.rules.max_temperature == 0.5
    assert settings.rules.price == Price(1.5, 2.0, 1_000_000, "EUR")
    assert settings.store.namespace == "shop"


@each(
    ("form", "field", "says"),
    [
        ({"redis_url": "cache:6379"}, "redis_url", "must begin with redis://"),
        ({"redis_url": "redis://cache:x"}, "redis_url", "port"),
        ({"redis_url": "redis://cache"}, "cache_namespace", "is required with a Redis"),
        (REDIS | {"cache_namespace": "a b"}, "cache_namespace", "letters, digits"),
        (REDIS | {"cache_namespace": "a:b"}, "cache_namespace", "letters, digits"),
        (REDIS | {"cache_namespace": "x" * 65}, "cache_namespace", "1 to 64"),
        ({"cache_scope": "all"}, "cache_scope", "shared, app, user"),
        ({"cache_ttl": "soon"}, "cache_ttl", "as in 5 minutes, 1 hour or 7 days"),
        ({"cache_ttl": "0"}, "cache_ttl", "from 1 to"),
        ({"cache_ttl": "-5"}, "cache_ttl", "from 1 to"),
        ({"cache_ttl": "1.5"}, "cache_ttl", "whole number"),
        ({"cache_ttl": "9999999"}, "cache_ttl", "2592000"),
        ({"cache_ttl": "9" * 5000}, "cache_ttl", "2592000"),
        ({"cache_options": "[" * 3000}, "cache_options", "at most 20 brackets"),
        ({"cache_options": "price: {input: inf}"}, "cache_options", "a number from 0"),
        ({"cache_secret": "short"}, "cache_secret", "at least 12 characters"),
        (
            {"cache_options": "max_temprature: 1"},
            "cache_options",
            "did you mean max_temperature?",
        ),
        (
            {"cache_options": "price: {inptu: 1}"},
            "cache_options",
            "'price.inptu'; did you mean input?",
        ),
        ({"cache_options": "zzz: 1"}, "cache_options", "known are"),
        (
            {"cache_options": "max_temperature: hot"},
            "cache_options",
            "a number from 0 to 2",
        ),
        (
            {"cache_options": "max_temperature: 3"},
            "cache_options",
            "a number from 0 to 2",
        ),
        ({"cache_options": "price: cheap"}, "cache_options", "a mapping"),
        (
            {"cache_options": "price: {currency: euro}"},
            "cache_options",
            "three capital letters",
        ),
        ({"cache_options": "max_entry_bytes: 1"}, "cache_options", "from 1024"),
        (
            {"cache_options": "just words"},
            "cache_options",
            "has no option 'just words'",
        ),
        ({"cache_options": "a: ["}, "cache_options", "are not readable"),
        ({"cache_options": "[1, 2]"}, "cache_options", "cache_options"),
        ({"cache_options": "x" * 5000}, "cache_options", "at most 4000 characters"),
    ],
)
def test_every_wrong_value_is_one_sentence_that_names_its_field(
    form: dict[str, object], field: str, says: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        read(form)
    sentence = str(raised.value)
    assert raised.value.field == field
    assert field in sentence
    assert says in sentence
    assert sentence[-1] in ".?"
    assert "\n" not in sentence


@each(
    "text",
    [
        "max_temperature: 0.5",
        "{max_temperature: 0.5}",
        "  max_temperature : 0.5, price: {input: 1}  ",
        '{"max_temperature": 0.5}',
        "max_temperature: '0.5'",
    ],
)
def test_options_are_one_line_of_yaml_with_or_without_braces(text: str) -> None:
    assert read_options(text, Options).max_temperature == 0.5


@each(
    "text",
    [
        "audit_judge: bge-m3:latest, ttl_seconds:5",
        "{audit_judge:bge-m3:latest, ttl_seconds:5}",
        "ttl_seconds：5， audit_judge：bge-m3:latest",
        "ttl_seconds ：5, audit_judge :bge-m3:latest",
        "ttl_seconds:5\naudit_judge:bge-m3:latest",
        '"ttl_seconds":5\n"audit_judge":"bge-m3:latest"',
        "# note\nttl_seconds:5\naudit_judge: bge-m3:latest",
        "---\nttl_seconds:5\naudit_judge: bge-m3:latest",
    ],
)
def test_a_value_may_hold_a_colon_and_a_name_needs_no_space_after_its_colon(
    text: str,
) -> None:
    class Named(Options):
        audit_judge: str = ""

    options = read_options(text, Named)
    assert (options.audit_judge, options.ttl_seconds) == ("bge-m3:latest", 5)


def test_a_secret_is_in_no_sentence_and_no_repr() -> None:
    form = REDIS | {
        "redis_url": "redis://:hunter2hunter2@cache",
        "cache_secret": "hunter2hunter2",
    }
    assert "hunter2" not in repr(read(form))
    with pytest.raises(ConfigError) as raised:
        read({"redis_url": "redis://:hunter2hunter2@cache"})
    assert "hunter2" not in str(raised.value)


def test_the_operators_redis_is_used_where_the_form_names_none() -> None:
    environ = {config.ENV_REDIS_URL: "redis://operators"}
    assert (
        read({"cache_namespace": "shop"}, environ).store.redis_url
        == "redis://operators"
    )
    with pytest.raises(ConfigError, match="cache_namespace"):
        read({}, environ)


def test_the_daemons_own_redis_is_never_used_by_accident() -> None:
    environ = {"REDIS_URL": "redis://dify", "REDIS_HOST": "dify", "REDIS_PASSWORD": "x"}
    assert read({}, environ).store.redis_url == ""


@each(
    ("url", "allowed", "fine"),
    [
        ("redis://10.0.0.1", None, True),
        ("unix:///run/redis.sock", None, False),
        ("unix:///run/redis.sock", "/run/*.sock", True),
        ("redis://cache.example", "cache.example,other", True),
        ("redis://cache.example", "*.internal", False),
        ("redis+cluster://a.internal,b.elsewhere", "*.internal", False),
        ("redis://cache", "", False),
    ],
)
def test_a_form_names_only_places_that_the_operator_allows(
    url: str, allowed: str | None, fine: bool
) -> None:
    environ = {} if allowed is None else {config.ENV_ALLOWED_REDIS: allowed}
    form = {"redis_url": url, "cache_namespace": "n"}
    if fine:
        assert read(form, environ).store.redis_url == url
    else:
        with pytest.raises(ConfigError, match=config.ENV_ALLOWED_REDIS):
            read(form, environ)


def test_without_a_redis_the_namespace_alone_shares_no_memory() -> None:
    def memory(tenant: str, **form: str):
        return opening.open_cache(config.read(form, {}, Options, tenant).store)

    mine = memory("me", cache_namespace="a")
    assert memory("me", cache_namespace="a") is mine
    assert memory("you", cache_namespace="a") is not mine
    assert (
        memory("me", cache_namespace="a", cache_secret="a long enough secret")
        is not mine
    )
    with pytest.raises(ConfigError, match="cache_secret"):
        memory("", cache_namespace="a")


def test_equal_settings_open_one_cache_and_others_another() -> None:
    one = opening.open_cache(read({"cache_namespace": "a"}).store)
    assert (
        opening.open_cache(read({"cache_namespace": "a", "cache_ttl": "5"}).store)
        is one
    )
    assert opening.open_cache(read({"cache_namespace": "b"}).store) is not one


def test_both_plugins_derive_the_same_keys_from_a_secret() -> None:
    keys = opening.derive_keys("a long enough secret", "shop")
    # The keys are fixed for all versions: each plugin must open the other's entries.
    assert keys[0].hex().startswith("d65d1c54de92de49")
    assert len({*keys, *opening.derive_keys("a long enough secret", "other")}) == 4


@each(
    ("text", "expected"),
    [
        ("", ()),
        ("a", ("a",)),
        (" a , b,a,, ", ("a", "b")),
        ("中文, x y", ("中文", "x y")),
    ],
)
def test_tags_are_a_comma_separated_list(text: str, expected: tuple[str, ...]) -> None:
    assert config.read_tags(text) == expected


@each("text", [",".join("abcdefghijklmnopq"), "x" * 101])
def test_too_many_or_too_long_tags_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="cache_tags"):
        config.read_tags(text)
