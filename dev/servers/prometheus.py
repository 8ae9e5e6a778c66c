"""A real Prometheus (Debian: apt-get install prometheus), and its promtool."""

import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from servers.programs import answers, find, running
from servers.redis import free_port


def promtool(*arguments: str, text: str = "", cwd: Path | None = None) -> str:
    """The output of promtool; raises CalledProcessError if it finds a fault."""
    done = subprocess.run(
        [find("promtool"), *arguments],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
    )
    if done.returncode:
        raise AssertionError(done.stdout + done.stderr)
    return done.stdout + done.stderr


class Prometheus:
    """A running Prometheus."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, path: str, **parameters: str) -> Any:
        """The data of an API answer; raises AssertionError for an error."""
        query = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}") as reply:
                return json.load(reply)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from error

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples of an expression at this time."""
        found: list[dict[str, Any]] = self.ask("query", query=expression)["result"]
        return found


@contextmanager
def prometheus(folder: Path, config: Mapping[str, Any]) -> Iterator[Prometheus]:
    """A Prometheus with this configuration and its data in ``folder``."""
    port = free_port()
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(dict(config)))
    url = f"http://127.0.0.1:{port}"

    with running(
        find("prometheus"),
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        ready=lambda: answers(f"{url}/-/ready"),
        log=folder / "prometheus.log",
    ):
        yield Prometheus(url)
