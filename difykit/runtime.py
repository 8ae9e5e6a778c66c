"""What the host that a plugin runs in allows."""

import os


def outlives_call() -> bool:
    """Whether work may go on behind a call: a serverless runtime is gone with it."""
    return os.environ.get("INSTALL_METHOD", "").lower() != "serverless"
