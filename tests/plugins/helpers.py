"""Ask the model as the SDK asks it."""

from typing import Any

from dify_plugin.entities.model.llm import LLMResultChunk
from dify_plugin.entities.model.message import PromptMessage, UserPromptMessage


def ask(
    form: dict[str, str],
    question: str | list[PromptMessage] = "hi",
    *,
    stream: bool = True,
    **parameters: Any,
) -> list[LLMResultChunk]:
    from models.llm.llm import CachedModelLargeLanguageModel

    messages = (
        [UserPromptMessage(content=question)] if isinstance(question, str) else question
    )
    more = {
        name: parameters.pop(name)
        for name in ("tools", "stop", "user")
        if name in parameters
    }
    model = CachedModelLargeLanguageModel([])
    return list(model.invoke("m", form, messages, parameters, stream=stream, **more))


def text(chunks: list[LLMResultChunk]) -> str:
    return "".join(str(chunk.delta.message.content) for chunk in chunks)


def turn_clocks(monkeypatch: Any, caller: Any, seconds: float) -> None:
    """Let ``seconds`` pass for the cache of a caller's credentials."""
    from rag_cache import settings

    cache = settings.open_cache(settings.read(caller.credentials))
    for part in (cache._lookup, cache._keeper):
        now = part._clock
        monkeypatch.setattr(part, "_clock", lambda now=now: now() + seconds)
