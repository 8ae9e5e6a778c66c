"""A package like ours, but for some of its files: what ours is measured against."""

import zipfile
from collections.abc import Mapping
from pathlib import Path


def changed(
    package: Path, scratch: Path, name: str, files: Mapping[str, bytes]
) -> Path:
    """The package under another name, with these files in place of its own."""
    made = scratch / f"{name}.difypkg"
    with zipfile.ZipFile(package) as old, zipfile.ZipFile(made, "w") as new:
        kept = {one: old.read(one) for one in old.namelist()}
        lines = kept["manifest.yaml"].splitlines()
        renamed = [
            f"name: {name}".encode() if _is_name(line) else line for line in lines
        ]
        kept["manifest.yaml"] = b"\n".join(renamed)
        for one, data in {**kept, **files}.items():
            new.writestr(one, data)
    return made


def _is_name(line: bytes) -> bool:
    return line.startswith(b"name: ")
