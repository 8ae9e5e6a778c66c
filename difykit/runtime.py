"""The properties of the host in which a plugin runs."""

import os


def outlives_call() -> bool:
    """Whether work may go on after a call: a serverless runtime ends with the call."""
    return os.environ.get("INSTALL_METHOD", "").lower() != "serverless"
