"""The core used alone, as its example shows it."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_example_of_the_core_asks_once_and_again_when_it_is_invalidated() -> None:
    done = subprocess.run(
        [sys.executable, "examples/core.py"],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    asked, answer = "(the model is asked)\n", "Parcels arrive after three days.\n"
    assert done.stdout == asked + answer + answer + asked + answer


def test_a_request_without_meaning_does_not_load_its_modules() -> None:
    code = (
        "import sys; from cachecore import Piece, Request, StoreSettings, open_cache\n"
        "cache = open_cache(StoreSettings('n', secret='s' * 20))\n"
        "asked = Request(kind='llm', label='m', form={})\n"
        "list(cache.stream(asked, lambda: [Piece('a', finish_reason='stop')]))\n"
        "loaded = [name for name in sys.modules if name.startswith('cachecore.meaning.')]\n"
        "assert loaded == [], loaded\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
