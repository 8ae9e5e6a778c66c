"""Callers of a plugin process, each in a thread of its own."""

import threading
import time
from collections.abc import Callable
from typing import Any

from devhost.failures import PluginDied, PluginError
from devhost.host import Host
from tests.fake_upstream import FakeUpstream
from tests.llm_request import llm_request

PLUGIN = "answercache/cached_model"
WORDS = [f"word{number} " for number in range(12)]
ANSWER = "".join(WORDS)


class Caller:
    """One question in progress, and the time at which each word arrived."""

    def __init__(
        self,
        host: Host,
        form: dict[str, str],
        question: str = "the same question",
        **changes: Any,
    ) -> None:
        self.words: list[str] = []
        self.times: list[float] = []
        self.error: Exception | None = None
        self.first = threading.Event()
        exact = {"model_parameters": {"temperature": 0}, **changes}
        request = llm_request(form, question, **exact)
        process = host.plugin(PLUGIN).process

        def run() -> None:
            try:
                for chunk in process.invoke("model", "invoke_llm", request, timeout=60):
                    self.times.append(time.perf_counter())
                    self.words.append(chunk["delta"]["message"]["content"])
                    self.first.set()
            except (PluginError, PluginDied) as error:
                self.error = error

        self._thread = threading.Thread(target=run)
        self._thread.start()

    def text(self) -> str:
        self._thread.join(60)
        assert not self._thread.is_alive(), "a caller hangs"
        return "".join(self.words)


def until(true: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def lead_and_follow(
    hosts: tuple[Host, Host],
    upstream: FakeUpstream,
    form: dict[str, str],
    count: int = 5,
) -> tuple[Caller, list[Caller]]:
    """A load led by the first process, with followers in the second."""
    before = upstream.calls
    leader = Caller(hosts[0], form)
    until(lambda: upstream.calls == before + 1)
    return leader, [Caller(hosts[1], form) for _ in range(count)]


STAGES = {
    "before the first word": lambda leader, followers: None,
    "after the first word": lambda leader, followers: followers[0].first.wait(20),
    "in the middle": lambda leader, followers: until(
        lambda: len("".join(followers[0].words)) > len(ANSWER) / 2
    ),
    "at the last word": lambda leader, followers: until(
        lambda: "".join(leader.words) == ANSWER
    ),
}
