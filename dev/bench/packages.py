"""A package like ours except for some files: the reference of a measurement."""

import zipfile
from collections.abc import Mapping
from pathlib import Path


def changed(
    package: Path, scratch: Path, name: str, files: Mapping[str, bytes]
) -> Path:
    """The package under another name, with these files instead of its own."""
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
