"""L: the files of a package, and their sizes."""

from collections.abc import Iterator
from pathlib import PurePosixPath

from packager.checks.package import Built, Check

_MOST_BYTES = 50 * 1024 * 1024
_MOST_FILES = 5000
_NO_FOLDERS = set(
    ".git .hg .svn .venv venv env __pycache__ .pytest_cache .ruff_cache .mypy_cache .tox "
    ".nox .idea .vscode node_modules pycache build dist tests docs scripts".split()
)
_NO_FILES = set(
    ".DS_Store .gitconfig Thumbs.db desktop.ini id_rsa .env Makefile".split()
)
_NO_ENDS = {
    "L6": ".key .pem .p12 .pfx .pyc .pyo .log .tmp .swp .swo .bak",
    "L7": ".zip .tar .gz .tgz .bz2 .xz .7z .rar",
    "L8": ".dll .dylib .exe .node .pyd .so",
    "L9": ".sh .bin .run .command .app",
}
_MAGIC = (b"\x7fELF", b"MZ", b"\xfe\xed\xfa", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe")
_NEEDED = ("manifest.yaml", "README.md", "PRIVACY.md", "main.py", "requirements.txt")
_EXECUTABLE = 0o111 << 16
_LINK = 0o120000 << 16


def name(built: Built) -> Iterator[str]:
    wanted = f"{built.manifest['name']}-{built.release.version}.difypkg"
    if built.path.name != wanted:
        yield f"the file is {built.path.name}, not {wanted}"


def size(built: Built) -> Iterator[str]:
    if built.path.stat().st_size > _MOST_BYTES:
        yield "the package is larger than 50 MiB"
    if sum(map(len, built.files.values())) > _MOST_BYTES:
        yield "it unpacks to more than 50 MiB"
    if len(built.files) > _MOST_FILES:
        yield f"it has {len(built.files)} files"


def folders(built: Built) -> Iterator[str]:
    for one in built.files:
        for part in PurePosixPath(one).parts[:-1]:
            if part in _NO_FOLDERS:
                yield f"{one} is in {part}"


def files(built: Built) -> Iterator[str]:
    for one in built.files:
        last = PurePosixPath(one).name
        if last in _NO_FILES or last.startswith(".env."):
            yield one


def ends(rule: str) -> Check:
    def check(built: Built) -> Iterator[str]:
        for one, data in built.files.items():
            if one.endswith(tuple(_NO_ENDS[rule].split())):
                yield one
            elif rule == "L8" and data.startswith(_MAGIC):
                yield f"{one} is a binary"

    return check


def modes(built: Built) -> Iterator[str]:
    for entry in built.entries:
        if entry.external_attr & _EXECUTABLE:
            yield f"{entry.filename} is executable"
        if entry.external_attr & _LINK == _LINK:
            yield f"{entry.filename} is a link"


def compiles(built: Built) -> Iterator[str]:
    for one, text in built.sources(".py"):
        try:
            compile(text, one, "exec")
        except SyntaxError as error:
            yield f"{one}: {error.msg}"


def needed(built: Built) -> Iterator[str]:
    icon = f"_assets/{built.manifest.get('icon')}"
    yield from (one for one in (*_NEEDED, icon) if not built.files.get(one))


CHECKS: dict[str, Check] = {
    "L1": name,
    "L2": size,
    "L3, L4, L10": folders,
    "L5": files,
    **{rule: ends(rule) for rule in _NO_ENDS},
    "L9, L13": modes,
    "L11": compiles,
    "L12": needed,
}
