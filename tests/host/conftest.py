import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devhost.process import PluginProcess

# A plugin of a few lines, without the SDK: it answers each request with what
# the test says, so that it can break the rules that the SDK keeps.
SPEAKER = """
import json, sys, threading, time

lock = threading.Lock()

def out(message):
    with lock:
        sys.stdout.write(json.dumps(message) + "\\n\\n")
        sys.stdout.flush()

def chunk(session, data):
    out({"event": "session", "session_id": session, "data": {"type": "stream", "data": data}})

def end(session):
    out({"event": "session", "session_id": session, "data": {"type": "end", "data": {}}})

def beat():
    while True:
        out({"event": "heartbeat", "session_id": None, "data": {}})
        time.sleep(0.05)

BEATING
for line in sys.stdin:
    request = json.loads(line)
    session = request["session_id"]
    ANSWER
    end(session)
"""


@pytest.fixture
def speaking(tmp_path: Path) -> Iterator[Callable[..., PluginProcess]]:
    started: list[PluginProcess] = []

    def start(answer: str, *, beating: bool = True, **options: float) -> PluginProcess:
        code = SPEAKER.replace("ANSWER", answer.replace("\n", "\n    ")).replace(
            "BEATING",
            "threading.Thread(target=beat, daemon=True).start()" if beating else "",
        )
        (tmp_path / "main.py").write_text(code)
        process = PluginProcess(Path(sys.executable), tmp_path, **options)
        started.append(process)
        process.wait_ready()
        return process

    yield start
    for process in started:
        process.kill()
