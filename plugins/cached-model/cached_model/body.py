"""The call for the upstream, and the form from which the cache's key is made.

The body is built first, and the key is made from it. So nothing that reaches the upstream
can be missing from the key.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dify_plugin.entities.model.message import (
    PromptMessage,
    PromptMessageTool,
    SystemPromptMessage,
    TextPromptMessageContent,
)
from dify_plugin.errors.model import InvokeBadRequestError

from cachecore.question import Match, matched
from cached_model.form import Form
from difykit.codec import few_shots, urls
from difykit.codec import messages as codec

# Models that accept only max_completion_tokens.
_NEW_TOKEN_PARAM: Final = re.compile(r"^(o\d|gpt-5)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the upstream. Only ``stream`` and ``user`` are missing from ``body``.

    ``thoughts`` says whether the answer shows the model's reasoning.
    """

    url: str
    body: dict[str, Any]
    thoughts: bool
    schema: Mapping[str, Any] | None = None

    def key_form(
        self, form: Form, *, names_user: bool = False, match: Match = "exact"
    ) -> dict[str, object]:
        """Everything that can change the answer, with the question as ``match`` says.

        tests/plugins/test_classified.py lists the fields of the form that are missing, each
        with its reason. Headers are digested, because they may be secrets; Dify's file URLs
        have no signatures.

        The response's schema is there twice, once as text: models write an object's
        properties in the schema's order, which the canonical form of the body does not
        keep.
        """
        body = self._keyed()
        if match != "exact":
            # One word for all kinds of match: equal questions are equal for each kind.
            body = {**_matched(body, match), "match": "normalized"}
        return {
            "url": self.url,
            "body": urls.unsigned(body),
            "schema": json.dumps(self.schema) if self.schema is not None else None,
            "names_user": names_user,
            "headers": form.headers_digest,
            "thoughts": self.thoughts,
        }

    def _keyed(self) -> dict[str, Any]:
        if "messages" not in self.body:
            return self.body
        return {**self.body, "messages": _numbered(self.body["messages"])}

    @property
    def extracts(self) -> bool:
        """Whether it is a Parameter Extractor's, whose tool call is its answer."""
        return few_shots.extracts(self.body.get("messages") or ())


def _numbered(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The messages with the ids of tool calls numbered in their order.

    Dify makes new ids for the same calls: in the history of an agent
    (core/agent/base_agent_runner.py) and in the examples of a Parameter Extractor.
    """
    numbers: dict[Any, str] = {}

    def number(call_id: Any) -> str:
        return numbers.setdefault(call_id, f"call_{len(numbers)}")

    numbered = []
    for message in messages:
        one = dict(message)
        if one.get("tool_calls"):
            calls = one["tool_calls"]
            one["tool_calls"] = [{**call, "id": number(call["id"])} for call in calls]
        if "tool_call_id" in one:
            one["tool_call_id"] = number(one["tool_call_id"])
        numbered.append(one)
    return numbered


def _matched(body: dict[str, Any], match: Match) -> dict[str, Any]:
    """The body, with the text of its last user message normalised."""
    if "prompt" in body:
        return body  # It is one text, in which the question's begin is not known.
    *before, last = body["messages"]
    content = last.get("content")
    if last.get("role") != "user":
        return body
    if isinstance(content, str):
        content = matched(match, content)
    elif isinstance(content, list):
        content = [
            {**part, "text": matched(match, part["text"])}
            if part.get("type") == "text"
            else part
            for part in content
        ]
    return {**body, "messages": [*before, {**last, "content": content}]}


def parts(key_form: Mapping[str, Any], question: str) -> dict[str, object]:
    """The parts of a call except its question, from its key's form."""
    body = dict(urls.stripped(key_form["body"]))
    prompt = body.pop("prompt", None)
    tools = [body.pop(name, None) for name in ("tools", "functions")]
    if prompt is not None:  # It is one text.
        before = str(prompt).removesuffix(question)
        return {"system": before, "parameters": body}
    of_messages = codec.parts(body.pop("messages"))
    return {**of_messages, "tools": tools, "parameters": body}


def build(
    form: Form,
    model: str,
    messages: Sequence[PromptMessage],
    parameters: Mapping[str, Any],
    tools: Sequence[PromptMessageTool],
    stop: Sequence[str],
) -> Call:
    """The call for the form and the node; raises InvokeBadRequestError."""
    name = form.model_name(model)
    body: dict[str, Any] = {"model": name, **parameters}
    schema = _response_format(body)
    thoughts = _switch_thinking(body, form) is not False
    if schema is not None:
        messages = _with_schema(schema, messages)
    if "max_tokens" in body and _token_param(form, model, name) != "max_tokens":
        body["max_completion_tokens"] = body.pop("max_tokens")
    if stop:
        body["stop"] = [stop] if isinstance(stop, str) else list(stop)
    if form.mode == "completion":
        body["prompt"] = codec.text_of(messages)
        return Call(f"{form.base_url}/completions", body, thoughts, schema)
    native = form.settings.options.media_parts == "native"
    body["messages"] = codec.to_openai(messages, form.tool_style, native=native)
    if tools and form.tool_style != "no_call":
        functions = codec.tools_to_openai(tools)
        if form.tool_style == "function_call":
            body["functions"] = functions
        else:
            body["tools"] = [{"type": "function", "function": f} for f in functions]
            body["tool_choice"] = "auto"
    return Call(f"{form.base_url}/chat/completions", body, thoughts, schema)


def _switch_thinking(body: dict[str, Any], form: Form) -> bool | None:
    """Convert the node's switches to those of servers; None if none was set.

    Switches that OpenAI does not accept are sent in the extended mode only: vLLM and SGLang
    read ``chat_template_kwargs``, Zhipu ``thinking``, Qwen ``enable_thinking``.
    """
    asked = body.pop("enable_thinking", None)
    reasoning_format = body.pop("reasoning_format", None)
    effort = body.pop("reasoning_effort", None)
    if form.thoughts != "supported":
        thinks: bool | None = form.thoughts == "only_thinking_supported"
    else:
        thinks = None if asked is None else bool(asked)
    template: dict[str, Any] = {}
    if thinks is not None and form.extended:
        template = {"enable_thinking": thinks, "thinking": thinks}
        body["thinking"] = {"type": "enabled" if thinks else "disabled"}
        body["enable_thinking"] = thinks
    if reasoning_format and form.extended:
        body["reasoning_format"] = reasoning_format
    if effort and thinks is not False:
        body["reasoning_effort"] = effort
        template |= {"reasoning_effort": effort} if form.extended else {}
    if template:
        body["chat_template_kwargs"] = template
    return thinks


def _with_schema(
    schema: Mapping[str, Any], messages: Sequence[PromptMessage]
) -> list[PromptMessage]:
    """The messages with the schema in the system message, for servers that ignore it."""
    words = (
        "Answer with one JSON object and nothing else. It must be valid under this "
        f"JSON schema:\n{json.dumps(schema, ensure_ascii=False)}"
    )
    changed = list(messages)
    for place, message in enumerate(changed):
        if isinstance(message, SystemPromptMessage):
            content = message.content
            if isinstance(content, list):
                changed[place] = SystemPromptMessage(
                    content=[TextPromptMessageContent(data=words), *content]
                )
            else:
                changed[place] = SystemPromptMessage(
                    content=f"{words}\n\n{content or ''}"
                )
            return changed
    return [SystemPromptMessage(content=words), *changed]


def _token_param(form: Form, *names: str) -> str:
    if form.token_param_name != "auto":  # noqa: S105
        return form.token_param_name
    new = any(map(_NEW_TOKEN_PARAM.match, names))
    return "max_completion_tokens" if new else "max_tokens"


def _response_format(body: dict[str, Any]) -> Mapping[str, Any] | None:
    """Convert Dify's two string parameters to OpenAI's object; return the schema."""
    wanted, text = body.pop("response_format", None), body.pop("json_schema", None)
    if not wanted or wanted == "text":
        return None
    if wanted != "json_schema":
        body["response_format"] = {"type": wanted}
        return None
    try:
        data = json.loads(text or "")
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        msg = (
            "JSON Schema (json_schema) must be a JSON object for this response format."
        )
        raise InvokeBadRequestError(msg)
    # Dify wraps its schema as {"schema", "name"}; people paste bare ones.
    wrapped = data if isinstance(data.get("schema"), dict) else {"schema": data}
    body["response_format"] = {
        "type": "json_schema",
        "json_schema": {"name": "answer", **wrapped},
    }
    return wrapped["schema"]
