"""The deployment's files fit together, and the configured server accepts them."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml
from servers.redis import free_port, server

from answer_worker import settings as worker
from cachecore import config
from devhost.environment import find_uv
from tests.ops.conftest import DEPLOY, ROOT

OVERLAY = "compose.answer-cache.yaml"
# Names of Dify's own services that an overlay may extend; any other is a new service.
OF_DIFY = {"plugin_daemon"}
_VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


def filled(value: Any) -> Any:
    """Fill in variables as compose does: the default, or else the variable's name."""
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
    own = {**form, "redis_url": environ["ANSWER_CACHE_REDIS_URL"]}
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


def test_the_brokers_redis_is_not_the_one_that_evicts_keys(
    services: dict[str, Any],
) -> None:
    environ = services["cache_worker"]["environment"]
    assert "cache_redis" not in environ["ANSWER_CACHE_WORKER_BROKER_URL"]


def test_every_file_and_folder_that_is_named_is_there(services: dict[str, Any]) -> None:
    sources = [
        volume.partition(":")[0]
        for service in services.values()
        for volume in service.get("volumes", [])
    ]
    ours = [one for one in sources if one.startswith("./answer-cache/")]
    assert ours
    for source in ours:
        assert (DEPLOY / source.removeprefix("./answer-cache/")).exists()
    build = services["cache_relay"]["build"]
    dockerfile = (ROOT / build["dockerfile"]).read_text()
    copied = re.findall(r"^COPY (\S+)", dockerfile, re.MULTILINE)
    assert copied
    for source in copied:
        assert (ROOT / source).exists()


def test_nothing_is_open_to_the_world(services: dict[str, Any]) -> None:
    ports = [port for one in services.values() for port in one.get("ports", [])]
    assert ports
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []
    assert set(services) & {"redis", "worker", "nginx", "api", "web"} == set()
    assert "image" not in services["plugin_daemon"]


def python_with(requirements: Path, folder: Path) -> Path:
    """An environment of its own with nothing else in it."""
    subprocess.run([find_uv(), "venv", "-q", "-p", sys.executable, folder], check=True)
    python = folder / "bin" / "python"
    install = [find_uv(), "pip", "install", "-q", "--python", str(python)]
    subprocess.run([*install, "-r", str(requirements)], check=True)
    return python


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The Dockerfile's image: a Python with the requirements, and the folder."""
    folder = tmp_path_factory.mktemp("image")
    dockerfile = (ROOT / "ops" / "worker" / "Dockerfile").read_text()
    copies = re.findall(r"^COPY (\S+) (\S+)", dockerfile, re.MULTILINE)
    assert len(copies) == 3
    for source, target in copies[1:]:
        shutil.copytree(ROOT / source, folder / Path(target).name)
    return python_with(ROOT / copies[0][0], folder / "python"), folder


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["-m", "answer_worker.relay"], "relaying shop"),
        (["-m", "celery", "-A", "answer_worker.app", "worker"], "Cannot connect to"),
    ],
    ids=["relay", "worker"],
)
def test_both_commands_start_in_the_image(
    image: tuple[Path, Path], command: list[str], says: str
) -> None:
    """Redis and broker are not available: the command waits for them, and logs this."""
    python, folder = image
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONUNBUFFERED": "1",
        "ANSWER_CACHE_WORKER_REDIS_URL": f"redis://127.0.0.1:{free_port()}",
        "ANSWER_CACHE_WORKER_NAMESPACES": "shop",
        "ANSWER_CACHE_WORKER_BROKER_URL": f"redis://127.0.0.1:{free_port()}/0",
    }
    process = subprocess.Popen(
        [python, *command],
        cwd=folder,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # Celery has child processes, which must end with it.
    )
    end = threading.Timer(60, os.killpg, (process.pid, signal.SIGKILL))
    end.start()
    try:
        lines: list[str] = []
        for line in process.stdout or ():
            lines.append(line)
            if says in line:
                break
        assert says in "".join(lines[-1:]), "".join(lines)
    finally:
        end.cancel()
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.parametrize(
    "name", ["requirements.txt", "plugins/cached-model/requirements.txt"]
)
def test_the_plugins_import_with_what_their_requirements_name(
    name: str, tmp_path: Path
) -> None:
    python = python_with(ROOT / name, tmp_path / "python")
    own, folder = (
        ("rag_cache", ROOT)
        if "/" not in name
        else ("cached_model", ROOT / "plugins/cached-model")
    )
    modules = [f"{own}.{path.stem}" for path in (folder / own).glob("*.py")]
    modules += [f"cachecore.{path.stem}" for path in (ROOT / "cachecore").glob("*.py")]
    wanted = "; ".join(f"import {module}" for module in sorted(modules))
    places = f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(folder)!r}]; "
    subprocess.run([python, "-c", places + wanted], check=True, cwd=tmp_path)


def test_the_shell_lines_of_the_overlay_are_those_of_its_files() -> None:
    head = (DEPLOY / OVERLAY).read_text().partition("services:")[0]
    assert OVERLAY in head
    subprocess.run(
        ["sh", "-n", str(ROOT / "scripts" / "test")], check=True, cwd=Path(ROOT)
    )
