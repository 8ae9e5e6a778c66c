from cachecore.events import Event, Kept, Subject, guarded


def test_a_hook_that_fails_breaks_nothing() -> None:
    def hook(_: Event) -> None:
        raise RuntimeError("a listener's own fault")

    guarded(hook)(Kept(Subject("llm", "m"), 1))
