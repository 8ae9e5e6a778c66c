"""A benchmark in a separate process: under gevent, or with other packages.

python -m bench.apart MODULE FUNCTION ARGUMENTS [gevent], where the arguments are JSON;
prints one JSON object for each result.
"""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.measure import Result

_ROOT = Path(__file__).resolve().parents[2]


def run(
    module: str,
    function: str,
    *,
    python: str | Path = sys.executable,
    gevent: bool = False,
    **arguments: Any,
) -> Iterator[Result]:
    """The results of ``function(**arguments)`` there. Raises RuntimeError if it fails."""
    command = [str(python), "-m", "bench.apart", module, function]
    command += [json.dumps(arguments), *(["gevent"] if gevent else [])]
    environ = {**os.environ, "PYTHONPATH": f"{_ROOT}{os.pathsep}{_ROOT / 'dev'}"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=environ, cwd=_ROOT
    ) as process:
        for line in process.stdout or ():
            yield Result.read(json.loads(line))
    if process.returncode:
        msg = f"{module}.{function} failed; what it said stands above"
        raise RuntimeError(msg)


def _main() -> None:
    module, function, arguments = sys.argv[1:4]
    results = getattr(importlib.import_module(module), function)(
        **json.loads(arguments)
    )
    for result in results:
        print(json.dumps(asdict(result)), flush=True)


if __name__ == "__main__":
    if sys.argv[4:] == ["gevent"]:
        from gevent import monkey

        monkey.patch_all()
    _main()
