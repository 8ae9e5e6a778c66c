from cachecore.metrics import Counters, Event, Kept, Lookup, Refused, guarded
from cachecore.policy import Reason, Refusal


def test_counters_count_by_kind_and_verdict() -> None:
    counters = Counters()
    for event in (
        Lookup("llm", "m", Reason.HIT),
        Lookup("llm", "m", Reason.HIT),
        Lookup("value", "v", Reason.ABSENT),
        Refused("llm", "m", Refusal.EMPTY),
        Kept("llm", "m", 10),
    ):
        counters(event)
    assert counters.read() == {
        ("lookup", "llm", "hit"): 2,
        ("lookup", "value", "absent"): 1,
        ("refused", "llm", "empty"): 1,
        ("kept", "llm", ""): 1,
    }


def test_a_hook_that_fails_breaks_nothing() -> None:
    def hook(_: Event) -> None:
        raise RuntimeError("a listener's own fault")

    guarded(hook)(Kept("llm", "m", 1))
