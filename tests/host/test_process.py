"""devhost fails where the daemon fails."""

from collections.abc import Callable
from typing import Any

import pytest

from devhost.failures import PluginDied, PluginError
from devhost.process import MAX_LINE, PluginProcess

type Start = Callable[..., PluginProcess]

CALL = {
    "provider": "p",
    "model": "m",
    "model_type": "llm",
    "credentials": {},
    "model_parameters": {},
    "prompt_messages": [{"role": "user", "content": "hi"}],
    "tools": None,
    "stop": None,
    "stream": True,
}
GOOD = (
    'chunk(session, {"model": "m", "delta": {"index": 0, "message":'
    ' {"role": "assistant", "content": CONTENT}, "usage": USAGE, "finish_reason": None}})'
)


def chunk(content: str = '"x"', usage: str = "None") -> str:
    return GOOD.replace("CONTENT", content).replace("USAGE", usage)


def ask(process: PluginProcess, **options: Any) -> list[Any]:
    return list(process.invoke("model", "invoke_llm", CALL, **options))


def content(length: int) -> str:
    return f'"y" * {length}'


def test_a_well_behaved_plugin_is_heard(speaking: Start) -> None:
    (answer,) = ask(speaking(chunk()))
    assert answer["delta"]["message"]["content"] == "x"
    assert answer["prompt_messages"] == []


def test_a_line_over_5_mib_kills_the_process_and_every_session(speaking: Start) -> None:
    process = speaking(chunk(content(MAX_LINE)))
    with pytest.raises(PluginDied, match="over 5 MiB"):
        ask(process)
    with pytest.raises(PluginDied):
        ask(process)


def test_a_line_just_below_5_mib_is_fine(speaking: Start) -> None:
    (answer,) = ask(speaking(chunk(content(MAX_LINE - 1000))))
    assert len(answer["delta"]["message"]["content"]) == MAX_LINE - 1000


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (chunk("None"), "content field is required"),
        (chunk("7"), "must be a string or an array"),
        (chunk(usage='{"prompt_tokens": 1}'), "required field is missing"),
        ('chunk(session, {"model": "", "delta": {}})', "required field is missing"),
        (
            'out({"event": "session", "session_id": session, "data": {"type": "zz", "data": 1}})',
            "zz",
        ),
        ('chunk(session, {"model": "m"})', "required field is missing"),
    ],
    ids=[
        "null content",
        "number as content",
        "half a usage",
        "no model",
        "zz",
        "no delta",
    ],
)
def test_a_chunk_that_the_daemons_types_refuse_ends_the_stream(
    speaking: Start, answer: str, says: str
) -> None:
    with pytest.raises(PluginError, match=says) as raised:
        ask(speaking(answer))
    assert raised.value.error_type in ("unmarshal_error", "unknown_stream_message_type")


def test_a_print_on_stdout_is_logged_and_otherwise_ignored(speaking: Start) -> None:
    process = speaking('print("debugging")\n' + chunk())
    assert len(ask(process)) == 1
    assert any(
        "not JSON on stdout" in line and "debugging" in line for line in process.log
    )


@pytest.mark.parametrize(
    "line",
    [
        *(
            "1",
            "null",
            "[1]",
            '"x"',
            "{}",
            "[" * 5000,
            '{"event": "log"}',
            '{"event": "session"}',
        ),
        *(
            '{"event": "session", "session_id": 7, "data": "x"}',
            '{"event": "error"}',
            "NaN",
        ),
        '{"event": "session", "session_id": "s", "data": {"type": "end"}}',
    ],
    ids=lambda line: line[:30],
)
def test_a_line_of_another_shape_is_dropped_and_everything_goes_on(
    speaking: Start, line: str
) -> None:
    assert len(ask(speaking(f"print({line!r})\n" + chunk()))) == 1


def test_a_print_without_a_line_end_swallows_the_next_message(speaking: Start) -> None:
    process = speaking('print("debugging", end="")\n' + chunk())
    assert ask(process, timeout=5) == []


def test_an_error_of_the_plugin_keeps_its_type(speaking: Start) -> None:
    answer = (
        'out({"event": "session", "session_id": session, "data": {"type": "error", "data":'
        ' {"error_type": "InvokeRateLimitError", "message": "429", "args": {}}}})'
    )
    with pytest.raises(PluginError) as raised:
        ask(speaking(answer))
    assert (raised.value.error_type, raised.value.message) == (
        "InvokeRateLimitError",
        "429",
    )


def test_a_plugin_that_takes_too_long_is_given_up(speaking: Start) -> None:
    with pytest.raises(PluginError, match="killed by timeout"):
        ask(speaking("time.sleep(30)"), timeout=0.2)


def test_a_plugin_without_a_heartbeat_does_not_start(speaking: Start) -> None:
    with pytest.raises(PluginDied, match="did not start"):
        speaking(chunk(), beating=False, heartbeat_limit=0.3)


def test_a_plugin_that_stops_beating_is_killed(speaking: Start) -> None:
    process = speaking(
        "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)", heartbeat_limit=3
    )
    with pytest.raises(PluginDied, match="no heartbeat"):
        ask(process, timeout=20)


def test_the_plugin_gets_what_the_daemons_types_leave_of_a_request(
    speaking: Start,
) -> None:
    echo = (
        'chunk(session, {"model": "m", "delta": {"index": 0, "message": {"role": "assistant",'
        ' "content": json.dumps(request["data"])}}})'
    )
    sent = {
        **CALL,
        "unknown": 1,
        "model_parameters": {"temperature": 1.0, "big": 2**53 + 1},
    }
    (answer,) = speaking(echo).invoke(
        "model", "invoke_llm", sent, user_id="u", app_id="a"
    )
    import json

    got = json.loads(answer["delta"]["message"]["content"])
    assert "unknown" not in got
    assert got["model_parameters"] == {"temperature": 1, "big": 2**53}
    assert isinstance(got["model_parameters"]["temperature"], int)
    assert list(got) == sorted(got)
    assert got["prompt_messages"] == [
        {
            "role": "user",
            "content": "hi",
            "name": "",
            "tool_calls": None,
            "tool_call_id": "",
        }
    ]
    assert (got["user_id"], got["type"], got["action"]) == ("u", "model", "invoke_llm")
