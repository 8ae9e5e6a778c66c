"""How a call of a plugin may fail."""


class PluginError(Exception):
    """The plugin answered a request with an error."""

    def __init__(self, error_type: str, message: str) -> None:
        super().__init__(f"{error_type}: {message}")
        self.error_type = error_type
        self.message = message


class PluginDied(Exception):
    """The process is gone.

    The daemon lets a waiting caller hang until EXECUTION_TIMEOUT; here it is
    told at once.
    """
