"""``match: meaning`` over the real protocol, with vectors of a workspace's model."""

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import pytest

from devhost.host import Host
from tests.fake_upstream import FakeUpstream, Script, delta, finish
from tests.integration.test_plugins_in_the_host import tool
from tests.integration.test_tools_that_call_back import CHOSEN

PROVIDER = CHOSEN["provider"]
VECTORS = {"provider": "p/p/p", "model": "vectors", "model_type": "text-embedding"}
THINGS = [a + b for a, b in product(("red", "blue", "big"), ("box", "lamp", "desk"))]
THINGS += [a + b for a, b in product(("old", "tin", "toy"), ("car", "ship", "bird"))]
THINGS += [a + b for a, b in product(("oak", "day", "sea"), ("bed", "bag", "bell"))]
THINGS += [a + b for a, b in product(("red", "old", "oak"), ("cup", "door", "pen"))]
# With so few comparisons, most answers that may be served are still compared.
OPTIONS = "redis_timeout_ms: 2000, match: meaning, max_wrong: 0.2, compare_percent: 1"


def thing_in(question: str) -> str:
    return next((thing for thing in THINGS if thing in question), "")


def vectors(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    made = [[float(thing in text) for thing in THINGS] for text in request["texts"]]
    usage = {
        **dict.fromkeys(("tokens", "total_tokens"), 1),
        **dict.fromkeys(("unit_price", "price_unit", "total_price"), "0"),
        "currency": "USD",
        "latency": 0,
    }
    yield {"model": "vectors", "embeddings": made, "usage": usage}


type Ask = Callable[[Host, dict[str, str], str], dict[str, Any]]


def llm(host: Host, credentials: dict[str, str], question: str) -> dict[str, Any]:
    given = {"model": CHOSEN, "prompt": question, "meaning_model": VECTORS}
    return tool(host, "cached_llm", credentials, **given)


def value(host: Host, credentials: dict[str, str], question: str) -> dict[str, Any]:
    given = {"key": question, "meaning_model": VECTORS}
    found = tool(host, "cache_lookup", credentials, **given)
    if not found["hit"]:
        made = {"ticket": found["ticket"], "value": f"about {thing_in(question)}"}
        assert tool(host, "cache_store", credentials, **made)["stored"]
    return found


@pytest.mark.parametrize("ask", [llm, value])
def test_a_question_in_other_words_is_answered_once_that_has_proved_right(
    host: Host,
    upstream: FakeUpstream,
    form: dict[str, str],
    cache_fields: dict[str, str],
    ask: Ask,
) -> None:
    host.set_model(PROVIDER, "chosen", form | {"cache_ttl": "off"})
    host.serve("text_embedding", "vectors", vectors)

    def answer(body: dict[str, Any]) -> Script:
        about = f"about {thing_in(body['messages'][-1]['content'])}"
        return Script(events=[delta(content=about), finish(), "[DONE]"])

    upstream.script = answer
    credentials = cache_fields | {"cache_options": OPTIONS}
    reasons = []
    for thing in THINGS:
        ask(host, credentials, f"How do I sell my {thing}?")
        reasons.append(ask(host, credentials, f"how can I sell my {thing}")["reason"])
    # 14 comparisons, all right, open a band at 0.2.
    assert set(reasons[:14]) == {"absent"}
    assert set(reasons[14:]) == {"absent", "meaning"}
    stats = tool(host, "cache_stats", credentials, window="1h")["stats"]
    assert {band["wrong"] for band in stats["bands"]} == {0}
    assert [band["state"] for band in stats["bands"]] == ["serves"]
