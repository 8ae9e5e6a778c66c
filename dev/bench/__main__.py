"""python -m bench, for scripts/bench: prints a table and writes JSON."""

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from bench.machine import machine
from bench.measure import Result
from bench.suite import GROUPS, Bench

RESULTS = Path(__file__).parent / "results"


def main() -> int:
    """Run every benchmark; 0 if every figure is within its limit."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measure our code and its references by turns, and print the ratios.",
    )
    parser.add_argument(
        "--quick", action="store_true", help="a part of each, under 60 s in all"
    )
    parser.add_argument("--only", nargs="+", choices=GROUPS, help="only these groups")
    asked = parser.parse_args()
    found: dict[str, list[Result]] = {}
    setting = {"machine": machine(), "quick": asked.quick}
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / time.strftime("%Y%m%d-%H%M%S.json")
    with ExitStack() as stack:
        bench = Bench(stack, quick=asked.quick)
        for name, run in GROUPS.items():
            if asked.only and name not in asked.only:
                continue
            print(f"\n{name}", flush=True)
            for result in run(bench):
                found.setdefault(name, []).append(result)
                print(_line(result), flush=True)
            # After each group: a later one may fail.
            _write(path, setting, found)
    print(f"\n{path}")
    held = all(result.held for results in found.values() for result in results)
    return 0 if held else 1


def _write(
    path: Path, setting: Mapping[str, object], found: Mapping[str, Sequence[Result]]
) -> None:
    groups = {name: [asdict(result) for result in of] for name, of in found.items()}
    path.write_text(json.dumps({**setting, "groups": groups}, indent=2))


def _line(result: Result) -> str:
    low, high = result.spread
    bound = ""
    if result.limit is not None:
        sign = ">=" if result.least else "<="
        bound = f"{sign} {result.limit:g}{'' if result.held else '  MISSED'}"
    return (
        f"  {result.name:52} {result.ours:9.0f} {result.reference:9.0f} {result.of:3}"
        f"{result.figure:9.3f} {result.unit:2} ({low:.3f} to {high:.3f})  {bound}"
    )


if __name__ == "__main__":
    sys.exit(main())
