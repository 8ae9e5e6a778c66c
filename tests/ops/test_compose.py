"""The deployment's files fit together, and the server they configure takes them."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml
from servers.redis import server

from answer_worker import settings as worker
from cachecore import config
from tests.ops.conftest import DEPLOY, ROOT

OVERLAY = "compose.answer-cache.yaml"
# Names of Dify's own services that an overlay may add to: compose takes any other for new.
OF_DIFY = {"plugin_daemon"}
_VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


def filled(value: Any) -> Any:
    """As compose fills in variables: a default, else the variable's own name."""
    if isinstance(value, dict):
        return {name: filled(item) for name, item in value.items()}
    if isinstance(value, list):
        return [filled(item) for item in value]
    if not isinstance(value, str):
        return value
    return _VARIABLE.sub(
        lambda m: m[3] if m[2] == "-" else m[1].lower().replace("_", "-"),
        value,
    ).replace("$$", "$")


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = filled(yaml.safe_load((DEPLOY / OVERLAY).read_text()))
    return found["services"]


def test_the_cache_gets_a_redis_of_its_own_that_drops_what_is_used_least(
    services: dict[str, Any],
) -> None:
    _, *flags = services["cache_redis"]["command"]
    assert services["cache_redis"].get("ports") is None
    with server(*flags) as (url, _):
        with redis.Redis.from_url(url, password="cache-redis-password") as client:
            assert client.config_get("maxmemory")["maxmemory"] == str(512 * 2**20)
            policy = client.config_get("maxmemory-policy")
            assert policy == {"maxmemory-policy": "allkeys-lru"}
            assert client.config_get("save") == {"save": ""}
        with redis.Redis.from_url(url) as stranger, pytest.raises(redis.RedisError):
            stranger.ping()


def test_the_plugins_take_the_redis_that_they_are_given(
    services: dict[str, Any],
) -> None:
    environ = services["plugin_daemon"]["environment"]
    form = {"cache_namespace": "shop"}
    read = config.read(form, environ, config.Options)
    assert read.store.redis_url.endswith("@cache_redis:6379/0")
    own = {**form, "redis_url": environ["RESPONSE_CACHE_REDIS_URL"]}
    config.read(own, environ, config.Options)
    other = {**form, "redis_url": "redis://redis:6379/0"}
    with pytest.raises(config.ConfigError, match="does not allow"):
        config.read(other, environ, config.Options)


@pytest.mark.parametrize("name", ["cache_relay", "cache_worker"])
def test_the_worker_takes_its_settings(services: dict[str, Any], name: str) -> None:
    read = worker.read(services[name]["environment"])
    assert read.namespaces == ("cache-namespace",)
    assert read.plugged == ("answer_worker.examples.behaviour:record",)
    assert "broker-password" not in repr(read)


def test_what_holds_tasks_is_not_what_drops_keys(services: dict[str, Any]) -> None:
    environ = services["cache_worker"]["environment"]
    assert "cache_redis" not in environ["ANSWER_WORKER_BROKER_URL"]


def test_every_file_and_folder_that_is_named_is_there(services: dict[str, Any]) -> None:
    for service in services.values():
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            if source.startswith("./answer-cache/"):
                assert (DEPLOY / source.removeprefix("./answer-cache/")).exists()
    build = services["cache_relay"]["build"]
    dockerfile = (ROOT / build["dockerfile"]).read_text()
    for source in re.findall(r"^COPY (\S+)", dockerfile, re.MULTILINE):
        assert (ROOT / source).exists()


def test_nothing_is_open_to_the_world(services: dict[str, Any]) -> None:
    for name, service in services.items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), name
    assert set(services) & {"redis", "worker", "nginx", "api", "web"} == set()
    assert "image" not in services["plugin_daemon"]


def test_the_worker_runs_with_what_its_requirements_name() -> None:
    """In an environment of its own: nothing of the development's."""
    wanted = (ROOT / "ops" / "worker" / "requirements.txt").read_text()
    names = set(re.findall(r"^([a-z-]+)", wanted, re.MULTILINE))
    imported = set()
    for path in (ROOT / "ops" / "worker" / "answer_worker").rglob("*.py"):
        imported |= set(
            re.findall(r"^(?:from|import) (\w+)", path.read_text(), re.MULTILINE)
        )
    foreign = {"celery", "kombu", "elasticsearch", "orjson"}
    assert imported & foreign == foreign
    assert {"celery", "elasticsearch", "redis", "orjson", "cryptography"} <= names


def test_the_shell_lines_of_the_overlay_are_those_of_its_files() -> None:
    head = (DEPLOY / OVERLAY).read_text().partition("services:")[0]
    assert OVERLAY in head
    yaml.safe_load((DEPLOY / "compose.gpu.yaml").read_text())
    subprocess.run(
        ["sh", "-n", str(ROOT / "scripts" / "test")], check=True, cwd=Path(ROOT)
    )
