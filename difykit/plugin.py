"""A plugin's process: every line that leaves for the host is measured first.

The host kills a plugin that writes a line over 5 MiB, and every answer under way in it
(D/internal/core/local_runtime/instance.go:175-236). So each line is measured as it is
written; one that is too long becomes an error, and only its own caller's.
"""

import gc
import logging
import traceback
from typing import Any, Final

from dify_plugin import Plugin
from dify_plugin.config.logger_format import plugin_logger_handler
from dify_plugin.core.server.__base.response_writer import ResponseWriter
from dify_plugin.errors.model import (
    CredentialsValidateFailedError,
    InvokeBadRequestError,
    InvokeError,
)
from dify_plugin.errors.tool import ToolProviderCredentialValidationError

from difykit.errors import PublicError

logger = logging.getLogger(__name__)

# D/internal/types/app/config.go:228-234, less what a line may be measured wrong by.
MAX_LINE: Final = 5 * 1024 * 1024 - 1024
_LONGEST_CHARACTER: Final = 4  # bytes of UTF-8
_LONGEST_ERROR: Final = 4000
# How a line begins by which a plugin asks something of the host.
_INVOKES: Final = '"type":"invoke"'
_HEAD: Final = 300

# Whose warnings go to the daemon's log, in the protocol. What is written to stderr the daemon
# keeps to itself (D/internal/core/local_runtime/instance.go:281-338).
_OURS: Final = ("cachecore", "difykit", "rag_cache", "cached_model")
_REMEDIES: Final = {
    "invoke_text_embedding": "lower Texts per Request (max_chunks)",
    "invoke_multimodal_embedding": "lower Texts per Request (max_chunks)",
    "invoke_rerank": "send fewer or shorter documents",
    "invoke_multimodal_rerank": "send fewer or shorter documents",
}


# What is raised on purpose, with a sentence for who asked.
_FORESEEN: Final = (
    InvokeError,
    CredentialsValidateFailedError,
    ToolProviderCredentialValidationError,
    PublicError,
    ValueError,
)


class GuardedPlugin(Plugin):
    """The SDK's plugin, which writes no line that would have it killed.

    Errors are written by the same writer: the SDK would add a trace with every cause's text,
    which may be long, and may repeat what a server or a user said.
    """

    def run(self) -> None:
        """Serve the host, until it goes."""
        # The SDK and its imports are objects by the hundred thousand that never die;
        # looking at all of them again and again takes the seventh part of a hit's time.
        gc.collect()
        gc.freeze()
        for name in _OURS:
            logging.getLogger(name).addHandler(plugin_logger_handler)
        super().run()

    # The SDK's signature; what comes behind ``writer`` is handed on as it is.
    def _execute_request(
        self, session_id: str, data: Any, reader: Any, writer: Any, *rest: Any
    ) -> None:
        action = str(data.get("action") or "")
        guarded = LimitedWriter(writer, _REMEDIES.get(action, "ask for less of it"))
        try:
            super()._execute_request(session_id, data, reader, guarded, *rest)
        except Exception as error:  # noqa: BLE001 - all of them are the caller's
            _note(action, error)
            error_object = guarded.stream_error_object(_error_object(error))
            guarded.session_message(session_id, error_object)


def _note(action: str, error: Exception) -> None:
    """Log where an unforeseen error was, without what it says."""
    if not isinstance(error, _FORESEEN):
        trace = "".join(traceback.format_tb(error.__traceback__))
        logger.error("%s failed: %s\n%s", action, type(error).__name__, trace)


def _error_object(error: Exception) -> dict[str, Any]:
    """An error as the host takes it."""
    message = str(error)[:_LONGEST_ERROR]
    args = {"description": message} if isinstance(error, InvokeError) else {}
    return {"error_type": type(error).__name__, "message": message, "args": args}


class LimitedWriter(ResponseWriter):
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
                raise InvokeBadRequestError(self._refusal(data, size))
        self._writer.write(data)

    def _refusal(self, data: str, size: int) -> str:
        limit = f"takes {size} bytes, and Dify takes {MAX_LINE} at once"
        if _INVOKES in data[:_HEAD]:
            return f"The request to Dify {limit}; send less of it."
        return f"The answer {limit}; {self._remedy}."

    def done(self) -> None:
        self._writer.done()
