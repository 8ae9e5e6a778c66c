"""Stale answers of Cached Model, as set in cache_options."""

import time

import pytest
from dify_plugin.errors.model import InvokeError

from cached_model import caching
from tests.core.helpers import await_threads
from tests.fake_upstream import FakeUpstream, Script, delta, finish
from tests.plugins.helpers import ask, text

# The shortest time to live, and a time beyond it and its jitter.
TTL, PASSED = "1", 1.15


def test_an_outage_is_stood_in_for_and_a_refusal_is_not(
    upstream: FakeUpstream, form: dict[str, str]
) -> None:
    form |= {"cache_ttl": TTL, "cache_options": "stale_if_error_seconds: 60"}
    assert text(ask(form)) == "echo: hi"
    time.sleep(PASSED)
    for status in (503, 429):
        upstream.script = Script(status=status)
        stale = ask(form)
        assert text(stale) == "echo: hi"
        usage = stale[-1].delta.usage
        assert usage is not None
        assert usage.total_price == 0
    for status in (401, 400):
        upstream.script = Script(status=status)
        with pytest.raises(InvokeError):
            ask(form)
    upstream.script = Script(status=503)
    with pytest.raises(InvokeError):
        ask(form, cache_control="ask anew")


@pytest.mark.parametrize("install_method", ["local", "serverless"])
def test_a_stale_answer_is_refreshed_in_the_background_if_that_is_possible(
    upstream: FakeUpstream,
    form: dict[str, str],
    install_method: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("INSTALL_METHOD", install_method)
    form |= {"cache_ttl": TTL, "cache_options": "stale_while_revalidate_seconds: 60"}
    assert text(ask(form)) == "echo: hi"
    time.sleep(PASSED)
    upstream.script = Script(events=[delta(content="new"), finish(), "[DONE]"])
    served = text(ask(form))
    await_threads("cache-refresh")
    assert served == ("new" if install_method == "serverless" else "echo: hi")
    assert upstream.calls == 2
    assert text(ask(form)) == "new"


def test_every_error_of_the_upstream_is_known_by_its_name_in_another_process() -> None:
    for name, kind in caching._ERRORS.items():
        rebuilt = caching._rebuilt(name, "said")
        assert (type(rebuilt), str(rebuilt)) == (kind, "said")
    assert caching._rebuilt("SystemExit", "x") is None
