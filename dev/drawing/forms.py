"""The forms as Dify shows them, drawn from the YAML that describes them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from drawing.shapes import LINE, SOFT, Canvas

_WIDTH, _LEFT = 460, 24
# Of each form those fields that a beginner fills in.
_MODEL = (
    "endpoint_url",
    "api_key",
    "context_size",
    "redis_url",
    "cache_namespace",
    "cache_ttl",
)
_TOOLS = (
    *("redis_url", "cache_namespace", "cache_ttl", "knowledge_api_url"),
    "knowledge_api_key",
)
_VALUES = {
    "model": "qwen3-8b",
    "endpoint_url": "http://vllm:8000/v1",
    "context_size": "32768",
    "redis_url": "redis://:••••••@redis-cache:6379/0",
    "cache_namespace": "sales",
    "cache_ttl": "faq",
    "knowledge_api_url": "http://api:5001/v1",
    "knowledge_api_key": "••••••••••••",
    "api_key": "••••••••••••",
}


def draw(root: Path) -> dict[str, str]:
    """The pictures by their names."""
    model = yaml.safe_load(
        (root / "plugins/cached-model/provider/cached_model.yaml").read_text("utf-8")
    )
    schema = model["model_credential_schema"]
    fields = {one["variable"]: one for one in schema["credential_form_schemas"]}
    named = {"model": {**schema["model"], "required": True}, **fields}
    tools = yaml.safe_load((root / "provider/rag_cache.yaml").read_text("utf-8"))
    return {
        "form-cached-model.svg": _form(
            "Add Model — Cached Model",
            named,
            ("model", *_MODEL),
            len(fields) - len(_MODEL),
        ),
        "form-rag-cache.svg": _form(
            "Authorize — RAG Cache",
            tools["credentials_for_provider"],
            _TOOLS,
            len(tools["credentials_for_provider"]) - len(_TOOLS),
        ),
    }


def _form(
    title: str, fields: Mapping[str, Any], shown: Sequence[str], more: int
) -> str:
    canvas = Canvas(_WIDTH, title)
    canvas.text(_LEFT, 36, title, size=17, bold=True)
    y = 66.0
    for name in shown:
        field = fields[name]
        label = field["label"]["en_US"]
        canvas.text(
            _LEFT, y, f"{label} *" if field.get("required") else label, bold=True
        )
        canvas.box(_LEFT, y + 8, _WIDTH - 2 * _LEFT, 32, fill="#f9fafb", line=LINE)
        canvas.text(_LEFT + 12, y + 29, _VALUES[name])
        y += 66
    canvas.text(
        _LEFT, y, f"… and {more} more, none of which has to be filled in", fill=SOFT
    )
    return canvas.svg()
