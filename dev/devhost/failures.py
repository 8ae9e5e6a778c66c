"""The ways in which a call of a plugin fails."""


class PluginError(Exception):
    """The plugin answered a request with an error."""

    def __init__(self, error_type: str, message: str) -> None:
        super().__init__(f"{error_type}: {message}")
        self.error_type = error_type
        self.message = message


class PluginDied(Exception):
    """The process has ended.

    The daemon's caller waits until EXECUTION_TIMEOUT; here the caller gets this error
    at once.
    """
