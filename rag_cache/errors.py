"""What is told a builder or a caller, as one sentence each."""


class BadInput(ValueError):
    """A parameter that makes no sense; the text is for the workflow's builder."""


class KnowledgeError(Exception):
    """The knowledge API did not do what it was asked; ``str`` is one sentence."""


class NoKnowledgeBase(KnowledgeError):
    """The knowledge API has none with this id."""


class ReverseError(Exception):
    """The workspace did not do what it was asked; ``str`` is one sentence.

    ``status`` is the HTTP status that says the same.
    """

    def __init__(self, sentence: str, status: int = 502) -> None:
        super().__init__(sentence)
        self.status = status


class NotServed(Exception):
    """No model of this name is picked; ``str`` is one sentence."""
