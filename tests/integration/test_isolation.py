"""Every border between callers, attacked with every id that can be forged."""

import threading
import uuid
from typing import Any

import pytest
import redis
from servers.redis import server

from devhost.host import Host
from tests.fake_upstream import FakeUpstream, Script, delta, finish
from tests.integration.test_plugins_in_the_host import MODEL, TOOLS, ask, text, tool

SECRET = "alice's salary is 123456"


@pytest.fixture
def answered(upstream: FakeUpstream) -> FakeUpstream:
    upstream.script = Script(events=[delta(content=SECRET), finish()])
    return upstream


def call(
    host: Host, form: dict[str, str], app_id: str, user_id: str, model: str = "m"
) -> str:
    data = {
        "provider": "cached_model",
        "model_type": "llm",
        "model": model,
        "credentials": form,
        "model_parameters": {"cache_control": "automatic"},
        "prompt_messages": [{"role": "user", "content": "what is my salary?"}],
        "tools": None,
        "stop": None,
        "stream": True,
    }
    process = host.plugin(MODEL).process
    return text(
        list(
            process.invoke("model", "invoke_llm", data, user_id=user_id, app_id=app_id)
        )
    )


@pytest.mark.parametrize(
    "border",
    [
        "namespace",
        "secret",
        "no secret",
        "scope",
        "app",
        "user",
        "model",
        "upstream",
        "headers",
    ],
)
def test_no_entry_crosses_a_border(
    host: Host, answered: FakeUpstream, form: dict[str, str], border: str
) -> None:
    mine = form | {"cache_secret": "my own long secret"}
    who = {"app_id": "app", "user_id": "alice"}
    if border in ("app", "user"):
        mine["cache_scope"] = border
    assert call(host, mine, **who) == SECRET
    theirs = dict(mine)
    match border:
        case "namespace":
            theirs["cache_namespace"] = "t" + mine["cache_namespace"]
        case "secret":
            theirs["cache_secret"] = "their own long secret"
        case "no secret":
            del theirs["cache_secret"]
        case "scope":
            theirs["cache_scope"] = "user"
        case "app":
            who["app_id"] = "another app"
        case "user":
            who["user_id"] = "bob"
        case "upstream":
            theirs["endpoint_url"] = answered.url.replace("127.0.0.1", "localhost")
        case "headers":
            theirs["extra_headers"] = '{"X-Tenant": "b"}'
    answered.script = Script(events=[delta(content="nothing to see"), finish()])
    model = "another model" if border == "model" else "m"
    assert call(host, theirs, **who, model=model) == "nothing to see"
    # And the owner's own answer is still there, unchanged.
    assert call(host, mine, app_id="app", user_id="alice") == SECRET


def test_an_id_that_is_built_to_look_like_another_one_is_not_it(
    host: Host, answered: FakeUpstream, form: dict[str, str]
) -> None:
    mine = form | {"cache_scope": "user"}
    call(host, mine, "app", "alice")
    answered.script = Script(events=[delta(content="own"), finish()])
    for forged in (
        "Alice",
        "alice ",
        'alice","x',
        "alice\u0000",
        '["user","alice"]',
        "app:alice",
    ):
        assert call(host, mine, "app", forged) == "own"


def test_a_value_of_one_kind_is_not_an_answer_of_another(
    host: Host,
    answered: FakeUpstream,
    form: dict[str, str],
    cache_fields: dict[str, str],
) -> None:
    call(host, form, "app", "alice")
    found = tool(host, "cache_lookup", cache_fields, key="what is my salary?")
    assert found["hit"] is False


def test_a_redis_user_sees_its_own_namespace_only(
    host: Host, answered: FakeUpstream, form: dict[str, str]
) -> None:
    with server() as (url, _):
        admin = redis.Redis.from_url(url)
        for name in ("a", "b"):
            # The ACL line of docs/correctness.md.
            admin.execute_command(
                *(
                    "ACL",
                    "SETUSER",
                    name,
                    "on",
                    f">{name}-password",
                    f"~dify:cache:v1:{name}:*",
                ),
                *(
                    "resetchannels",
                    "-@all",
                    "+get",
                    "+set",
                    "+del",
                    "+hmget",
                    "+hsetnx",
                    "+hset",
                ),
            )
        place = url.removeprefix("redis://")
        options = {"cache_options": "redis_timeout_ms: 2000"}
        mine = (
            form
            | options
            | {
                "redis_url": f"redis://a:a-password@{place}",
                "cache_namespace": "a",
            }
        )
        assert call(host, mine, "app", "u") == call(host, mine, "app", "u") == SECRET
        calls = answered.calls
        thief = mine | {"redis_url": f"redis://b:b-password@{place}"}
        answered.script = Script(events=[delta(content="own"), finish()])
        assert call(host, thief, "app", "u") == "own"
        assert answered.calls == calls + 1
        process = host.plugin(MODEL).process
        request = {"provider": "cached_model", "model_type": "llm", "model": "m"}
        with pytest.raises(Exception, match="ACL"):
            list(
                process.invoke(
                    "model",
                    "validate_model_credentials",
                    {**request, "credentials": thief},
                )
            )


def test_nothing_private_is_in_a_key_a_log_an_error_or_a_statistic_after_a_busy_run(
    host: Host,
    upstream: FakeUpstream,
    form: dict[str, str],
    cache_fields: dict[str, str],
    redis_url: str,
) -> None:
    marks = [f"mark{uuid.uuid4().hex}" for _ in range(6)]
    prompt, answer, api_key, user, tag, header = marks
    mine = form | {
        "api_key": api_key,
        "cache_scope": "user",
        "extra_headers": f'{{"X-A": "{header}"}}',
    }
    errors: list[str] = []

    def busy(number: int) -> None:
        upstream.script = [
            Script(events=[delta(content=answer), finish()]),
            Script(status=500, body=answer.encode()),
            Script(events=[delta(content=answer)]),
        ][number % 3]
        try:
            ask(
                host,
                mine,
                f"{prompt} {number % 7}",
                user=user,
                model_parameters={"cache_tags": tag},
            )
        except Exception as error:
            errors.append(str(error))
        tool(
            host,
            "cache_lookup",
            cache_fields,
            key=prompt,
            cache_tags=tag,
            context_keys=answer,
        )

    threads = [threading.Thread(target=busy, args=(number,)) for number in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    client = redis.Redis.from_url(redis_url)
    names = [key.decode() for key in client.scan_iter("*")]
    names += [
        f"{field} {stamp}"
        for key in client.scan_iter("dify:cache:v1:*:stamps")
        for field, stamp in client.hgetall(key).items()
    ]
    logs = [
        line for plugin in (MODEL, TOOLS) for line in host.plugin(plugin).process.log
    ]
    assert errors
    everything: list[Any] = [*names, *logs, *errors]
    for mark in marks:
        assert not [line for line in everything if mark in line]
