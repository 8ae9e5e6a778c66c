"""cached_llm and cached_app over a fake session, which can fail as the host does."""

import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from dify_plugin.entities.model.llm import LLMResultChunk, LLMUsage
from dify_plugin.entities.model.message import (
    AssistantPromptMessage,
    ImagePromptMessageContent,
    TextPromptMessageContent,
)

from rag_cache import operating, settings
from rag_cache.caller import Caller
from rag_cache.errors import BadInput, ReverseError
from rag_cache.work import apps, cached
from rag_cache.work.cached import Work
from rag_cache.work.meaning import Models

MODEL = {
    "provider": "a/b/c",
    "model": "gpt",
    "model_type": "llm",
    "mode": "chat",
    "completion_params": {"temperature": 0.3, "stop": ["END"]},
}
WORDS = ("Parcels ", "arrive ", "soon.")
OPTIONS = "work_silence_seconds: 1, work_deadline_seconds: 2"


def chunk(
    index: int, text: str = "", finish: str | None = None, *, usage: bool = False
) -> LLMResultChunk:
    spent = LLMUsage.empty_usage()
    spent.prompt_tokens, spent.completion_tokens, spent.total_tokens = 5, 3, 8
    spent.total_price = spent.total_price + 2
    return LLMResultChunk(
        model="gpt",
        delta={
            "index": index,
            "message": AssistantPromptMessage(content=text),
            "finish_reason": finish,
            "usage": spent if usage else None,
        },
    )


def whole(first: int = 0) -> list[LLMResultChunk]:
    chunks = [chunk(first + n, word) for n, word in enumerate(WORDS)]
    return [*chunks, chunk(first + 3, "", "stop", usage=True)]


def long(first: int, end: int) -> list[LLMResultChunk]:
    """Chunks, more than a queue of the host can have."""
    return [chunk(number, "x") for number in range(first, end)]


END_OF_LONG = chunk(1200, "", "stop", usage=True)


class FakeSession:
    """A fake of the SDK's session: a test scripts it, and it records the requests."""

    def __init__(self) -> None:
        self.script: Callable[[], Iterable[Any]] = whole
        self.asked: list[dict[str, Any]] = []
        llm = SimpleNamespace(invoke=self._llm)
        self.model = SimpleNamespace(llm=llm)
        self.app = SimpleNamespace(chat=SimpleNamespace(invoke=self._app))

    def _llm(
        self, config: Any, messages: Any, *, tools: Any, stop: Any, stream: bool
    ) -> Any:
        said = [message.content for message in messages]
        self.asked.append({"config": config, "messages": said, "stop": stop})
        return self.script()

    def _app(self, app_id: str, query: str, inputs: Any, mode: str) -> Any:
        self.asked.append({"app": app_id, "query": query, "inputs": inputs})
        return self.script()


@pytest.fixture
def session() -> FakeSession:
    return FakeSession()


@pytest.fixture
def caller() -> Caller:
    secret = f"secret-{uuid.uuid4().hex}"
    return Caller({"cache_secret": secret, "cache_options": OPTIONS}, "app-1", "u")


def ask(session: FakeSession, caller: Caller, **parameters: Any) -> tuple[str, Work]:
    given = {"model": MODEL, "prompt": "When?", **parameters}
    asked = cached.model(caller, given, Models.of(session))  # type: ignore[arg-type]
    return "".join(asked.texts()), asked


def run_app(
    session: FakeSession, caller: Caller, **parameters: Any
) -> tuple[str, Work]:
    given = {"app": {"app_id": "app-2"}, "query": "When?", **parameters}
    helpers = Models.of(session)  # type: ignore[arg-type]
    asked = cached.app(caller, given, partial(apps.ask, session), helpers)  # type: ignore[arg-type]
    return "".join(asked.texts()), asked


# --- a model -------------------------------------------------------------------


def test_a_repeated_prompt_is_answered_from_the_cache(
    session: FakeSession, caller: Caller
) -> None:
    text, cold = ask(session, caller)
    again, warm = ask(session, caller)
    assert text == again == "".join(WORDS)
    assert (cold.outcome.hit, warm.outcome.hit) == (False, True)
    assert cold.tokens == {"prompt_tokens": 5, "completion_tokens": 3, "billed": True}
    assert warm.tokens["billed"] is False
    assert len(session.asked) == 1
    assert session.asked[0]["stop"] == ["END"]
    assert session.asked[0]["config"].completion_params == {"temperature": 0.3}


def test_text_comes_before_the_answer_has_ended(
    session: FakeSession, caller: Caller
) -> None:
    go_on = threading.Event()

    def script() -> Iterator[LLMResultChunk]:
        yield chunk(0, "first ")
        assert go_on.wait(5)
        yield chunk(1, "last", "stop", usage=True)

    session.script = script
    asked = cached.model(
        caller,
        {"model": MODEL, "prompt": "x"},
        Models.of(session),  # type: ignore[arg-type]
    )
    texts = asked.texts()
    assert next(texts) == "first "
    go_on.set()
    assert next(texts) == "last"


@pytest.mark.parametrize(
    ("chunks", "why"),
    [
        ([*long(0, 600), *long(601, 1200), END_OF_LONG], "a gap"),
        (whole()[1:], "it begins at 1, and ends well"),
        ([*long(2, 1200), END_OF_LONG], "it begins late"),
        (whole()[:-1], "no end"),
        ([*whole()[:3], chunk(3, "", "stop")], "no usage"),
        ([*whole()[:3], chunk(3, "", usage=True)], "no finish reason"),
        (
            [*(chunk(0, "a") for _ in range(1100)), chunk(0, "", "stop", usage=True)],
            "no numbers, and too many to know",
        ),
        ([*whole()[:3], chunk(3, "", "length", usage=True)], "cut by length"),
        ([chunk(0, "", "stop", usage=True)], "empty"),
    ],
)
def test_an_answer_that_cannot_prove_itself_whole_is_served_and_not_kept(
    session: FakeSession, caller: Caller, chunks: list[LLMResultChunk], why: str
) -> None:
    session.script = lambda: chunks
    text, first = ask(session, caller)
    assert text == "".join(str(c.delta.message.content) for c in chunks)
    _, second = ask(session, caller)
    kept = why == "it begins at 1, and ends well"
    assert second.outcome.hit is kept
    if why != "empty":
        assert first.uncut is kept


def test_difys_error_reaches_the_caller_in_one_sentence(
    session: FakeSession, caller: Caller
) -> None:
    def script() -> Iterator[LLMResultChunk]:
        yield chunk(0, "half ")
        raise RuntimeError("invoke llm model failed: out of credit")

    session.script = script
    with pytest.raises(ReverseError, match=r"model gpt could not be asked: .*credit"):
        ask(session, caller)
    session.script = whole
    assert ask(session, caller)[0] == "".join(WORDS)


def test_the_tokens_of_a_workflow_are_what_a_hit_of_it_saves(
    session: FakeSession, caller: Caller
) -> None:
    *events, end = workflow_events({"text": "On day 3."})
    end["data"]["total_tokens"] = 70
    session.script = lambda: [*events, end]
    for billed in (True, False):
        _, asked = run_app(session, caller)
        assert asked.tokens == {
            "prompt_tokens": 70,
            "completion_tokens": 0,
            "billed": billed,
        }


def test_of_difys_own_refusal_only_the_sentence_is_shown(
    session: FakeSession, caller: Caller
) -> None:
    def refused() -> Iterator[Mapping[str, Any]]:
        reply = '{"code":"invalid_param","message":"missing query","status":400}'
        raise RuntimeError(
            f"invoke app failed: request failed with status code: 400 and respond with: {reply}"
        )
        yield {}

    session.script = refused
    with pytest.raises(ReverseError) as raised:
        run_app(session, caller)
    assert str(raised.value) == "The app could not be asked: missing query"


@pytest.mark.parametrize(
    "text",
    [
        '{"args": {}, "error_type": "InvokeError", "message": "out of credit"}',
        'req_id: 1 PluginInvokeError: {"args": {}, "message": "out of credit"}',
        "out of credit",
    ],
)
def test_an_apps_own_error_is_shown_without_its_report(
    session: FakeSession, caller: Caller, text: str
) -> None:
    session.script = lambda: [{"event": "error", "message": text}]
    with pytest.raises(ReverseError, match=r"^The app failed: out of credit$"):
        run_app(session, caller)


@pytest.mark.parametrize("ends", ["error", "workflow_finished"])
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "from https://m.example/v1?key=SECRET today",
            "from https://m.example/v1?… today",
        ),
        (
            "with url: /v1beta/m:ask?key=SECRET (Caused",
            "with url: /v1beta/m:ask?… (Caused",
        ),
        ("at /p?q='a'&key=SECRET now", "at /p?… now"),
        (r"https:\/\/m.example\/v1?key=SECRET", r"https:\/\/m.example\/v1?…"),
        ("wss://m.example/v1?key=SECRET", "wss://m.example/v1?…"),
        ("to https://user:SECRET@m.example/v1", "to https://…@m.example/v1"),
        ("to redis://user:SEC@RET@host", "to redis://…@host"),
        ("the key sk-proj-SECRET-abcdef is wrong", "the key sk-… is wrong"),
        ("sent Bearer ab+SECRET1/cd== today", "sent Bearer … today"),
        ("sent Basic dXNlcjpw0ZCQ= today", "sent Basic … today"),
        (
            "Invalid bearer authentication scheme",
            "Invalid bearer authentication scheme",
        ),
        ("/a?" + "x" * 1960 + " https://u:SECRET@h", "/a?… https://…@h"),
        ("Why? Because 1/2 is less.", "Why? Because 1/2 is less."),
    ],
)
def test_an_apps_own_error_shows_no_secret(
    session: FakeSession, caller: Caller, ends: str, text: str, shown: str
) -> None:
    error = {"event": "error", "message": text}
    finished = {"event": ends, "data": {"status": "failed", "error": text}}
    session.script = lambda: [error if ends == "error" else finished]
    with pytest.raises(ReverseError) as raised:
        run_app(session, caller)
    assert str(raised.value) == f"The app failed: {shown}"


def test_an_error_that_passed_several_apps_is_shown_once(
    session: FakeSession, caller: Caller
) -> None:
    passed = (
        "An error occurred in the answercache/rag_cache/rag_cache, please contact the "
        "author of answercache/rag_cache/rag_cache for help, error type: ReverseError, "
        "error details: "
    )
    text = f"{passed}The app failed: {passed}The app failed: out of credit"
    session.script = lambda: [{"event": "error", "message": text}]
    with pytest.raises(ReverseError) as raised:
        run_app(session, caller)
    assert str(raised.value).endswith("The app failed: The app failed: out of credit")
    assert "please contact" not in str(raised.value)


def test_an_app_that_waits_for_a_person_is_an_error_with_a_remedy(
    session: FakeSession, caller: Caller
) -> None:
    session.script = lambda: [
        {"event": "workflow_started", "data": {}},
        {"event": "workflow_paused", "data": {"paused_nodes": ["ask"]}},
    ]
    with pytest.raises(ReverseError, match="without a Human Input node"):
        run_app(session, caller)


@pytest.mark.parametrize(
    "question", ["When?", 'He said "hi"', "two\nlines", '"', 'a "b": c']
)
def test_a_question_of_any_text_may_be_the_one_input_of_an_app(
    session: FakeSession, caller: Caller, question: str
) -> None:
    session.script = lambda: workflow_events({"text": "On day 3."})
    run_app(session, caller, inputs=f'{{ "question": "{question}" }}')
    assert session.asked[-1]["inputs"] == {"question": question}


@pytest.mark.parametrize(
    "text", ['{"a": "he said "hi"", "b": "c"}', '{"a": "x"y", "b" : 1}', '{"a": 1 "}']
)
def test_inputs_whose_fields_have_no_clear_end_are_refused(
    session: FakeSession, caller: Caller, text: str
) -> None:
    with pytest.raises(BadInput, match="in a Code node"):
        run_app(session, caller, inputs=text)
    assert session.asked == []


def test_a_caller_that_receives_nothing_delays_nobody(
    session: FakeSession, caller: Caller
) -> None:
    def silent() -> Iterator[LLMResultChunk]:
        yield chunk(0, "half ")
        time.sleep(30)

    session.script = silent
    began = time.monotonic()
    with pytest.raises(ReverseError, match="in time"):
        ask(session, caller)
    assert time.monotonic() - began < 3


def test_a_model_that_dribbles_is_left_at_its_deadline(
    session: FakeSession, caller: Caller
) -> None:
    def slow() -> Iterator[LLMResultChunk]:
        for number in range(100):
            time.sleep(0.1)
            yield chunk(number, "x")

    session.script = slow
    began = time.monotonic()
    with pytest.raises(ReverseError, match="in time"):
        ask(session, caller)
    assert 1.5 < time.monotonic() - began < 4


def test_followers_of_a_caller_that_left_ask_themselves(
    session: FakeSession, caller: Caller
) -> None:
    first = threading.Event()

    def script() -> Iterator[LLMResultChunk]:
        if not first.is_set():
            first.set()
            time.sleep(30)  # its caller has left: no piece is sent
        yield from whole()

    session.script = script
    failed: list[Exception] = []

    def leave() -> None:
        try:
            ask(session, caller)
        except ReverseError as error:
            failed.append(error)

    leader = threading.Thread(target=leave)
    leader.start()
    assert first.wait(5)
    text, _ = ask(session, caller)
    leader.join(10)
    assert text == "".join(WORDS)
    assert len(failed) == 1


@pytest.mark.parametrize(
    "numbers",
    [
        [2, 4, 6, 8],  # the SDK's OpenAI-compatible class, as run
        [2, 4, 8, 10],  # the same with an empty delta left out
        [0, 0, 0, 0],  # OpenAI's plugin
        [0, 0, 0, 1],  # Anthropic's: the number of a content block
        [0, 2, 3],  # Gemini's: the number of a part
        [1, 3, 5, 6],  # the SDK's again; the last text has the finish reason
        [1, 2, 3, 4],
        [3],
    ],
)
def test_answers_numbered_as_plugins_really_do_are_kept(
    session: FakeSession, caller: Caller, numbers: list[int]
) -> None:
    *most, last = numbers
    ending = chunk(last, "end", "stop", usage=True)
    session.script = lambda: [*(chunk(n, "x ") for n in most), ending]
    _, first = ask(session, caller)
    assert first.complete
    assert ask(session, caller)[1].outcome.hit


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("end_turn", True),
        ("STOP", True),
        ("stop_sequence", True),
        ("max_tokens", False),
        ("content_filter", False),
        ("tool_use", False),
        ("whatever", False),
    ],
)
def test_ends_are_understood_as_plugins_spell_them(
    session: FakeSession, caller: Caller, said: str, kept: bool
) -> None:
    session.script = lambda: [chunk(0, "x"), chunk(1, "", said, usage=True)]
    ask(session, caller)
    assert ask(session, caller)[1].outcome.hit is kept


def test_an_answer_that_is_more_than_text_is_not_kept(
    session: FakeSession, caller: Caller
) -> None:
    image = ImagePromptMessageContent(
        url="http://h/i.png", format="png", mime_type="image/png"
    )
    drawn = chunk(0)
    drawn.delta.message.content = [TextPromptMessageContent(data="Here: "), image]
    session.script = lambda: [drawn, chunk(1, "", "stop", usage=True)]
    text, first = ask(session, caller)
    assert (text, first.complete) == ("Here: ", False)
    assert not ask(session, caller)[1].outcome.hit


def test_an_answer_lives_no_longer_than_the_signature_in_it(
    session: FakeSession, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FILES_URL", "http://dify")
    signed = (
        f"http://dify/files/{uuid.uuid4()}/file-preview?timestamp={int(time.time()) - 290}"
        f"&nonce={'0' * 32}&sign={'a' * 43}="
    )
    session.script = lambda: chat_events(signed)
    run_app(session, caller)
    assert run_app(session, caller)[1].outcome.hit
    cache = settings.open_cache(settings.read(caller.credentials))
    now = time.time
    monkeypatch.setattr(cache._lookup, "_clock", lambda: now() + 11)
    assert not run_app(session, caller)[1].outcome.hit


def test_a_long_answer_is_whole_if_it_is_numbered_by_one(
    session: FakeSession, caller: Caller
) -> None:
    session.script = lambda: [
        *(chunk(n, "x") for n in range(2000)),
        chunk(2000, "", "stop", usage=True),
    ]
    ask(session, caller)
    assert ask(session, caller)[1].outcome.hit


@pytest.mark.parametrize(
    "other",
    [
        {"prompt": "Where?"},
        {"system_prompt": "You are terse."},
        {"context_keys": "parcels"},
        {"model": MODEL | {"model": "other"}},
        {"model": MODEL | {"provider": "x/y/z"}},
        {"model": MODEL | {"completion_params": {"temperature": 0.4}}},
        {"model": MODEL | {"completion_params": {"temperature": 0.3}}},  # no stop
        {"cache_tags": "a"},
    ],
)
def test_a_difference_that_can_change_the_answer_is_another_entry(
    session: FakeSession, caller: Caller, other: dict[str, Any]
) -> None:
    ask(session, caller)
    assert not ask(session, caller, **other)[1].outcome.hit


def test_the_temperature_rule_holds_and_always_lifts_it(
    session: FakeSession, caller: Caller
) -> None:
    hot = MODEL | {"completion_params": {"temperature": 1.5}}
    for _ in range(2):
        assert ask(session, caller, model=hot)[1].outcome.reason == "temperature"
    ask(session, caller, model=hot, cache_control="always")
    assert ask(session, caller, model=hot, cache_control="always")[1].outcome.hit


def test_only_on_a_miss_is_a_result_and_asks_nobody(
    session: FakeSession, caller: Caller
) -> None:
    text, asked = ask(session, caller, cache_control="only")
    assert (text, asked.outcome.hit, asked.outcome.reason) == ("", False, "absent")
    assert asked.missing
    assert session.asked == []


def test_a_model_is_invalidated_by_its_name(
    session: FakeSession, caller: Caller
) -> None:
    ask(session, caller)
    operating.invalidate(caller, {"target": "model", "name": "gpt"})
    assert ask(session, caller)[1].outcome.reason == "invalidated"


def test_with_the_redis_down_the_work_is_done(
    session: FakeSession, caller: Caller
) -> None:
    credentials = {**caller.credentials, "redis_url": "redis://127.0.0.1:9"}
    away = Caller(credentials | {"cache_namespace": "n"})
    text, asked = ask(session, away)
    assert (text, asked.outcome.reason) == ("".join(WORDS), "cache_unavailable")


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"model": None}, "model"),
        ({"model": "gpt"}, "model"),
        ({"model": {"name": "gpt"}}, "model"),
        ({"prompt": ""}, "prompt"),
        ({"cache_control": "x"}, "cache_control"),
    ],
)
def test_a_bad_parameter_of_a_model_is_one_sentence(
    session: FakeSession, caller: Caller, parameters: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadInput, match=said):
        ask(session, caller, **parameters)


# --- an app ----------------------------------------------------------------------


def chat_events(*answers: str, end: bool = True) -> list[Mapping[str, Any]]:
    events: list[Mapping[str, Any]] = [
        {"event": "message", "answer": answer} for answer in answers
    ]
    usage = {"prompt_tokens": 4, "completion_tokens": 2, "total_price": "0.5"}
    ending = {"event": "message_end", "metadata": {"usage": usage}}
    return [*events, ending] if end else events


def workflow_events(
    outputs: Mapping[str, Any], *texts: str, status: str = "succeeded"
) -> list[Mapping[str, Any]]:
    return [
        {"event": "workflow_started", "data": {}},
        *({"event": "text_chunk", "data": {"text": text}} for text in texts),
        {
            "event": "workflow_finished",
            "data": {"status": status, "outputs": outputs, "error": "node failed"},
        },
    ]


@pytest.mark.parametrize(
    ("events", "text", "outputs"),
    [
        (chat_events("On ", "day 3."), "On day 3.", {}),
        (
            workflow_events({"text": "On day 3."}, "On ", "day 3."),
            "On day 3.",
            {"text": "On day 3."},
        ),
        (workflow_events({"text": "On day 3."}), "On day 3.", {"text": "On day 3."}),
        (workflow_events({"a": 1, "b": [2]}), '{"a":1,"b":[2]}', {"a": 1, "b": [2]}),
    ],
)
def test_an_apps_answer_is_kept_with_its_outputs(
    session: FakeSession, caller: Caller, events: Any, text: str, outputs: Any
) -> None:
    session.script = lambda: events
    for hit in (False, True):
        said, asked = run_app(session, caller)
        assert (said, asked.outcome.hit) == (text, hit)
        assert (asked.data or {}).get("outputs", {}) == outputs
        assert asked.complete
    assert len(session.asked) == 1


@pytest.mark.parametrize(
    "events",
    [
        chat_events("On day", end=False),
        [
            *chat_events("bad", end=False),
            {"event": "message_replace", "answer": "ok"},
            *chat_events(),
        ],
        workflow_events({"text": "x"}, "x", status="partial-succeeded"),
        workflow_events({"text": "x"}, "x", status="paused"),
        chat_events(*["x"] * 1100),
        [
            {
                "event": "node_finished",
                "data": {"outputs": {"text": "On", "finish_reason": "length"}},
            },
            *workflow_events({"text": "On"}, "On"),
        ],
        [
            {"event": "message", "answer": "Sorry."},
            {
                "event": "workflow_finished",
                "data": {
                    "status": "partial-succeeded",
                    "outputs": {"answer": "Sorry."},
                },
            },
            *chat_events(),
        ],
        chat_events(),
    ],
)
def test_an_app_that_cannot_prove_its_answer_whole_is_served_and_not_kept(
    session: FakeSession, caller: Caller, events: Any
) -> None:
    session.script = lambda: events
    run_app(session, caller)
    run_app(session, caller)
    assert len(session.asked) == 2


def test_a_long_answer_that_the_end_repeats_is_whole(
    session: FakeSession, caller: Caller
) -> None:
    answer = "x" * 1100
    session.script = lambda: [
        *chat_events(*answer),
        *workflow_events({"answer": answer}),
    ]
    run_app(session, caller)
    assert run_app(session, caller)[1].outcome.hit
    session.script = lambda: [
        *chat_events(*answer[1:]),
        *workflow_events({"answer": answer}),
    ]
    run_app(session, caller, query="with a chunk lost")
    assert not run_app(session, caller, query="with a chunk lost")[1].outcome.hit


FAILED_PARTS = [
    {"event": "node_finished", "data": {"status": "failed", "outputs": None}},
    {"event": "node_finished", "data": {"status": "exception"}},
    {
        "event": "agent_thought",
        "observation": '{"cached_search": "tool invoke error: no such base"}',
    },
    {
        "event": "agent_log",
        "data": {"data": {"output": {"tool_response": "unknown error: refused"}}},
    },
    {"event": "agent_log", "data": {"data": {"output": "there is not a tool named x"}}},
    {"event": "agent_thought", "observation": '{"a": "line\\ntool invoke error: x"}'},
]


@pytest.mark.parametrize("failed", FAILED_PARTS, ids=str)
def test_an_app_that_succeeds_after_a_part_failed_is_served_and_not_kept(
    session: FakeSession, caller: Caller, failed: Any
) -> None:
    session.script = lambda: [failed, *chat_events("I could not look it up.")]
    said, asked = run_app(session, caller)
    assert said == "I could not look it up."
    assert not asked.complete
    session.script = lambda: chat_events("It takes six days.")
    assert run_app(session, caller)[0] == "It takes six days."


def test_a_tool_of_an_agent_that_worked_is_no_reason_not_to_keep(
    session: FakeSession, caller: Caller
) -> None:
    good = {"event": "agent_thought", "observation": '{"search": "It takes six days."}'}
    log = {"event": "agent_log", "data": {"data": {"output": {"tool_response": "six"}}}}
    session.script = lambda: [good, log, *chat_events("Six days.")]
    run_app(session, caller)
    assert run_app(session, caller)[1].outcome.hit


@pytest.mark.parametrize(
    "events",
    [
        [{"event": "error", "code": "provider_quota", "message": "no quota"}],
        workflow_events({}, status="failed"),
        workflow_events({}, status="stopped"),
    ],
)
def test_an_app_that_fails_is_an_error_and_nothing_is_kept(
    session: FakeSession, caller: Caller, events: Any
) -> None:
    session.script = lambda: events
    with pytest.raises(ReverseError, match="The app failed: "):
        run_app(session, caller)
    session.script = lambda: chat_events("fine")
    assert run_app(session, caller)[0] == "fine"


def test_query_and_inputs_tell_answers_apart(
    session: FakeSession, caller: Caller
) -> None:
    session.script = lambda: chat_events("x")
    run_app(session, caller, inputs={"a": 1})
    assert run_app(session, caller, inputs='{"a": 1}')[1].outcome.hit
    for other in ({"inputs": {"a": 2}}, {"query": "Where?"}, {"context_keys": "c"}):
        assert not run_app(session, caller, **{"inputs": {"a": 1}, **other})[
            1
        ].outcome.hit


def test_invalidating_an_app_drops_its_answers(
    session: FakeSession, caller: Caller
) -> None:
    session.script = lambda: chat_events("x")
    run_app(session, caller)
    operating.invalidate(caller, {"target": "app", "name": "app-2"})
    assert run_app(session, caller)[1].outcome.reason == "invalidated"


def test_an_app_does_not_call_itself(session: FakeSession, caller: Caller) -> None:
    with pytest.raises(BadInput, match="call itself"):
        run_app(session, caller, app={"app_id": caller.app_id})


@pytest.mark.parametrize("mode", ["6 hours", "off"])
def test_an_app_does_not_call_itself_through_others(
    session: FakeSession, caller: Caller, mode: str
) -> None:
    """a -> b -> c -> a, with another query each time, as Dify would run them."""
    credentials = {**caller.credentials, "cache_ttl": mode}
    user = uuid.uuid4().hex
    calls = {"a": "b", "b": "c", "c": "a"}

    def inside(app_id: str) -> Iterator[Mapping[str, Any]]:
        one = Caller(credentials, app_id, user)
        target = calls[app_id]
        session.script = lambda: inside(target)
        text, _ = run_app(session, one, app={"app_id": target}, query=uuid.uuid4().hex)
        yield from chat_events(text)

    with pytest.raises(ReverseError, match="calling itself"):
        list(inside("a"))
    assert len(session.asked) == 2


def test_one_run_after_the_other_is_no_circle(
    session: FakeSession, caller: Caller
) -> None:
    session.script = lambda: chat_events("x")
    user = uuid.uuid4().hex
    for one, other in (
        ("a", "b"),
        ("b", "a"),
        ("b", "c"),
        ("c", "d"),
        ("d", "e"),
        ("e", "f"),
    ):
        by = Caller(caller.credentials, one, user)
        run_app(session, by, app={"app_id": other}, query=uuid.uuid4().hex)
    assert len(session.asked) == 6


def test_an_app_that_would_follow_its_own_answer_is_refused(
    session: FakeSession, caller: Caller
) -> None:
    """a asks b; b shows a part, and asks c, which asks b the same."""
    user = uuid.uuid4().hex

    def by(app_id: str) -> Caller:
        return Caller(caller.credentials, app_id, user)

    def inside_b() -> Iterator[Mapping[str, Any]]:
        yield {"event": "message", "answer": "Let me see. "}
        session.script = inside_c
        text, _ = run_app(session, by("b"), app={"app_id": "c"}, query="same")
        yield from chat_events(text)

    def inside_c() -> Iterator[Mapping[str, Any]]:
        text, _ = run_app(session, by("c"), app={"app_id": "b"}, query="same")
        yield from chat_events(text)

    session.script = inside_b
    with pytest.raises(ReverseError, match="calling itself"):
        run_app(session, by("a"), app={"app_id": "b"}, query="same")
    assert len(session.asked) == 2


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"app": None}, "app"),
        ({"app": "app-2"}, "app"),
        ({"inputs": "{"}, "inputs"),
        ({"inputs": [1]}, "inputs"),
    ],
)
def test_a_bad_parameter_of_an_app_is_one_sentence(
    session: FakeSession, caller: Caller, parameters: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadInput, match=said):
        run_app(session, caller, **parameters)


def test_an_answer_that_lost_its_end_in_a_full_queue_is_an_error(
    session: FakeSession, caller: Caller
) -> None:
    session.script = lambda: [chunk(number, "x") for number in range(1100)]
    with pytest.raises(ReverseError, match="lost parts on its way through Dify"):
        ask(session, caller)


def test_fields_filled_in_at_the_app_selector_reach_the_app_and_the_key(
    session: FakeSession, caller: Caller
) -> None:
    session.script = lambda: chat_events("Yes.")

    def chosen(city: str) -> dict[str, Any]:
        return {"app_id": "app-2", "inputs": {"city": city, "lang": "en"}, "files": []}

    run_app(session, caller, app=chosen("Oslo"))
    run_app(session, caller, app=chosen("Bergen"))
    run_app(session, caller, app=chosen("Oslo"), inputs='{"lang": "no"}')
    asked_inputs = [asked["inputs"] for asked in session.asked]
    assert asked_inputs == [
        {"city": "Oslo", "lang": "en"},
        {"city": "Bergen", "lang": "en"},
        {"city": "Oslo", "lang": "no"},
    ]
