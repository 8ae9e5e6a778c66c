"""One plugin process, and the lines on its standard streams.

JSON lines, as in internal/core/local_runtime: instance.go, subprocess.go, io.go.
"""

import json
import os
import queue
import subprocess
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from devhost import retyping
from devhost.failures import PluginDied, PluginError
from devhost.gotypes import UnmarshalError
from devhost.lines import parsed

# internal/types/app/config.go:228-234: bufio.Scanner fails on a longer line. Then
# instance.go:175-236 kills the process.
MAX_LINE = 5 * 1024 * 1024
# Seconds; instance.go:22: the limit for the first heartbeat and between two heartbeats.
HEARTBEAT_LIMIT = 120.0
# internal/types/app/default.go:29
EXECUTION_TIMEOUT = 600.0
# io_tunnel/model.gen.go:18-21, tool.gen.go:18-22, endpoint_service.go:21-25: a full
# queue stops the reading of all sessions of the process. (An endpoint's queue is
# emptied at once into another one, which drops items: endpoints.py.)
QUEUE_SIZES = {"invoke_llm": 512, "invoke_tool": 1024, "invoke_endpoint": 128}
_CLOSED = object()


type Reverse = Callable[["PluginProcess", str, dict[str, Any]], None]


class PluginProcess:
    """A running plugin. ``reverse`` answers its calls to the host."""

    def __init__(
        self,
        python: Path,
        folder: Path,
        reverse: Reverse | None = None,
        environ: Mapping[str, str] | None = None,
        heartbeat_limit: float = HEARTBEAT_LIMIT,
    ) -> None:
        self._reverse = reverse
        self._heartbeat_limit = heartbeat_limit
        self._sessions: dict[str, queue.Queue[Any]] = {}
        self._lock = threading.Lock()  # guards _sessions
        # A separate lock: a write may block until the plugin reads, and the plugin
        # reads only while its output is read.
        self._write_lock = threading.Lock()
        self._ready = threading.Event()
        self._gone = threading.Event()
        self._last_heartbeat = time.monotonic()
        self.log: deque[str] = deque(maxlen=10_000)
        self.longest_line = 0
        self.why_gone = ""
        self._process = subprocess.Popen(
            # subprocess.go:20-48: the entry point, in the plugin's folder, with the
            # whole environment of the daemon.
            [str(python), "-m", "main"],
            cwd=folder,
            env={**os.environ, **(environ or {}), "INSTALL_METHOD": "local"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for work in (self._read_stdout, self._read_stderr, self._watch):
            threading.Thread(target=work, daemon=True).start()

    @property
    def pid(self) -> int:
        """The operating system's id of the process."""
        return self._process.pid

    def wait_ready(self) -> None:
        """Return at the first heartbeat; raise PluginDied if none arrives in time."""
        deadline = time.monotonic() + self._heartbeat_limit
        while not self._ready.wait(0.02):
            if self._gone.is_set() or time.monotonic() > deadline:
                tail = "\n".join(list(self.log)[-20:])
                raise PluginDied(f"the plugin did not start: {tail}")

    def kill(self) -> None:
        """Stop as the daemon does: SIGKILL without a message (instance.go:197-236)."""
        self._process.kill()
        self._gone.wait(5)

    def invoke(
        self,
        kind: str,
        action: str,
        data: Mapping[str, Any],
        *,
        user_id: str = "",
        timeout: float = EXECUTION_TIMEOUT,
        **ids: str | None,
    ) -> Iterator[Any]:
        """Send a request; yield its chunks with the types that the daemon gives them.

        ``ids``: conversation_id, message_id, app_id, endpoint_id. Raises PluginError
        for the plugin's error, PluginDied if the process ends.
        """
        body = retyping.request(action, data)
        return self._run(kind, action, body, user_id, ids, timeout)

    def _run(
        self,
        kind: str,
        action: str,
        body: dict[str, Any],
        user_id: str,
        ids: Mapping[str, str | None],
        timeout: float,
    ) -> Iterator[Any]:
        session = str(uuid.uuid4())
        waiting: queue.Queue[Any] = queue.Queue(QUEUE_SIZES.get(action, 1))
        with self._lock:
            self._sessions[session] = waiting
        try:
            # io_tunnel/mapping.go:9-34
            sent = {"user_id": user_id, "type": kind, "action": action, **body}
            self.send(session, "request", dict(sorted(sent.items())), ids)
            yield from self._answers(waiting, action, time.monotonic() + timeout)
        finally:
            with self._lock:
                self._sessions.pop(session, None)

    def _answers(
        self, waiting: "queue.Queue[Any]", action: str, deadline: float
    ) -> Iterator[Any]:
        while True:
            try:
                message = waiting.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise PluginError("timeout", "killed by timeout") from None
            if message is _CLOSED:
                raise PluginDied(self.why_gone)
            match message["type"]:
                case "stream":
                    try:
                        yield retyping.response(action, message["data"])
                    except UnmarshalError as error:
                        raise PluginError("unmarshal_error", str(error)) from error
                case "error":
                    typed = retyping.error(message["data"])
                    if typed is not None:
                        raise PluginError(*typed)
                case "end":
                    return
                case _:  # generic.go:153-158
                    raise PluginError("unknown_stream_message_type", message["type"])

    def send(
        self, session: str, event: str, data: Any, ids: Mapping[str, Any] | None = None
    ) -> None:
        """Write one line to the plugin (session_manager/session.go:292-324)."""
        empty = ("conversation_id", "message_id", "app_id", "endpoint_id", "context")
        message = {
            "session_id": session,
            **dict.fromkeys(empty),
            **(ids or {}),
            "event": event,
            "data": data,
        }
        line = json.dumps(message, ensure_ascii=False, separators=(",", ":"))
        data = line.encode("utf-8", "replace") + b"\n"
        stdin = self._process.stdin
        try:
            with self._write_lock:
                stdin.write(data)  # type: ignore[union-attr]
                stdin.flush()  # type: ignore[union-attr]
        except (OSError, ValueError) as error:
            raise PluginDied(self.why_gone or str(error)) from error

    # --- reading ----------------------------------------------------------

    def _read_stdout(self) -> None:
        stdout = self._process.stdout
        why = "the process ended"
        while line := stdout.readline(MAX_LINE + 1):  # type: ignore[union-attr]
            if len(line) > MAX_LINE:
                why = (
                    "the plugin wrote a line over 5 MiB (bufio.Scanner: token too long)"
                )
                break
            self.longest_line = max(self.longest_line, len(line))
            try:
                if line.strip():
                    self._take(line)
            except Exception as error:  # noqa: BLE001 - event.go:27-36 recovers too
                self.log.append(
                    f"ERROR {type(error).__name__} in a line: {line[:200]!r}"
                )
        self.why_gone = self.why_gone or why
        # instance.go:185-236: the end of stdout, for any cause, kills the process.
        self._process.kill()
        self._process.wait()
        with self._lock:
            waiting = list(self._sessions.values())
        with self._write_lock:
            for pipe in (stdout, self._process.stdin):
                with suppress(OSError):
                    pipe.close()  # type: ignore[union-attr]
        self._gone.set()
        for session in waiting:
            session.put(_CLOSED)

    def _take(self, line: bytes) -> None:
        event = parsed(line)
        if not isinstance(event, dict):
            # plugin_entities/event.go:38-49: logged as an error, or ignored.
            self.log.append(f"ERROR not JSON on stdout: {line[:200]!r}")
            return
        match event.get("event"):
            case "heartbeat":
                self._last_heartbeat = time.monotonic()
                self._ready.set()
            case "log":
                self.log.append(f"{event['data']['level']} {event['data']['message']}")
            case "session":
                self._dispatch(str(event.get("session_id") or ""), event.get("data"))
            case "error":
                self.log.append(f"ERROR {event.get('data')}")

    def _dispatch(self, session: str, message: Any) -> None:
        if (
            not isinstance(message, dict)
            or not isinstance(message.get("type"), str)
            or not message["type"]
            or "data" not in message
        ):
            # event.go:94-106: an invalid event is dropped.
            self.log.append(
                f"ERROR a session message without type or data: {message!r:.200}"
            )
            return
        if message["type"] == "invoke" and self._reverse is not None:
            call = message["data"]
            if isinstance(call, dict) and all(
                isinstance(call.get(name), str) and call[name]
                for name in ("type", "backwards_request_id")
            ):
                threading.Thread(
                    target=self._reverse, args=(self, session, call), daemon=True
                ).start()
                return
            # generic.go:112-133: the caller's stream ends with this error.
            text = "invoke dify failed: the call has no type or id"
            failed = {"error_type": "invoke_dify_error", "message": text, "args": {}}
            message = {"type": "error", "data": failed}
        while True:
            with self._lock:
                waiting = self._sessions.get(session)
            if waiting is None:
                # instance.go:243-250: the caller has left; the event is dropped.
                return
            try:
                waiting.put(message, timeout=0.2)
            except queue.Full:
                # Nothing else is read in the meantime (head-of-line blocking).
                continue
            return

    def _read_stderr(self) -> None:
        with self._process.stderr as stderr:  # type: ignore[union-attr]
            for line in stderr:
                self.log.append("stderr " + line.decode("utf-8", "replace").rstrip())

    def _watch(self) -> None:
        """instance.go:343-378: a process without a heartbeat within the limit is killed."""
        while not self._gone.wait(min(1.0, self._heartbeat_limit / 4)):
            if time.monotonic() - self._last_heartbeat > self._heartbeat_limit:
                self.why_gone = "no heartbeat"
                self._process.kill()
                return
