"""scripts/warm: questions and answers put into the cache, through the running plugin."""

import concurrent.futures
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from answer_warm import __main__ as warm
from devhost.host import Host
from tests.fake_upstream import FakeUpstream
from tests.integration.test_gateway import CHAT, FakeWorkspace
from tests.integration.test_plugins_in_the_host import ask, text, tool
from tests.ops.conftest import TOKEN
from tests.ops.fake_dify_app import KEY, FakeDifyApp, fake_dify_app

CSV = "question,answer\nWhen do you open?,At 9.\nDo you ship?,Yes.\n"


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TOKEN", TOKEN)
    monkeypatch.setenv("APP_KEY", KEY)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def app() -> Iterator[FakeDifyApp]:
    with fake_dify_app() as started:
        yield started


@pytest.fixture
def tools(fields: dict[str, str]) -> dict[str, str]:
    return {**fields, "cache_options": "redis_timeout_ms: 2000"}


def file(name: str, content: str) -> str:
    Path(name).write_text(content, encoding="utf-8")
    return name


def store(url: str, rows: str, *more: str) -> int:
    return warm.main(
        ["store", "--to", url, "--key-env", "TOKEN", "--rows", rows, *more]
    )


def found(host: Host, tools: dict[str, str], key: str, **more: str) -> Any:
    said = tool(host, "cache_lookup", tools, key=key, **more)
    return said["value"] if said["hit"] else None


# --- answers that people wrote ------------------------------------------------


def test_answers_of_a_table_are_found_by_cache_lookup(
    host: Host, hook: Callable[..., str], tools: dict[str, str]
) -> None:
    rows = file("faq.csv", CSV)
    assert store(hook(), rows, "--name", "faq", "--cache-tags", "shop") == 0
    named = {"name": "faq", "cache_tags": "shop"}
    assert found(host, tools, "When do you open?", **named) == "At 9."
    assert found(host, tools, "Do you ship?", **named) == "Yes."
    assert found(host, tools, "Do you ship?") is None
    tool(host, "cache_invalidate", tools, target="tag", name="shop")
    assert found(host, tools, "Do you ship?", **named) is None


def test_an_object_in_json_lines_keeps_its_type(
    host: Host, hook: Callable[..., str], tools: dict[str, str]
) -> None:
    rows = file("faq.jsonl", json.dumps({"question": "q", "answer": {"a": [1, 2]}}))
    assert store(hook(), rows) == 0
    said = tool(host, "cache_lookup", tools, key="q")
    assert said["value_object"] == {"a": [1, 2]}


def test_finished_rows_are_skipped_and_changed_rows_are_not(
    hook: Callable[..., str],
    host: Host,
    tools: dict[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    url = hook()
    assert store(url, file("faq.csv", CSV)) == 0
    assert store(url, file("faq.csv", CSV.replace("Yes.", "No."))) == 0
    assert "1 done, 1 done before" in capsys.readouterr().err
    assert found(host, tools, "Do you ship?") == "No."
    assert store(url, "faq.csv", "--again") == 0
    assert "2 done, 0 done before" in capsys.readouterr().err


def test_bad_rows_are_listed_with_their_line_and_skipped(
    hook: Callable[..., str],
    host: Host,
    tools: dict[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = "question,answer\n,At 9.\nDo you ship?,\na,b,c\nWhen?,At 9.\nalone\n"
    lines = 'no json\n[1]\n{"question": 3, "answer": "x"}\n\n{"question": "Why?", "answer": "So."}\n'
    assert store(hook(), file("faq.csv", table)) == 1
    said = capsys.readouterr().out
    assert said.splitlines() == [
        "line 2: has no text under 'question'",
        "line 3: has nothing under 'answer'",
        "line 4: has not 2 cells, as the header has",
        "line 6: has not 2 cells, as the header has",
    ]
    assert store(hook(), file("faq.jsonl", lines)) == 1
    assert capsys.readouterr().out.splitlines() == [
        "line 1: is not a JSON object",
        "line 2: is not a JSON object",
        "line 3: has no text under 'question'",
    ]
    assert found(host, tools, "When?") == "At 9."
    assert found(host, tools, "Why?") == "So."


def test_an_answer_that_is_changed_back_is_stored_again(
    hook: Callable[..., str], host: Host, tools: dict[str, str]
) -> None:
    url = hook()
    for answer in ("Yes.", "No.", "Yes."):
        assert store(url, file("faq.csv", CSV.replace("Yes.", answer))) == 0
        assert found(host, tools, "Do you ship?") == answer


def test_a_question_with_two_answers_is_a_fault(
    hook: Callable[..., str],
    host: Host,
    tools: dict[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = file("faq.csv", CSV + "Do you ship?,No.\nDo you ship?,Yes.\n")
    assert store(hook(), rows) == 1
    said = capsys.readouterr().out
    assert said == "line 4: has another answer than an earlier row\n"
    assert found(host, tools, "Do you ship?") == "Yes."


def test_one_row_that_is_refused_takes_no_other_with_it(
    hook: Callable[..., str],
    host: Host,
    tools: dict[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = [f'{{"question": "q{n}", "answer": "a{n}"}}' for n in range(150)]
    lines[7] = '{"question": "q7", "answer": NaN}'
    lines[8] = '{"question": "q8", "answer": "\\ud800"}'
    assert store(hook(), file("faq.jsonl", "\n".join(lines))) == 1
    said = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in said] == ["line 8", "line 9"]
    assert found(host, tools, "q149") == "a149"


def test_a_list_of_what_is_done_deletes_no_other_file(
    capsys: pytest.CaptureFixture[str],
) -> None:
    mine = file("mine.csv", CSV)
    calls = store("http://127.0.0.1:9", mine, "--again", "--progress", mine)
    assert calls == 2
    assert "is no list of rows that are done" in capsys.readouterr().err
    assert Path(mine).read_text() == CSV


@pytest.mark.parametrize("place", [".", "no/folder/done"])
def test_a_row_that_cannot_be_noted_is_not_begun(
    place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = file("faq.csv", CSV)
    assert store("http://127.0.0.1:9", rows, "--progress", place) == 2
    assert "can't be written" in capsys.readouterr().err


def test_no_secret_is_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    rows = file("faq.csv", CSV)
    for to, env in (
        ("http://h/e", "app-hunter2"),
        ("http://bob:hunter2@127.0.0.1:9/e", "TOKEN"),
    ):
        call = ["store", "--rows", rows, "--to", to, "--key-env", env]
        assert warm.main(call) == 2
    export = ["export", "--redis-env", "redis://:hunter2@h", "--namespace", "a"]
    assert warm.main([*export, "--file", "e"]) == 2
    said = capsys.readouterr()
    assert "hunter2" not in said.out + said.err
    assert len(said.err.splitlines()) == 3


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("faq.csv", "q,a\n1,2\n", "has no column 'question'; it has 'q', 'a'."),
        ("faq.csv", "", "has no column 'question'; it has none."),
        ("faq.txt", CSV, "is neither .csv, .tsv nor .jsonl"),
        ("faq.csv", 'question,answer\n"a,b\n', "is not a table"),
    ],
)
def test_a_file_that_is_of_no_use_is_one_sentence(
    name: str, content: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert store("http://127.0.0.1:9", file(name, content)) == 2
    assert sentence in capsys.readouterr().err


def test_a_wrong_token_stops_all_and_loses_nothing(
    hook: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url, rows = hook(), file("faq.csv", CSV)
    monkeypatch.setenv("TOKEN", "another")
    assert store(url, rows) == 2
    said = capsys.readouterr()
    assert "check the key" in said.err
    assert "another" not in said.err + said.out
    monkeypatch.setenv("TOKEN", TOKEN)
    assert store(url, rows) == 0
    assert "2 done, 0 done before" in capsys.readouterr().err


def test_an_empty_variable_and_a_wrong_address_are_one_sentence_each(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = file("faq.csv", CSV)
    assert store("dify.example", rows) == 2
    assert "is no address" in capsys.readouterr().err
    monkeypatch.setenv("TOKEN", "")
    assert store("http://127.0.0.1:9", rows) == 2
    assert "must name an environment variable" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "The parameter items must be a list of 1 to 200 objects"),
        ({"items": [{"key": "a", "value": "b"}] * 201}, "1 to 200 objects"),
        (
            {"items": [{"key": "a", "value": "b"}], "cache_ttl": "soon"},
            "(cache_ttl) must be as in",
        ),
    ],
)
def test_the_endpoint_says_what_is_wrong_in_one_sentence(
    hook: Callable[..., str], body: Any, said: str
) -> None:
    from answer_warm.http import Api, Failed

    with pytest.raises(Failed) as raised:
        Api(hook(), TOKEN).post("/store", body)
    assert said in str(raised.value)


def test_an_item_that_is_none_is_refused_alone(
    hook: Callable[..., str], host: Host, tools: dict[str, str]
) -> None:
    from answer_warm.http import Api

    items = [{"key": "", "value": "x"}, {"key": "a"}, {"key": "b", "value": "x"}, 3]
    said = Api(hook(), TOKEN).post("/store", {"items": items})
    assert said == {
        "stored": 1,
        "refused": [
            {"item": 0, "reason": "no_key"},
            {"item": 1, "reason": "empty"},
            {"item": 3, "reason": "no_key"},
        ],
    }


def test_answers_that_belong_to_an_app_name_it(
    hook: Callable[..., str], host: Host, tools: dict[str, str]
) -> None:
    from answer_warm.http import Api

    url, item = hook(cache_scope="app"), {"items": [{"key": "a", "value": "b"}]}
    said = Api(url, TOKEN).post("/store", item)
    assert said["refused"] == [{"item": 0, "reason": "no_scope_id"}]
    assert Api(url, TOKEN).post("/store", {**item, "app_id": "shop"})["stored"] == 1


# --- questions that are asked ---------------------------------------------------


def test_a_model_behind_the_gateway_is_asked_once_a_question(
    host: Host, hook: Callable[..., str]
) -> None:
    workspace = FakeWorkspace(host)
    url, rows = hook(chat_model_1=CHAT) + "/v1", file("faq.csv", CSV)  # type: ignore[arg-type]
    again = ["ask", "--to", url, "--key-env", "TOKEN", "--rows", rows, "--again"]
    for _ in range(2):
        assert warm.main([*again, "--model", "wise"]) == 0
        assert len(workspace.asked) == 2


@pytest.mark.parametrize("mode", ["chat", "advanced-chat", "agent-chat"])
def test_a_chat_app_is_asked_as_its_users_ask_it(app: FakeDifyApp, mode: str) -> None:
    app.mode, app.busy = mode, 1
    rows = file("faq.csv", "question,city\nWhen?,Oslo\n")
    call = ["ask", "--to", app.url, "--key-env", "APP_KEY", "--rows", rows]
    assert warm.main([*call, "--inputs", "city"]) == 0
    ((path, body),) = app.posts
    assert path == "/chat-messages"
    assert (body["query"], body["inputs"]) == ("When?", {"city": "Oslo"})


def test_a_workflow_is_asked_through_its_variable_and_failures_are_listed(
    app: FakeDifyApp, capsys: pytest.CaptureFixture[str]
) -> None:
    app.mode = "workflow"
    rows = file("faq.csv", CSV)
    call = ["ask", "--to", app.url, "--key-env", "APP_KEY", "--rows", rows]
    assert warm.main(call) == 2
    assert "Name the workflow's variable" in capsys.readouterr().err
    app.fails["Do you ship?"] = "the model is away"
    assert warm.main([*call, "--input", "q"]) == 1
    assert "line 3: the workflow failed: the model is away" in capsys.readouterr().out
    app.fails.clear()
    app.posts.clear()
    assert warm.main([*call, "--input", "q"]) == 0
    assert [body["inputs"] for _, body in app.posts] == [{"q": "Do you ship?"}]


@pytest.mark.parametrize("how", ["cut", "quota exceeded"])
def test_an_answer_that_is_not_whole_is_a_failure(
    app: FakeDifyApp, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    app.fails["When do you open?"] = how
    rows = file("faq.csv", CSV)
    assert (
        warm.main(["ask", "--to", app.url, "--key-env", "APP_KEY", "--rows", rows]) == 1
    )
    assert "line 2: the app" in capsys.readouterr().out


def test_it_stops_where_all_fails(
    app: FakeDifyApp, capsys: pytest.CaptureFixture[str]
) -> None:
    questions = [f"q{number}" for number in range(100)]
    app.fails = dict.fromkeys(questions, "quota exceeded")
    rows = file("faq.csv", "question\n" + "\n".join(questions))
    call = ["ask", "--to", app.url, "--key-env", "APP_KEY", "--rows", rows]
    assert warm.main([*call, "--at-once", "2"]) == 2
    assert "requests failed one after another" in capsys.readouterr().err
    assert len(app.posts) < 40


def test_two_apps_at_one_address_are_warmed_both(
    app: FakeDifyApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = file("faq.csv", CSV)
    call = ["ask", "--to", app.url, "--key-env", "APP_KEY", "--rows", rows]
    assert warm.main(call) == 0
    app.key = "another-app"
    monkeypatch.setenv("APP_KEY", app.key)
    assert warm.main(call) == 0
    assert len(app.posts) == 4


def test_an_app_that_may_have_begun_is_not_asked_again(
    app: FakeDifyApp, capsys: pytest.CaptureFixture[str]
) -> None:
    app.breaks.add("When do you open?")
    rows = file("faq.csv", CSV)
    call = ["ask", "--to", app.url, "--key-env", "APP_KEY", "--rows", rows]
    assert warm.main(call) == 1
    assert "broke the connection off" in capsys.readouterr().out
    assert len(app.posts) == 2


def test_rows_in_progress_at_an_interruption_are_done(
    app: FakeDifyApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = file("faq.csv", CSV)
    call = ["ask", "--to", app.url, "--key-env", "APP_KEY", "--rows", rows]
    with monkeypatch.context() as patch:
        patch.setattr("answer_warm.run.wait", interrupted(app))
        assert warm.main(call) == 2
    assert len(app.posts) > 0
    assert warm.main(call) == 0
    assert len(app.posts) == len(CSV.splitlines()) - 1


def interrupted(app: FakeDifyApp) -> Callable[..., Any]:
    """A ``wait`` whose first call is interrupted after a question has been asked."""
    calls: list[int] = []

    def wait(futures: Any, *more: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            while not app.posts:
                threading.Event().wait(0.01)
            raise KeyboardInterrupt
        return concurrent.futures.wait(futures, *more, **named)

    return wait


# --- questions that Dify has ----------------------------------------------------


def test_annotations_become_answers_of_cache_lookup(
    app: FakeDifyApp, host: Host, hook: Callable[..., str], tools: dict[str, str]
) -> None:
    app.annotations = [
        {"id": str(n), "question": f"q{n}", "answer": f"a{n}"} for n in range(5)
    ]
    call = ["store", "--to", hook(), "--key-env", "TOKEN", "--annotations", app.url]
    assert warm.main([*call, "--source-key-env", "APP_KEY"]) == 0
    assert [found(host, tools, f"q{n}") for n in range(5)] == [
        f"a{n}" for n in range(5)
    ]


def test_the_runs_of_a_workflow_are_asked_again(app: FakeDifyApp) -> None:
    app.mode = "workflow"
    for n in range(3):
        given = {"question": f"q{n}", "city": "Oslo"}
        inputs = json.dumps(given) if n else given
        app.runs[str(n)] = {"id": str(n), "inputs": inputs, "outputs": {"text": "a"}}
    call = ["ask", "--to", app.url, "--key-env", "APP_KEY", "--logs", app.url]
    assert warm.main([*call, "--input", "question", "--inputs", "city"]) == 0
    asked = sorted(body["inputs"]["question"] for _, body in app.posts)
    assert asked == ["q0", "q1", "q2"]
    assert {body["inputs"]["city"] for _, body in app.posts} == {"Oslo"}


def test_of_conversations_only_the_first_turn_is_asked(app: FakeDifyApp) -> None:
    for n in range(3):
        app.conversations[f"c{n}"] = [
            {"id": f"{n}{turn}", "query": f"q{n}{turn}", "answer": "a", "inputs": {}}
            for turn in range(5)
        ]
    call = ["ask", "--to", app.url, "--key-env", "APP_KEY", "--logs", app.url]
    assert warm.main([*call, "--of-user", "ann"]) == 0
    assert sorted(body["query"] for _, body in app.posts) == ["q00", "q10", "q20"]


# --- from one Redis to another --------------------------------------------------


@pytest.fixture
def other_redis(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    other = urlsplit(redis_url)._replace(path="/7").geturl()
    monkeypatch.setenv("OLD", redis_url)
    monkeypatch.setenv("NEW", other)
    return other


def moved(fields: dict[str, str], *commands: str) -> list[int]:
    calls = {
        "export": ["OLD", "--namespace", fields["cache_namespace"]],
        "import": ["NEW"],
    }
    return [
        warm.main([command, "--file", "e.jsonl", "--redis-env", *calls[command]])
        for command in commands
    ]


def test_entries_move_to_another_redis_sealed_as_they_are(
    host: Host, upstream: FakeUpstream, form: dict[str, str], other_redis: str
) -> None:
    sealed = {**form, "cache_secret": "a-long-random-secret"}
    answers = [text(ask(host, sealed, question)) for question in ("one", "two")]
    assert moved(form, "export", "import", "import") == [0, 0, 0]
    content = Path("e.jsonl").read_text()
    assert Path("e.jsonl").stat().st_mode & 0o077 == 0
    assert "echo" not in content
    assert "ticket" not in content
    there = {**sealed, "redis_url": other_redis}
    assert [text(ask(host, there, question)) for question in ("one", "two")] == answers
    assert upstream.calls == 2


def test_an_invalidated_entry_stays_invalidated_after_an_import(
    host: Host,
    upstream: FakeUpstream,
    form: dict[str, str],
    other_redis: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tags = {"model_parameters": {"cache_tags": "shop"}}
    ask(host, form, "one", **tags)
    assert moved(form, "export") == [0]
    fields = {**form, "cache_options": "redis_timeout_ms: 2000"}
    del fields["endpoint_url"], fields["context_size"]
    tool(host, "cache_invalidate", fields, target="tag", name="shop")
    monkeypatch.setenv("NEW", form["redis_url"])
    assert moved(form, "import") == [0]
    assert "1 tags have another stamp" in capsys.readouterr().out
    ask(host, form, "one", **tags)
    assert upstream.calls == 2


def test_lines_that_are_no_entries_are_listed_and_skipped(
    host: Host,
    form: dict[str, str],
    other_redis: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ask(host, form, "one")
    assert moved(form, "export") == [0]
    head, stamps, entry = Path("e.jsonl").read_text().splitlines()
    good = json.loads(entry)
    bad = [
        "no json",
        json.dumps({**good, "key": "dify:cache:v1:another:llm:{00}"}),
        json.dumps({**good, "value": "***"}),
        json.dumps({**good, "ends_at": None}),
        json.dumps({**good, "ends_at": float("nan")}),
        json.dumps({**good, "ends_at": 1e300}),
        json.dumps({**good, "value": "AAAA"}),
        json.dumps({**good, "ends_at": 1}),
    ]
    Path("e.jsonl").write_text("\n".join([head, stamps, *bad, entry]))
    assert moved(form, "import") == [1]
    said = capsys.readouterr().out
    assert "1 entries kept; 0 were there, the time of 1 was over, 7 lines" in said
    assert [line.partition(":")[0] for line in said.splitlines()[-7:]] == [
        f"line {number}" for number in range(3, 10)
    ]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "is no export of entries"),
        ('{"format": "another"}\n{}\n', "is no export of entries"),
        (
            '{"format": "answer-cache-entries/1", "namespace": "a"}\n{}\n',
            "has no stamps",
        ),
        (
            '{"format": "answer-cache-entries/1", "namespace": "a"}\n{"stamps": {"switch": "off"}}\n',
            "has no stamps",
        ),
    ],
)
def test_a_file_that_is_no_export_is_refused_in_one_sentence(
    other_redis: str,
    content: str,
    sentence: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file("e.jsonl", content)
    assert moved({"cache_namespace": "a"}, "import") == [2]
    assert sentence in capsys.readouterr().err


def test_an_unreachable_redis_is_one_sentence_without_its_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    away = "redis://:hunter2@127.0.0.1:9/0"
    monkeypatch.setenv("OLD", away)
    monkeypatch.setenv("NEW", away)
    head = '{"format": "answer-cache-entries/1", "namespace": "a"}\n{"stamps": {"t:1": "x"}}\n'
    file("e.jsonl", head)
    assert moved({"cache_namespace": "a"}, "export", "import") == [2, 2]
    said = capsys.readouterr()
    assert "hunter2" not in said.err + said.out
    assert len(said.err.splitlines()) == 2
