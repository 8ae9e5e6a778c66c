"""Errors for the builder of a workflow or the caller of an endpoint."""

from difykit.errors import PublicError


class BadInput(PublicError, ValueError):
    """A parameter that makes no sense; the text is for the workflow's builder."""

    status = 400


class CacheUnavailable(BadInput):
    """The Redis did not do what an operator asked; nothing is wrong with the request."""

    status = 503


class KnowledgeError(PublicError):
    """The knowledge API did not do what it was asked."""


class NoKnowledgeBase(KnowledgeError):
    """The knowledge API has none with this id."""

    status = 404


class ReverseError(PublicError):
    """The workspace did not do what it was asked."""

    def __init__(self, sentence: str, status: int = 502) -> None:
        super().__init__(sentence)
        self.status = status


class NotServed(PublicError):
    """No model of this name is picked."""

    status = 404
