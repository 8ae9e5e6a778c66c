"""Environments of other packages: made once, from hashes, beside the development one."""

import shutil
import subprocess
import sys
from pathlib import Path

from devhost.environment import find_uv

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[2]


def python(wanted: Path = _HERE / "requirements.txt") -> Path | None:
    """The interpreter that has the ``wanted`` packages; None if they can't be installed."""
    made = _ROOT / ".cache" / f"bench-{wanted.parent.name}"
    interpreter, ready = made / "bin" / "python", made / "ready"
    if ready.exists() and ready.read_bytes() == wanted.read_bytes():
        return interpreter
    uv = find_uv()
    shutil.rmtree(made, ignore_errors=True)
    venv = [uv, "venv", "--quiet", "--python", sys.executable, str(made)]
    sync = [uv, "pip", "sync", "--quiet", "--python", str(interpreter)]
    try:
        subprocess.run(venv, check=True)
        subprocess.run([*sync, "--require-hashes", str(wanted)], check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    if _runs_at_start(made):
        shutil.rmtree(made)
        return None
    ready.write_bytes(wanted.read_bytes())
    return interpreter


def _runs_at_start(made: Path) -> list[Path]:
    """Files that make every Python there run code: LiteLLM once shipped malware this way."""
    found = made.glob("lib/python*/site-packages/*.pth")
    return [path for path in found if path.name != "_virtualenv.pth"]
