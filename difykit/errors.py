"""Errors that a plugin raises on purpose."""


class PublicError(Exception):
    """``str`` is one sentence for the caller, ``status`` the HTTP status that fits it."""

    status = 502
