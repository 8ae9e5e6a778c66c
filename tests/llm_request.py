"""A request to a model, as Dify's daemon sends it."""

from typing import Any


def llm_request(form: dict[str, str], question: str, **changes: Any) -> dict[str, Any]:
    return {
        "provider": "cached_model",
        "model_type": "llm",
        "model": "m",
        "credentials": form,
        "model_parameters": {"temperature": 0.5},
        "prompt_messages": [{"role": "user", "content": question}],
        "tools": None,
        "stop": None,
        "stream": True,
        **changes,
    }
