"""python -m packager.checks: build all packages, and check them."""

import sys
import tempfile
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from packager import release
from packager.build import RECIPES, build
from packager.checks import documents, in_use, layout, manifest, runtime, safety
from packager.checks.package import Built, Check

ROOT = Path(__file__).resolve().parents[3]
# Checks that need a service or a tool outside this checkout.
_BY_HAND = {
    "P7": "known vulnerabilities, at osv.dev",
    "T2": "packing anew with Dify's CLI",
    "T7": "a real Dify",
}
STATIC: dict[str, Check] = {
    **layout.CHECKS,
    **manifest.CHECKS,
    **documents.CHECKS,
    **safety.CHECKS,
    **in_use.CHECKS,
}


def _running() -> dict[str, Check]:
    """The checks that install a package and start it, on each Python of this machine."""
    return {
        "P7, wheels": runtime.wheels,
        **{
            f"T1, T3, {version} {which}": partial(
                runtime.installs, version=version, resolution=resolution
            )
            for version in runtime.VERSIONS
            if runtime.interpreter(version)
            for which, resolution in (
                ("highest", "highest"),
                ("lowest", "lowest-direct"),
            )
        },
    }


def problems(built: Built, *, running: bool) -> Iterator[tuple[str, list[str]]]:
    """Each check's id and problems."""
    for rule, check in (STATIC | _running() if running else STATIC).items():
        yield rule, list(check(built))


def unpacked(path: Path, scratch: Path) -> Built:
    """A built package, unpacked in ``scratch``."""
    folder = scratch / path.stem
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    return Built(path, release.read(ROOT), folder)


def main() -> int:
    """Print each check; 0 if there are no problems."""
    failed = 0
    with tempfile.TemporaryDirectory() as place:
        scratch = Path(place)
        packages = [unpacked(build(ROOT, one, scratch), scratch) for one in RECIPES]
        with ThreadPoolExecutor(len(packages)) as pool:
            # A check mostly waits for a package index or for its own process.
            checked = pool.map(lambda one: list(problems(one, running=True)), packages)
        for built, rules in zip(packages, checked, strict=True):
            print(f"\n{built.path.name}")
            for rule, found in rules:
                print(f"  {rule:26} {'FAILED' if found else 'ok'}")
                for problem in found:
                    print(f"    {problem}")
                failed += bool(found)
    missing = {
        f"T1, T3, {version}": f"there is no Python {version} on this machine"
        for version in runtime.VERSIONS
        if not runtime.interpreter(version)
    }
    for rule, what in (_BY_HAND | missing).items():
        print(f"  {rule:26} not run here: {what}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
