"""What is asked and answered in the benchmarks."""

_SENTENCE = "The parcel is on its way and arrives within two to four working days. "


def prose(size: int) -> str:
    """Text of ``size`` characters."""
    return (_SENTENCE * (size // len(_SENTENCE) + 1))[:size]


def messages() -> list[dict[str, str]]:
    """A prompt of 2 KB, as a workflow asks it."""
    return [
        {"role": "system", "content": prose(2048)},
        {"role": "user", "content": "When does my parcel come?"},
    ]
