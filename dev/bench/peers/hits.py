"""A hit of each other cache, against ours in the same process and the same Redis.

Runs in the environment of ``installing``. Each gets the same prompt of 2 KB. Its answer
is compared, and the calls of the model server are counted.
"""

import asyncio
import os
import statistics
import time
import urllib.request
import uuid
from collections.abc import Callable, Coroutine, Iterator
from typing import Any
from urllib.parse import urlsplit

import redis

from bench.core_hit import hits
from bench.measure import Result, by_turns, timed, times_fewer
from bench.texts import messages, prose

# (times, callers) -> microseconds for each of them.
type Timer = Callable[[int, int], float]


def run(
    peer: str,
    redis_url: str,
    upstream: str,
    *,
    size: int,
    callers: int,
    rounds: int,
    times: int,
    limit: float | None,
) -> Iterator[Result]:
    """The multiple of our time that its hit takes; ``times`` is for the other."""
    text = prose(size)
    hit, other = hits(redis_url, text), _PEERS[peer](redis_url, upstream, text)
    called = _calls(upstream)
    ours, reference = by_turns(
        lambda: timed(hit, 10 * times, callers), lambda: other(times, callers), rounds
    )
    if _calls(upstream) != called:
        raise AssertionError(f"{peer}: the calls were not hits")
    how = f"{callers} caller{'s' * (callers > 1)}"
    name = f"{peer} / core hit, {size // 1024} KB, {how}"
    yield times_fewer(name, ours, reference, limit)


def replay(redis_url: str, upstream: str, *, rounds: int) -> Iterator[Result]:
    """Microseconds of processor in which LiteLLM streams a kept answer of 20 KB."""
    text = prose(20480)
    _lite(redis_url, upstream)
    ask = _litellm_asks(upstream, stream=True)

    def said() -> str:
        return "".join(part.choices[0].delta.content or "" for part in ask())

    said()
    called, spent = _calls(upstream), []
    for _ in range(rounds):
        began = time.process_time()
        if said() != text:
            raise AssertionError("LiteLLM streamed another answer")
        spent.append((time.process_time() - began) * 1e6)
    if _calls(upstream) != called:
        raise AssertionError("LiteLLM: the calls were not hits")
    middle = statistics.median(spent)
    name = "processor of a streamed hit, 20 KB, LiteLLM"
    yield Result(name, middle, middle, 1.0, (1.0, 1.0))


def _calls(upstream: str) -> int:
    with urllib.request.urlopen(f"{upstream}/calls") as response:
        return int(response.read())


def _checked(hit: Callable[[], str], text: str) -> Timer:
    hit()
    if hit() != text:
        raise AssertionError("another answer than was asked for")
    return lambda times, callers: timed(hit, times, callers)


# --- each cache, as documented ---------------------------------------------


def _dogpile(redis_url: str, upstream: str, text: str) -> Timer:
    # dogpilecache.sqlalchemy.org: the decorator, with keys of fixed length.
    from dogpile.cache import make_region
    from dogpile.cache.util import sha1_mangle_key

    del upstream
    region = make_region(key_mangler=lambda key: sha1_mangle_key(key.encode()))
    region.configure(
        "dogpile.cache.redis",
        expiration_time=600,
        arguments={"url": redis_url, "redis_expiration_time": 660},
    )

    @region.cache_on_arguments(namespace=uuid.uuid4().hex)  # type: ignore[untyped-decorator]
    def ask(prompt: str) -> str:
        del prompt
        return text

    return _checked(lambda: str(ask(str(messages()))), text)


def _langchain(redis_url: str, upstream: str, text: str) -> Timer:
    # docs.langchain.com: set_llm_cache, then the model is used as before.
    from langchain_community.cache import RedisCache
    from langchain_core.globals import set_llm_cache
    from langchain_openai import ChatOpenAI

    set_llm_cache(RedisCache(redis.Redis.from_url(redis_url), ttl=600))
    model = ChatOpenAI(model="m", base_url=upstream, api_key="none", temperature=0.2)  # type: ignore[arg-type]
    return _checked(lambda: str(model.invoke(messages()).content), text)


def _lite(redis_url: str, upstream: str) -> None:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    import litellm
    from litellm.caching.caching import Cache

    del upstream
    litellm.suppress_debug_info = True
    place = urlsplit(redis_url)
    namespace = uuid.uuid4().hex
    litellm.cache = Cache(
        type="redis", host=place.hostname, port=str(place.port), namespace=namespace
    )


def _litellm_asks(upstream: str, *, stream: bool) -> Callable[[], Any]:
    import litellm

    def ask() -> Any:
        return litellm.completion(
            model="openai/m",
            messages=messages(),
            temperature=0.2,
            api_base=upstream,
            api_key="none",
            caching=True,
            stream=stream,
        )

    return ask


def _litellm(redis_url: str, upstream: str, text: str) -> Timer:
    # docs.litellm.ai/docs/caching/all_caches: litellm.cache, then completion(caching=True).
    _lite(redis_url, upstream)
    ask = _litellm_asks(upstream, stream=False)
    return _checked(lambda: str(ask().choices[0].message.content), text)


def _betterdb(redis_url: str, upstream: str, text: str) -> Timer:
    # Its README: llm.check(), and llm.store() on a miss. It reports its use to its
    # authors unless this is turned off.
    os.environ["BETTERDB_TELEMETRY"] = "false"
    from betterdb_agent_cache import AgentCache, AgentCacheOptions
    from betterdb_agent_cache.types import AnalyticsOptions
    from valkey.asyncio import Valkey

    del upstream
    loop = asyncio.new_event_loop()

    async def opened() -> Any:
        options = AgentCacheOptions(
            client=Valkey.from_url(redis_url),
            name=uuid.uuid4().hex,
            analytics=AnalyticsOptions(disabled=True),
        )
        cache = AgentCache(options)
        await cache.llm.store(_betterdb_asks(), text)
        return cache

    cache = loop.run_until_complete(opened())

    async def hit() -> None:
        found = await cache.llm.check(_betterdb_asks())
        if found.response != text:
            raise AssertionError("another answer than was asked for")

    return lambda times, callers: loop.run_until_complete(_timed(hit, times, callers))


def _betterdb_asks() -> Any:
    return {"model": "m", "messages": messages(), "temperature": 0.2}


async def _timed(
    hit: Callable[[], Coroutine[Any, Any, None]], times: int, callers: int
) -> float:
    each = max(1, times // callers)

    async def call() -> None:
        for _ in range(each):
            await hit()

    started = time.perf_counter()
    await asyncio.gather(*(call() for _ in range(callers)))
    return (time.perf_counter() - started) / (each * callers) * 1e6


_PEERS = {
    "dogpile.cache": _dogpile,
    "LangChain RedisCache": _langchain,
    "LiteLLM SDK": _litellm,
    "BetterDB agent-cache": _betterdb,
}
