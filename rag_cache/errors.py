"""Errors for the builder of a workflow or the caller of an endpoint."""

from difykit.errors import PublicError


class BadInput(PublicError, ValueError):
    """A parameter is invalid; the text is for the workflow's builder."""

    status = 400


class CacheUnavailable(BadInput):
    """The Redis did not carry out an operator's command; the request is valid."""

    status = 503


class KnowledgeError(PublicError):
    """A request to the knowledge API failed."""


class NoKnowledgeBase(KnowledgeError):
    """The knowledge API has no knowledge base with this id."""

    status = 404


class ReverseError(PublicError):
    """A call to a model or app of the workspace failed."""

    def __init__(self, sentence: str, status: int = 502) -> None:
        super().__init__(sentence)
        self.status = status


class NotServed(PublicError):
    """No model of this name is picked in the endpoint's settings."""

    status = 404
