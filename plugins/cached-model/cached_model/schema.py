"""The features, properties and parameters of a model for Dify's panels."""

from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from dify_plugin.entities import I18nObject
from dify_plugin.entities.model import (
    AIModelEntity,
    FetchFrom,
    ModelFeature,
    ModelPropertyKey,
    ModelType,
    ParameterRule,
    PriceConfig,
)

from cached_model.form import Form
from difykit import data

_PARAMETERS: Final = data.read(Path(__file__).with_name("parameters.yaml"))
# Only for models that may reason.
_OF_THINKING: Final = ("enable_thinking", "reasoning_format", "reasoning_effort")


# The SDK needs it on every call, and building it takes longer than a hit.
@lru_cache(256)
def model_schema(
    model: str, form: Form, model_type: ModelType = ModelType.LLM
) -> AIModelEntity:
    """The model as the form describes it."""
    price = form.settings.options.price
    properties: dict[ModelPropertyKey, Any] = {
        ModelPropertyKey.CONTEXT_SIZE: form.context_size
    }
    features = [ModelFeature.VISION] if form.vision else []
    rules: list[ParameterRule] = []
    if model_type is ModelType.LLM:
        properties[ModelPropertyKey.MODE] = form.mode
        features = _features(form)
        rules = [_rule(r, form) for r in _PARAMETERS if _is_shown(r["name"], form)]
    elif model_type is ModelType.TEXT_EMBEDDING:
        # Without it Dify sends one text at a time (host contract 5.6).
        properties[ModelPropertyKey.MAX_CHUNKS] = form.max_chunks
    return AIModelEntity(
        model=model,
        label=I18nObject(en_us=form.display_name or model),
        model_type=model_type,
        fetch_from=FetchFrom.CUSTOMIZABLE_MODEL,
        features=features,
        model_properties=properties,
        parameter_rules=rules,
        pricing=PriceConfig(
            input=Decimal(str(price.input)),
            output=Decimal(str(price.output)),
            unit=Decimal(1) / Decimal(price.per),
            currency=price.currency,
        ),
    )


def _is_shown(name: str, form: Form) -> bool:
    if name not in _OF_THINKING:
        return True
    if name == "enable_thinking":
        return form.thoughts == "supported"
    return form.thoughts != "not_supported"


def _features(form: Form) -> list[ModelFeature]:
    offered = {
        ModelFeature.TOOL_CALL: form.tool_style == "function_call",
        ModelFeature.MULTI_TOOL_CALL: form.tool_style == "tool_call",
        ModelFeature.STREAM_TOOL_CALL: form.stream_tool_calls,
        ModelFeature.VISION: form.vision,
        ModelFeature.VIDEO: form.video,
        ModelFeature.AUDIO: form.audio,
        ModelFeature.DOCUMENT: form.documents,
        ModelFeature.STRUCTURED_OUTPUT: form.structured_output,
        ModelFeature.AGENT_THOUGHT: form.thoughts != "not_supported",
    }
    return [feature for feature, has in offered.items() if has]


def _rule(rule: dict[str, Any], form: Form) -> ParameterRule:
    if rule["name"] == "max_tokens":
        most = form.max_tokens_to_sample
        rule = {**rule, "max": most, "default": min(rule["default"], most)}
    return ParameterRule(**rule)
