"""A chat request in OpenAI's format -> a request to a model of the workspace."""

import json
from collections.abc import Mapping
from typing import Any, Final

from dify_plugin.entities.model.llm import LLMModelConfig

from difykit.codec import chats
from rag_cache import inputs
from rag_cache.errors import BadInput
from rag_cache.openai.served import Served
from rag_cache.work import Chat

type Json = dict[str, Any]

# Fields that are handled separately, and fields on which no answer depends.
_OWN: Final = frozenset(
    {
        *("model", "messages", "stream", "stream_options", "stop", "tools"),
        *("tool_choice", "response_format", "user", "n", "max_completion_tokens"),
        *("cache_control", "cache_ttl", "cache_tags", "context_keys"),
        *("metadata", "store", "service_tier", "prompt_cache_key"),
        *("prompt_cache_retention", "safety_identifier"),
    }
)
# Fields that Dify can't pass to a model, and the values at which they change no answer.
_ONLY: Final[Mapping[str, tuple[Any, ...]]] = {
    "n": (1,),
    "tool_choice": ("auto", "none"),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "parallel_tool_calls": (True,),
    "functions": ([],),
    "function_call": ("none",),
    "audio": (),
    "prediction": (),
    "web_search_options": (),
}


def chat_of(body: Json, model: Served) -> Chat:
    """The request to the model. Raises BadInput.

    Parameters that are unknown here are passed on. Dify drops those for which the model
    has no rule.
    """
    for name, possible in _ONLY.items():
        value = body.get(name)
        if value is not None and value not in possible:
            shown = " or ".join(json.dumps(one) for one in possible)
            remedy = f"set it to {shown}, or leave it out" if shown else "leave it out"
            msg = f"Dify can't pass this value of {name} to a model; {remedy}."
            raise BadInput(msg)
    wanted = {name: v for name, v in body.items() if name not in _OWN | _ONLY.keys()}
    limit = body.get("max_completion_tokens")
    if limit is not None:
        wanted["max_tokens"] = limit
    wanted |= _response_format(body.get("response_format"))
    try:
        return Chat(
            LLMModelConfig(
                provider=model.provider,
                model=str(model.selector["model"]),
                mode=str(model.selector.get("mode") or "chat"),
                completion_params={
                    **inputs.table(model.selector, "completion_params"),
                    **{name: v for name, v in wanted.items() if v is not None},
                },
            ),
            chats.from_openai(body.get("messages")),
            _stop(body.get("stop")),
            []
            if body.get("tool_choice") == "none"
            else chats.tools_of(body.get("tools")),
        )
    except ValueError as error:
        raise BadInput(str(error)) from error


def _stop(given: Any) -> list[str]:
    words = [given] if isinstance(given, str) else given or []
    if not isinstance(words, list) or not all(isinstance(one, str) for one in words):
        raise BadInput("stop must be a text or a list of texts.")
    return words


def _response_format(wanted: Any) -> Json:
    """OpenAI's object as the two parameters that Dify's models know."""
    kind = wanted.get("type") if isinstance(wanted, dict) else wanted
    if kind in (None, "text"):
        return {}
    if kind == "json_object":
        return {"response_format": kind}
    schema = wanted.get("json_schema") if isinstance(wanted, dict) else None
    if kind != "json_schema" or not isinstance(schema, dict):
        msg = "response_format must be of type text, json_object or json_schema."
        raise BadInput(msg)
    return {"response_format": kind, "json_schema": json.dumps(schema)}
