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
