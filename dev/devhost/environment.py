"""A clean virtual environment with the package's requirements.

It is made as internal/core/local_runtime/setup_python_environment.go makes it: ``uv
venv --python 3.12`` (:422), ``uv pip install -r requirements.txt`` (:75-93), and a file
that says that the installation has finished (:372-401).
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

INSTALL_TIMEOUT = 600  # seconds; setup_python_environment.go:166


class InstallFailed(Exception):
    """uv could not install a requirement of the package."""


def find_uv() -> str:
    """The uv of this environment, or one on the PATH."""
    beside = str(Path(sys.executable).parent)
    return shutil.which("uv", path=beside) or shutil.which("uv") or "uv"


def python_of(folder: Path, uv: str) -> Path:
    """The interpreter of an unpacked plugin; installs the requirements first if needed."""
    venv = folder / ".venv"
    python, flag = venv / "bin" / "python", venv / "dify" / "plugin.json"
    if flag.exists():
        return python
    if (folder / "pyproject.toml").exists():
        # The daemon prefers it to requirements.txt (:135-158); our packages must not
        # contain one.
        raise InstallFailed(
            "the package has a pyproject.toml, which devhost does not support"
        )
    if not (folder / "requirements.txt").exists():
        raise InstallFailed(
            "neither pyproject.toml nor requirements.txt found in plugin directory"
        )
    _run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(venv)])
    install = [uv, "pip", "install", "--quiet", "--python", str(python)]
    _run([*install, "-r", str(folder / "requirements.txt")])
    _run([str(python), "-c", "import dify_plugin"])
    flag.parent.mkdir()
    flag.write_text("{}")
    return python


def _run(command: list[str]) -> None:
    done = subprocess.run(
        command,
        env={**os.environ, "UV_NO_CONFIG": "1"},
        capture_output=True,
        text=True,
        timeout=INSTALL_TIMEOUT,
        check=False,
    )
    if done.returncode:
        raise InstallFailed(done.stderr[-2000:])
