"""What is told a builder or a caller, as one sentence each."""


class Told(Exception):
    """``str`` is one sentence; ``status`` is the HTTP status that says the same."""

    status = 502


class BadInput(Told, ValueError):
    """A parameter that makes no sense; the text is for the workflow's builder."""

    status = 400


class KnowledgeError(Told):
    """The knowledge API did not do what it was asked."""


class NoKnowledgeBase(KnowledgeError):
    """The knowledge API has none with this id."""


class ReverseError(Told):
    """The workspace did not do what it was asked."""

    def __init__(self, sentence: str, status: int = 502) -> None:
        super().__init__(sentence)
        self.status = status


class NotServed(Told):
    """No model of this name is picked."""

    status = 404
