"""A real Elasticsearch of one node, where Java and Maven are installed.

Else raises Missing. Elasticsearch is in no distribution; only Maven's index has its
jars. They are fetched once into .cache (35 MB) and run without a change. No plugin, no
password. It is version 7.17, which the clients of version 8 can use.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from servers.programs import answers, find, running
from servers.redis import free_port

_HERE = Path(__file__).parent / "java"
_CACHE = Path(__file__).parents[2] / ".cache" / "elasticsearch"


def _jars() -> Path:
    """The folder with the jars; fetches them if they are missing."""
    pom, jars = _HERE / "pom.xml", _CACHE / "jars"
    stamp = _CACHE / "pom.xml"
    if stamp.exists() and stamp.read_bytes() == pom.read_bytes():
        return jars
    shutil.rmtree(_CACHE, ignore_errors=True)
    _CACHE.mkdir(parents=True)
    subprocess.run(
        [
            *(find("mvn"), "-q", "-B", "-f", str(pom), "dependency:copy-dependencies"),
            *(f"-DoutputDirectory={jars}", "-DincludeScope=runtime"),
        ],
        check=True,
        timeout=300,
    )
    stamp.write_bytes(pom.read_bytes())
    return jars


@contextmanager
def elasticsearch(
    folder: Path, *settings: str, port: int | None = None
) -> Iterator[str]:
    """The URL of a node with its data in ``folder``; or $ELASTICSEARCH_URL if it is set."""
    given = os.environ.get("ELASTICSEARCH_URL")
    if given and port is None:
        yield given
        return
    home = os.environ.get("JAVA_HOME")
    java = find("java", before=(f"{home}/bin",) if home else ())
    jars, port = _jars(), port or free_port()
    url = f"http://127.0.0.1:{port}"

    with running(
        java,
        *("-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"),
        *("-cp", f"{jars}/*", str(_HERE / "OneNode.java"), str(folder), str(port)),
        *settings,
        ready=lambda: answers(f"{url}/_cluster/health"),
        within=60,
        log=folder / "elasticsearch.log",
    ):
        yield url
