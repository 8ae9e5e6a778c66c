"""300 requests of many kinds, the same on every run."""

import base64
import json
import random
from collections.abc import Iterator
from typing import Any

SEED = 20261122
QUESTIONS = [
    "When is my parcel here?",
    "退货流程是什么？",
    "発票はもらえますか。",
    "Quanto custa o envio?",
    "Wie lange gilt die Gewährleistung?",
    "هل تقبلون الدفع بالبطاقة؟",
    "Есть ли скидки?",
    "🤔🤔🤔",
    "a\u0301 and á",
    "tabs\tand\nnew lines\r\n",
    '{"json": "in a question"}',
    "<think>not a thought</think>",
]
TOOLS = [
    {
        "name": "get_weather",
        "description": "Says the weather.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city"],
        },
    },
    {
        "name": "now",
        "description": "",
        "parameters": {"type": "object", "properties": {}},
    },
]
SCHEMA = {
    "type": "object",
    "properties": {"reason": {"type": "string"}, "answer": {"type": "integer"}},
    "required": ["answer"],
}


def requests(count: int = 300) -> Iterator[dict[str, Any]]:
    """``invoke_llm`` data without provider, model and credentials."""
    chance = random.Random(SEED)
    for number in range(count):
        yield _request(chance, number)


def _request(chance: random.Random, number: int) -> dict[str, Any]:
    question = f"{chance.choice(QUESTIONS)} #{number}"
    parameters: dict[str, Any] = {"cache_control": "always"}
    for name, values in (
        ("temperature", (0, 0.2, 0.70, 1.0, 1)),
        ("top_p", (1, 1.0, 0.5)),
        ("max_tokens", (16, 512)),
        ("seed", (7,)),
        ("presence_penalty", (-0.5, 0.0)),
        ("cache_tags", ("faq", "faq,prices")),
        ("cache_ttl", ("5 minutes", "1 hour")),
    ):
        if chance.random() < 0.3:
            parameters[name] = chance.choice(values)
    kind = chance.choice(
        ["plain", "system", "turns", "image", "long", "tools", "schema", "result"]
    )
    tools: list[dict[str, Any]] | None = None
    messages: list[dict[str, Any]] = [{"role": "user", "content": question}]
    match kind:
        case "system":
            messages.insert(
                0, {"role": "system", "content": "You are the shop's assistant."}
            )
        case "turns":
            earlier = [
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": "Hello", "tool_calls": []},
            ]
            messages = earlier * chance.randint(1, 4) + messages
        case "image":
            image = base64.b64encode(chance.randbytes(200)).decode()
            part = {
                "type": "image",
                "base64_data": image,
                "format": "png",
                "mime_type": "image/png",
            }
            messages[0]["content"] = [
                {"type": "text", "data": question},
                {**part, "detail": "high"},
            ]
        case "long":
            messages.insert(
                0, {"role": "system", "content": question * chance.randint(50, 500)}
            )
        case "tools":
            tools = TOOLS[: chance.randint(1, 2)]
        case "schema":
            parameters |= {
                "response_format": "json_schema",
                "json_schema": json.dumps(SCHEMA),
            }
        case "result":
            function = {"name": "now", "arguments": "{}"}
            call = {"id": "c1", "type": "function", "function": function}
            messages += [
                {"role": "assistant", "content": "", "tool_calls": [call]},
                {
                    "role": "tool",
                    "content": "12:00",
                    "tool_call_id": "c1",
                    "name": "now",
                },
            ]
    return {
        "model_parameters": parameters,
        "prompt_messages": messages,
        "tools": tools,
        "stop": chance.choice([None, [], ["END"]]),
        "stream": chance.random() < 0.8,
    }
