"""python -m packager [FOLDER]: build every package into FOLDER (dist)."""

import hashlib
import sys
from pathlib import Path

from packager.build import RECIPES, build

root = Path(__file__).resolve().parents[2]
target = Path(sys.argv[1]) if len(sys.argv) > 1 else root / "dist"
for recipe in RECIPES:
    path = build(root, recipe, target)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    print(f"{path.relative_to(root) if path.is_relative_to(root) else path}  {digest}")
