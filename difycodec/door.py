"""The one door through which a plugin's words leave for the host.

The host kills a plugin that writes a line over 5 MiB, and every answer under way in it
(D/internal/core/local_runtime/instance.go:175-236). So each line is measured as it is
written; one that is too long becomes an error, and only its own caller's.
"""

from typing import Any, Final

from dify_plugin import Plugin
from dify_plugin.core.server.__base.response_writer import ResponseWriter
from dify_plugin.errors.model import InvokeBadRequestError

# D/internal/types/app/config.go:228-234, less what a line may be measured wrong by.
MAX_LINE: Final = 5 * 1024 * 1024 - 1024
_LONGEST_CHARACTER: Final = 4  # bytes of UTF-8

_REMEDIES: Final = {
    "invoke_text_embedding": "lower Texts per Request (max_chunks)",
    "invoke_multimodal_embedding": "lower Texts per Request (max_chunks)",
    "invoke_rerank": "send fewer or shorter documents",
    "invoke_multimodal_rerank": "send fewer or shorter documents",
}


class GuardedPlugin(Plugin):
    """The SDK's plugin, which writes no line that would have it killed."""

    # The SDK's signature; what comes behind ``writer`` is handed on as it is.
    def _execute_request(
        self, session_id: str, data: Any, reader: Any, writer: Any, *rest: Any
    ) -> None:
        action = str(data.get("action") or "")
        guarded = Door(writer, _REMEDIES.get(action, "ask for less of it"))
        super()._execute_request(session_id, data, reader, guarded, *rest)


class Door(ResponseWriter):
    """Hands on what is written, in lines that the host takes.

    Raises InvokeBadRequestError, with the remedy, for one that is too long.
    """

    def __init__(self, writer: ResponseWriter, remedy: str) -> None:
        self._writer = writer
        self._remedy = remedy

    def write(self, data: str) -> None:
        if len(data) * _LONGEST_CHARACTER > MAX_LINE:
            size = len(data.encode("utf-8", "replace"))
            if size > MAX_LINE:
                msg = (
                    f"The answer takes {size} bytes, and Dify takes {MAX_LINE} at once; "
                    f"{self._remedy}."
                )
                raise InvokeBadRequestError(msg)
        self._writer.write(data)

    def done(self) -> None:
        self._writer.done()
