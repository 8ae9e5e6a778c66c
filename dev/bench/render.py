"""Rendering a prompt template that is kept compiled, against compiling it each time."""

import time

from bench.measure import Result, by_turns, ratio, timed
from rag_cache import templates

_TEMPLATE = """You are the assistant of {{ shop }}.
{% if language %}Answer in {{ language }}.{% endif %}
Facts:{% for item in context %}
- {{ loop.index }}. {{ item.title }}: {{ item.content|trim }}{% endfor %}

{{ query }}"""
_GIVEN = {
    "shop": "Lantern",
    "language": "English",
    "context": [
        {"title": f"page {n}", "content": "Parcels arrive. " * 20} for n in range(4)
    ],
    "query": "When?",
}


def run(*, rounds: int, times: int, limit: float) -> Result:
    """The ratio of both times."""
    kept = {"template": _TEMPLATE, "variables": _GIVEN}
    count = iter(range(10**9))

    def fresh() -> None:
        source = f"{_TEMPLATE}{{# {next(count)} {time.perf_counter()} #}}"
        templates.render({"template": source, "variables": _GIVEN})

    ours, reference = by_turns(
        lambda: timed(lambda: templates.render(kept), times),
        lambda: timed(fresh, max(1, times // 10)),
        rounds,
    )
    return ratio("rendering / compiling each time", ours, reference, limit)
