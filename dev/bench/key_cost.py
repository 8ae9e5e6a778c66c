"""The key of a 20 KB prompt, against its serialiser and digest alone."""

import hashlib
import json

import orjson

from bench.measure import Result, by_turns, ratio, timed
from bench.texts import prose
from cachecore.opening import StoreSettings, open_cache
from cachecore.request import Request


def run(*, rounds: int, times: int) -> list[Result]:
    """Our whole key, then the standard library instead of orjson, each against orjson."""
    messages = [
        {"role": "system", "content": prose(20480)},
        {"role": "user", "content": "When does my parcel come?"},
    ]
    form = {"url": "http://h/v1", "body": {"temperature": 0.2, "messages": messages}}
    request = Request(kind="llm", label="m", form=form)
    cache = open_cache(StoreSettings("bench"))

    def with_orjson() -> str:
        text = orjson.dumps(form, option=orjson.OPT_SORT_KEYS)
        return hashlib.sha256(text).hexdigest()

    def with_json() -> str:
        text = json.dumps(form, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    results = []
    for name, work, limit in (
        ("key, 20 KB / orjson + SHA-256", lambda: cache.key(request), 3.0),
        ("json + SHA-256 / orjson + SHA-256", with_json, None),
    ):
        ours, reference = by_turns(
            lambda work=work: timed(work, times),  # type: ignore[misc]
            lambda: timed(with_orjson, times),
            rounds,
        )
        results.append(ratio(name, ours, reference, limit))
    return results
