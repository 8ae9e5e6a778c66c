"""An OpenTelemetry span for each answer, for a collector with OTLP over HTTP.

Plug it in as ``answer_worker.traces:export``; it needs requirements-traces.txt.
OpenTelemetry's own variables name the collector (``OTEL_EXPORTER_OTLP_ENDPOINT`` and others).
Names follow its conventions for generative AI, if there is one.

An answer is a trace of its own, because Dify gives plugins no context of a trace. An answer
from another caller's load is linked to that load's span, whose ids are computed from the
event.
"""

import hashlib
import os
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.status import Status, StatusCode

_NANO: Final = 1_000_000_000
_SCOPE: Final = InstrumentationScope("answer_cache")
_OPERATIONS: Final[Mapping[str, str]] = {"llm": "chat", "embedding": "embeddings"}
_FAILED: Final = "failed"
_SHARED: Final = "shared"


def export(event: dict[str, Any]) -> None:
    """Give an event to the exporter, which sends it with others a little later."""
    _processor().on_end(span(event))


@cache
def _processor() -> BatchSpanProcessor:
    """The exporter. Its thread starts in the working process, after Celery has forked.

    If the collector is not available, its bounded queue fills, and further spans are
    dropped.
    """
    return BatchSpanProcessor(OTLPSpanExporter())


@cache
def _resource() -> Resource:
    name = os.environ.get("OTEL_SERVICE_NAME") or "answer-cache"
    return Resource.create({SERVICE_NAME: name})


def span(event: Mapping[str, Any]) -> ReadableSpan:
    """The span of an event."""
    kind, model, result = str(event["kind"]), str(event["label"]), event["result"]
    operation = _OPERATIONS.get(kind, kind)
    end = int(float(event["at"]) * _NANO)
    load = str(event.get("load") or "")
    follows = bool(load) and result == _SHARED
    leads = bool(load) and not follows
    # The leader's span has the ids of the load, so that followers can link to it.
    own = f"load {load}" if leads else f"event {event['id']}"
    return ReadableSpan(
        name=f"{operation} {model}",
        context=_context(event, own),
        resource=_resource(),
        attributes=_attributes(event, operation),
        links=[Link(_context(event, f"load {load}"))] if follows else [],
        kind=SpanKind.CLIENT,
        status=Status(StatusCode.ERROR if result == _FAILED else StatusCode.UNSET),
        start_time=end - int(float(event["seconds"]) * _NANO),
        end_time=end,
        instrumentation_scope=_SCOPE,
    )


def _context(event: Mapping[str, Any], name: str) -> SpanContext:
    digest = hashlib.sha256(f"{event['namespace']} {name}".encode()).digest()
    trace, own = int.from_bytes(digest[:16]), int.from_bytes(digest[16:24])
    sampled = TraceFlags(TraceFlags.SAMPLED)
    return SpanContext(trace, own, is_remote=False, trace_flags=sampled)


def _attributes(event: Mapping[str, Any], operation: str) -> dict[str, Any]:
    tokens = int(event["prompt_tokens"]), int(event["completion_tokens"])
    paid = tokens if event["billed"] else (0, 0)
    found = {
        "gen_ai.operation.name": operation,
        "gen_ai.request.model": event["label"],
        "gen_ai.usage.input_tokens": paid[0],
        "gen_ai.usage.output_tokens": paid[1],
        "answer_cache.namespace": event["namespace"],
        "answer_cache.result": event["result"],
        "answer_cache.reason": event["reason"],
        "answer_cache.key": event["key"],
        "answer_cache.saved_tokens": 0 if event["billed"] else sum(tokens),
        "answer_cache.saved_seconds": float(event["saved_seconds"]),
        "answer_cache.saved_money": float(event["saved_money"]),
        "answer_cache.currency": event["currency"],
    }
    if event["app"]:
        found["answer_cache.app"] = event["app"]
    if event["finish_reason"]:
        found["gen_ai.response.finish_reasons"] = (event["finish_reason"],)
    if event["first_seconds"] is not None:
        found["answer_cache.first_seconds"] = float(event["first_seconds"])
    return found
