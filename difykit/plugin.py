"""A plugin's process: it measures every line for the host before it sends the line.

The host kills a plugin that writes a line over 5 MiB, with all answers in progress
(D/internal/core/local_runtime/instance.go:175-236). So each line is measured when it is
written. A line that is too long becomes an error for its own caller only.
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

# D/internal/types/app/config.go:228-234, minus the possible error of the measurement.
MAX_LINE: Final = 5 * 1024 * 1024 - 1024
_LONGEST_CHARACTER: Final = 4  # bytes of UTF-8
_LONGEST_ERROR: Final = 4000
# The beginning of a line with which a plugin calls the host.
_INVOKES: Final = '"type":"invoke"'
_HEAD: Final = 300

# The loggers whose warnings go to the daemon's log, through the protocol. The daemon does not
# log a plugin's stderr (D/internal/core/local_runtime/instance.go:281-338).
_OURS: Final = ("cachecore", "difykit", "rag_cache", "cached_model")
_REMEDIES: Final = {
    "invoke_text_embedding": "lower Texts sent in one request (max_chunks)",
    "invoke_multimodal_embedding": "lower Texts sent in one request (max_chunks)",
    "invoke_rerank": "send fewer or shorter documents",
    "invoke_multimodal_rerank": "send fewer or shorter documents",
}


# Errors that are raised on purpose, with a sentence for the caller.
_FORESEEN: Final = (
    InvokeError,
    CredentialsValidateFailedError,
    ToolProviderCredentialValidationError,
    PublicError,
    ValueError,
)


class GuardedPlugin(Plugin):
    """The SDK's plugin; it writes no line for which the host would kill it.

    Errors go through the same writer. The SDK would add a trace with the text of every
    cause, which may be long, and may repeat the text of a server or a user.
    """

    def run(self) -> None:
        """Serve the host, until it ends."""
        # The SDK and its imports make about a hundred thousand objects that are never
        # freed. Without freezing them, the collector takes a seventh of a hit's time.
        gc.collect()
        gc.freeze()
        for name in _OURS:
            logging.getLogger(name).addHandler(plugin_logger_handler)
        super().run()

    # The SDK's signature; the arguments after ``writer`` are passed on unchanged.
    def _execute_request(
        self, session_id: str, data: Any, reader: Any, writer: Any, *rest: Any
    ) -> None:
        action = str(data.get("action") or "")
        guarded = LimitedWriter(writer, _REMEDIES.get(action, "request less data"))
        try:
            super()._execute_request(session_id, data, reader, guarded, *rest)
        except Exception as error:  # noqa: BLE001 - every error belongs to its caller
            _note(action, error)
            error_object = guarded.stream_error_object(_error_object(error))
            guarded.session_message(session_id, error_object)


def _note(action: str, error: Exception) -> None:
    """Log the place of an unforeseen error, without its text."""
    if not isinstance(error, _FORESEEN):
        trace = "".join(traceback.format_tb(error.__traceback__))
        logger.error("%s failed: %s\n%s", action, type(error).__name__, trace)


def _error_object(error: Exception) -> dict[str, Any]:
    """An error in the host's format."""
    message = str(error)[:_LONGEST_ERROR]
    args = {"description": message} if isinstance(error, InvokeError) else {}
    return {"error_type": type(error).__name__, "message": message, "args": args}


class LimitedWriter(ResponseWriter):
    """Passes on the lines whose length the host accepts.

    Raises InvokeBadRequestError, with the remedy, for a line that is too long.
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
        limit = f"takes {size} bytes, and Dify accepts {MAX_LINE} at once"
        if _INVOKES in data[:_HEAD]:
            return f"The request to Dify {limit}; send less data."
        return f"The answer {limit}; {self._remedy}."

    def done(self) -> None:
        self._writer.done()
