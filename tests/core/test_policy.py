import pytest

from cachecore import policy
from cachecore.entry import Cost, Entry
from cachecore.policy import (
    TTL_CLASSES,
    Control,
    Price,
    Reason,
    Refusal,
    Rules,
    Scope,
    Switch,
    Traits,
)
from tests.core.helpers import each

NOW = 1000.0


@each(
    ("rules", "control", "traits", "expected"),
    [
        (Rules(), Control.DEFAULT, Traits(), None),
        (Rules(enabled=False), Control.ALWAYS, Traits(), Reason.MODE_OFF),
        (Rules(), Control.BYPASS, Traits(), Reason.CONTROL),
        (Rules(), Control.REFRESH, Traits(), None),
        (Rules(), Control.ONLY, Traits(), None),
        (Rules(), Control.DEFAULT, Traits(conversation=True), Reason.CONVERSATION),
        (Rules(), Control.DEFAULT, Traits(tools=True), Reason.TOOLS),
        (Rules(), Control.DEFAULT, Traits(external_url=True), Reason.EXTERNAL_URL),
        (Rules(), Control.DEFAULT, Traits(temperature=1.0), None),
        (Rules(), Control.DEFAULT, Traits(temperature=1.1), Reason.TEMPERATURE),
        (Rules(max_temperature=0), Control.DEFAULT, Traits(temperature=0), None),
        (
            Rules(),
            Control.DEFAULT,
            Traits(temperature=float("nan")),
            Reason.TEMPERATURE,
        ),
        (Rules(), Control.ALWAYS, Traits(True, True, True, 2.0), None),
        (Rules(scope=Scope.APP), Control.DEFAULT, Traits(), Reason.NO_SCOPE_ID),
        (Rules(scope=Scope.USER), Control.ALWAYS, Traits(), Reason.NO_SCOPE_ID),
        (Rules(scope=Scope.USER), Control.DEFAULT, Traits(scope_id="u"), None),
    ],
)
def test_when_the_cache_is_bypassed(
    rules: Rules, control: Control, traits: Traits, expected: Reason | None
) -> None:
    assert policy.bypass(rules, control, traits) is expected


@each(("now", "expected"), [(NOW + 59, Reason.HIT), (NOW + 60, Reason.EXPIRED)])
def test_an_entry_is_served_until_its_end(now: float, expected: Reason) -> None:
    entry = Entry("x", NOW, NOW + 60, NOW + 60, {"a": "1"})
    assert policy.judge(entry, now, 3600) is expected


def test_an_entry_is_served_to_nobody_for_whom_it_is_too_old() -> None:
    entry = Entry("x", NOW - 100, NOW + 900, NOW + 1900, {"a": "1"})
    assert policy.judge(entry, NOW, 95) is Reason.HIT, "jitter aside"
    assert policy.judge(entry, NOW, 90) is Reason.EXPIRED
    assert policy.fresh_until(entry, 50) == pytest.approx(NOW - 45)
    assert policy.may_serve_stale(entry, 50, NOW, 50)
    assert not policy.may_serve_stale(entry, 45, NOW, 50)


# Whether the lease of the first goes to the second, which has given up ``take_over``.
TAKE_OVERS = [
    ("a.m", "b.m", "", False),
    ("a.m", "b.n", "", True),
    ("a.m", "b.m", "a.m", True),
    ("a.m", "b.m", "c.m", False),
    ("a.m", "b.m", "*", True),
    ("a", "b.m", "", True),
    ("a.m", "a.m", "", False),
]


@each(("holder", "token", "take_over", "taken"), TAKE_OVERS)
def test_the_leases_that_may_be_taken_over(
    holder: str, token: str, take_over: str, taken: bool
) -> None:
    read = policy.Token.read
    assert policy.may_take_over(read(holder), read(token), take_over) is taken


# Whether an answer with the second order may replace an answer with the first order.
REPLACEMENTS = [
    (None, 0, True),
    (None, 7, True),
    (7, 8, True),
    (7, 7, False),
    (8, 7, False),
]


@each(("current", "order", "may"), REPLACEMENTS)
def test_an_answer_never_replaces_one_that_was_asked_for_later(
    current: int | None, order: int, may: bool
) -> None:
    assert policy.may_replace(current, order) is may


def test_an_entry_from_the_far_future_is_not_served() -> None:
    far = NOW + policy.MAX_TTL + 1
    entry = Entry("x", far, far + 60, far + 60, {"a": "1"})
    assert policy.judge(entry, NOW, policy.MAX_TTL) is Reason.EXPIRED


@each(
    ("finish", "text", "calls", "size", "control", "expected"),
    [
        ("stop", True, False, 10, Control.DEFAULT, None),
        ("length", True, False, 10, Control.DEFAULT, Refusal.FINISH_REASON),
        ("content_filter", True, False, 10, Control.ALWAYS, Refusal.FINISH_REASON),
        (None, True, False, 10, Control.DEFAULT, Refusal.FINISH_REASON),
        ("Stop", True, False, 10, Control.DEFAULT, Refusal.FINISH_REASON),
        ("stop", False, False, 10, Control.DEFAULT, Refusal.EMPTY),
        ("stop", True, False, 101, Control.DEFAULT, Refusal.TOO_LARGE),
        ("tool_calls", False, True, 10, Control.DEFAULT, Refusal.TOOL_CALLS),
        ("tool_calls", False, True, 10, Control.ALWAYS, None),
        ("function_call", False, True, 10, Control.ALWAYS, None),
        ("stop", False, True, 10, Control.ALWAYS, None),
        ("length", False, True, 10, Control.ALWAYS, Refusal.FINISH_REASON),
        ("tool_calls", True, False, 10, Control.ALWAYS, Refusal.EMPTY),
    ],
)
def test_answers_that_are_kept(
    finish: str | None,
    text: bool,
    calls: bool,
    size: int,
    control: Control,
    expected: Refusal | None,
) -> None:
    refusal = policy.refuse(
        finish,
        has_text=text,
        has_tool_calls=calls,
        size=size,
        rules=Rules(max_entry_bytes=100),
        control=control,
    )
    assert refusal is expected


@each(("spread", "expected"), [(-1, 90), (0, 100), (1, 110)])
def test_lifetimes_are_spread_by_a_tenth(spread: float, expected: float) -> None:
    assert policy.lifetime(100, NOW, spread)[0] == pytest.approx(NOW + expected)


def test_a_signed_url_ends_the_life_of_its_answer() -> None:
    assert policy.lifetime(100, NOW, 1, ends_at=NOW + 5)[0] == NOW + 5


@each(
    ("text", "expected"),
    [
        (None, Switch.ON),
        ("on", Switch.ON),
        ("read_only", Switch.READ_ONLY),
        ("off", Switch.OFF),
        ("what a newer version may write", Switch.OFF),
    ],
)
def test_the_switch_fails_safe(text: str | None, expected: Switch) -> None:
    assert Switch.read(text) is expected


def test_a_price_is_per_million_tokens_by_default() -> None:
    assert policy.Price(1, 2).of(1_000_000, 500_000) == 2.0
    assert policy.Price(1, 2, per=1000).of(1000, 500) == 2.0


_REAL = 1_800_000_000.0  # A real clock's, far beyond the longest time to live.


def test_a_clock_that_runs_ahead_a_little_costs_no_hit() -> None:
    stamps = {"a": "1"}
    for ahead in (0, 60, policy.MAX_TTL):
        entry = Entry(
            "x", _REAL + ahead, _REAL + ahead + 60, _REAL + ahead + 60, stamps
        )
        assert policy.judge(entry, _REAL, 60) is Reason.HIT


def test_an_answer_may_be_stale_from_the_moment_it_is_not_fresh() -> None:
    entry = Entry("x", _REAL - 60, _REAL, _REAL + 60, {"a": "1"})
    assert policy.judge(entry, _REAL, 60) is Reason.EXPIRED
    assert policy.may_serve_stale(entry, 60, _REAL, 60)
    assert not policy.may_serve_stale(entry, 60, _REAL + 60, 60)


def test_an_entry_that_may_be_served_stale_is_kept_for_longer() -> None:
    assert policy.lifetime(100, _REAL, 0, stale=50) == (_REAL + 100, _REAL + 150)
    assert policy.lifetime(100, _REAL, 0) == (_REAL + 100, _REAL + 100)
    assert policy.lifetime(100, _REAL, 0, _REAL + 120, 50)[1] == _REAL + 120


@each(
    ("finish", "calls", "size", "control", "data", "expected"),
    [
        ("tool_calls", True, 10, Control.DEFAULT, True, None),
        ("function_call", True, 10, Control.DEFAULT, True, None),
        ("function_call", False, 10, Control.DEFAULT, False, Refusal.TOOL_CALLS),
        ("function_call", False, 10, Control.ALWAYS, False, Refusal.EMPTY),
        ("length", True, 10, Control.DEFAULT, True, Refusal.FINISH_REASON),
        ("stop", False, 100, Control.DEFAULT, False, None),
        ("tool_calls", True, 101, Control.ALWAYS, False, Refusal.TOO_LARGE),
    ],
)
def test_calls_that_are_data_are_kept(
    finish: str,
    calls: bool,
    size: int,
    control: Control,
    data: bool,
    expected: Refusal | None,
) -> None:
    refusal = policy.refuse(
        finish,
        has_text=True,
        has_tool_calls=calls,
        size=size,
        rules=Rules(max_entry_bytes=100),
        control=control,
        calls_are_data=data,
    )
    assert refusal is expected


def test_a_scope_names_the_owner_of_an_answer() -> None:
    whose = {scope: scope.whose(app_id="a", user_id="u") for scope in Scope}
    assert whose == {Scope.SHARED: "", Scope.APP: "a", Scope.USER: "u"}


def test_each_reason_that_may_be_counted_is_of_its_kind() -> None:
    assert {"hit", "stale", "late", "meaning"} == policy.HITS
    assert {"absent", "expired", "invalidated", "corrupt", "refresh"} == policy.MISSES
    assert policy.LENIENT == (Control.DEFAULT, Control.ALWAYS)


def test_absent_rules_cost_nothing_and_allow_nothing_stale() -> None:
    rules = Rules()
    assert rules.price.of(10**6, 10**6) == 0
    assert (rules.stale_while_revalidate, rules.stale_if_error) == (0, 0)
    assert Cost() == Cost(0, 0, 0.0, "USD", 0.0)


def test_the_words_of_requests_and_reports_stay_as_they_are() -> None:
    assert [*Control] == ["default", "bypass", "refresh", "only", "always"]
    assert [*Scope] == ["shared", "app", "user"]
    assert [*Switch] == ["on", "read_only", "off"]
    assert {
        "mode_off",
        "bypass_asked",
        "switched_off",
        "conversation",
        "tools_offered",
        "external_url",
        "temperature",
        "no_scope_id",
        "unkeyable",
        "cache_unavailable",
        "stale",
        "refresh",
    } < {*Reason}
    assert [*Refusal] == [
        "empty",
        "too_large",
        "finish_reason",
        "tool_calls",
        "invalid_output",
        "ended",
        "superseded",
        "cache_unavailable",
    ]
    assert TTL_CLASSES == {"volatile": 300, "faq": 21600, "policy": 86400}
    assert Price().currency == "USD"


@each("life", [1, 2, 3, 60])
def test_an_entry_with_two_halves_is_never_older_than_its_life(life: int) -> None:
    rules = Rules(stale_if_error=99).in_halves(life)
    assert rules.ttl + rules.stale_while_revalidate == max(1, life)
    assert rules.stale_if_error == 0
