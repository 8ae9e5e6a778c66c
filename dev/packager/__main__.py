"""Build every package, and a bundle of them; each run writes the same bytes."""

import argparse
import hashlib
import sys
from pathlib import Path

from packager import bundle, release, signing
from packager.build import RECIPES, build

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Do the work of scripts/package; 0 if all of it succeeded."""
    parser = argparse.ArgumentParser(prog="scripts/package", description=__doc__)
    parser.add_argument(
        "folder", nargs="?", type=Path, default=ROOT / "dist", help="default: dist"
    )
    parser.add_argument(
        "--sign", type=Path, metavar="KEY.PEM", help="sign with this RSA private key"
    )
    parser.add_argument(
        "--verify",
        type=Path,
        metavar="KEY.PEM",
        help="build nothing; check the folder's packages against this public key",
    )
    asked = parser.parse_args()
    try:
        if asked.verify:
            return _verify(asked.folder, asked.verify)
        _build(asked.folder, asked.sign)
    except (release.BadRelease, signing.BadSignature) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _build(folder: Path, key: Path | None) -> None:
    of = release.read(ROOT)
    others = release.other_versions(ROOT, of)
    if others:
        stand = ", ".join(f"{name} says {other}" for name, other in others.items())
        msg = f"release.yaml says version {of.version}, but {stand}."
        raise release.BadRelease(msg)
    made = [build(ROOT, recipe, folder) for recipe in RECIPES]
    if key is not None:
        for path in made:
            signing.sign(path, key)
    made.append(bundle.make(ROOT, of, made, folder))
    for path in made:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
        print(f"{shown}  {digest}")


def _verify(folder: Path, key: Path) -> int:
    packages = sorted(folder.glob("*.difypkg"))
    if not packages:
        print(f"There is no .difypkg in {folder}.", file=sys.stderr)
        return 1
    for path in packages:
        signing.verify(path, key)
        print(f"{path.name} has not changed since it was signed.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
