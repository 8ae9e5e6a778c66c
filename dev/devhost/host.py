"""The host: installs packages, routes calls to them, and answers their calls."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from devhost import environment, retyping
from devhost.failures import PluginDied
from devhost.gotypes import UnmarshalError
from devhost.package import Package
from devhost.process import PluginProcess

# D/internal/core/io_tunnel/backwards_invocation/task.go:71-196, as far as devhost has
# them: the permission that a manifest needs, the action's name, and the message's
# field.
REVERSE = {
    "llm": (("model", "llm"), "invoke_llm", "stream"),
    "text_embedding": (
        ("model", "text_embedding"),
        "invoke_text_embedding",
        "struct",
    ),
    "rerank": (("model", "rerank"), "invoke_rerank", "struct"),
    "app": (("app",), "invoke_app", "stream"),
}

# The replacement of a part of Dify: request -> chunks.
type Server = Callable[[dict[str, Any]], Iterable[Any]]


_MODEL_TYPES = {
    "invoke_llm": "llm",
    "invoke_text_embedding": "text-embedding",
    "invoke_rerank": "rerank",
}


class Installed:
    """A package and its process."""

    def __init__(self, package: Package, process: PluginProcess) -> None:
        self.package = package
        self.process = process


class Host:
    """A Dify host with the packages that it was given. Close it at the end."""

    def __init__(self, root: Path, uv: str | None = None) -> None:
        self._root = root
        self._uv = uv or environment.find_uv()
        self._installed: dict[str, Installed] = {}
        self._model_credentials: dict[tuple[str, str], dict[str, Any]] = {}
        self._servers: dict[tuple[str, str], Server] = {}

    def install(
        self, path: Path, environ: Mapping[str, str] | None = None
    ) -> Installed:
        """Unpack, make an environment, start, and wait for the first heartbeat."""
        package = Package(path)
        folder = package.unpack(self._root)
        python = environment.python_of(folder, self._uv)
        process = PluginProcess(python, folder, self._serve, environ)
        try:
            process.wait_ready()
        except BaseException:
            # The daemon's install task reports "success" here and starts the plugin
            # again and again (local_runtime/subprocess.go:196-203). devhost fails
            # instead.
            process.kill()
            raise
        installed = Installed(package, process)
        self._installed[package.plugin_id] = installed
        return installed

    def plugin(self, plugin_id: str) -> Installed:
        """An installed plugin by ``author/name`` or by its identifier."""
        return self._installed[plugin_id.split(":", maxsplit=1)[0]]

    @property
    def packages(self) -> list[Package]:
        """The installed packages."""
        return [installed.package for installed in self._installed.values()]

    def close(self) -> None:
        """Kill every plugin."""
        for installed in self._installed.values():
            installed.process.kill()
        self._installed.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def set_model(
        self, provider: str, model: str, credentials: Mapping[str, Any]
    ) -> None:
        """Set the credentials of a model, as its form would keep them."""
        self._model_credentials[(provider, model)] = dict(credentials)

    def invoke_model(
        self, provider: str, model: str, action: str, data: Mapping[str, Any]
    ) -> Iterator[Any]:
        """Call a model by ``author/plugin/provider``, with its saved credentials."""
        plugin_id, _, name = provider.rpartition("/")
        body = {
            "provider": name,
            "model": model,
            "model_type": _MODEL_TYPES[action],
            "credentials": self._model_credentials[(provider, model)],
            **data,
        }
        return self.plugin(plugin_id).process.invoke("model", action, body)

    def serve(self, kind: str, name: str, server: Server) -> None:
        """Answer plugins' calls of this kind for a model's name or an app's id."""
        self._servers[kind, name] = server

    # --- reverse invocation -----------------------------------------------

    def _serve(
        self, process: PluginProcess, session: str, call: dict[str, Any]
    ) -> None:
        """Answer a plugin's call; message forms: backwards_invocation/entities.go:11-43."""

        def send(event: str, message: str, data: Any = None) -> None:
            answer = {
                "backwards_request_id": call["backwards_request_id"],
                "event": event,
                "message": message,
                "data": data,
            }
            process.send(session, "backwards_response", answer)

        try:
            for message, chunk in self._reverse(process, call):
                send("response", message, chunk)
        except UnmarshalError as error:  # task.go:266-280
            send("error", f"unmarshal backwards invoke request failed: {error}")
        except Exception as error:  # noqa: BLE001 - whatever it was, the plugin waits
            send("error", str(error) or type(error).__name__)
        finally:
            with suppress(PluginDied):
                send("end", "")

    def _reverse(
        self, process: PluginProcess, call: dict[str, Any]
    ) -> Iterator[tuple[str, Any]]:
        caller = next(i for i in self._installed.values() if i.process is process)
        if caller.package.manifest["plugins"].get("models"):
            raise PermissionError("you can not invoke dify from model")  # task.go:46-50
        if call["type"] not in REVERSE:
            # task.go:183; the daemon has more types than devhost.
            raise PermissionError(f"unsupported invoke type: {call['type']}")
        permission, action, message = REVERSE[call["type"]]
        if not caller.package.permission(*permission):
            raise PermissionError(
                "permission denied, you need to enable "
                f"{permission[-1].replace('_', '-')} access in plugin manifest"
            )
        request = call["request"]
        served = self._servers.get(
            (call["type"], str(request.get("app_id") or request.get("model")))
        )
        if served is not None:
            asked = retyping.reverse_request(action, request)
            for chunk in served(asked):
                yield message, retyping.response(action, chunk)
            return
        if call["type"] == "app":  # core/plugin/backwards_invocation/app.py
            raise PermissionError("request failed: app not found")
        data = {
            key: value
            for key, value in request.items()
            if key not in ("provider", "model", "model_type", "mode")
        }
        if action == "invoke_llm":
            data["model_parameters"] = data.pop("completion_params", {})
        chunks = self.invoke_model(request["provider"], request["model"], action, data)
        for chunk in chunks:
            yield message, chunk
