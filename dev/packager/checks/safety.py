"""S: secrets, unsafe calls, and words that a reviewer objects to. P1 to P4: dependencies."""

import ast
import re
from collections.abc import Iterator

from packager.checks.package import Built, Check

_KEYS = re.compile(
    r"sk-[A-Za-z0-9]{20}|gh[pousr]_[A-Za-z0-9]{20}|xox[baprs]-[A-Za-z0-9-]{10}|AKIA[0-9A-Z]{16}"
    r"|eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.|-----BEGIN [A-Z ]*PRIVATE KEY"
)
_LITERAL = re.compile(
    r"(?i)\b(?:api_key|token|password|secret)\b[\"']?\s*[:=]\s*[\"']([A-Za-z0-9+/_-]{12,})[\"']"
)
_PLACEHOLDERS = re.compile(
    r"(?i)your|example|test|changeme|xxx|secret-input|text-input|auto"
)
_UNSAFE = {"eval", "exec", "compile", "__import__"}  # plain functions, not of a module
_UNSAFE_OF_MODULES = {"import_module", "system", "popen", "Popen"}
# Imports that one module needs; the package's README gives the reason under "Security
# and privacy".
_EXPLAINED = {
    ("rag_cache/templates.py", "Popen"),
    ("rag_cache/templates.py", "subprocess"),
}
_NO_MODULES = {"pickle", "marshal", "subprocess", "shelve", "dill"}
_WORDS = re.compile(
    # (transaction= is an argument of a Redis pipeline.)
    r"(?i)\b(payments?|checkout|refund(?:s|ed)?|transactions?(?!=)|trading|deposits?|withdraw(?:al|als)?"
    r"|token transfer)\b"
)
_NAMED = re.compile(r"(?i)\b(credentials?|api_key|secret|password)\b")
_REQUIREMENT = re.compile(r"([a-z0-9_-]+)>=([0-9.]+),<([0-9.]+)")
_HEAVY = set(
    "torch transformers sentence-transformers faiss-cpu chromadb opencv-python spacy tensorflow "
    "playwright selenium llama-cpp-python".split()
)
_LOWEST_SDK = (0, 9, 0)
_VERBS = {"get", "post", "put", "delete", "head", "patch", "request"}


def keys(built: Built) -> Iterator[str]:
    for name, text in built.sources(".py", ".yaml", ".md", ".html", ".txt"):
        yield from (f"{name}: {found[0][:8]}…" for found in _KEYS.finditer(text))


def literals(built: Built) -> Iterator[str]:
    for name, text in built.sources(".py", ".yaml", ".md"):
        for found in _LITERAL.finditer(text):
            if not _PLACEHOLDERS.search(found[1]):
                yield f"{name}: {found[0][:20]}…"


def _calls(built: Built) -> Iterator[tuple[str, ast.Call, str, str]]:
    for name, text in built.sources(".py"):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call):
                called = node.func
                if isinstance(called, ast.Attribute):
                    yield name, node, ast.unparse(called.value), called.attr
                elif isinstance(called, ast.Name):
                    yield name, node, "", called.id


def timeouts(built: Built) -> Iterator[str]:
    for name, call, owner, attribute in _calls(built):
        asks = owner in ("requests", "httpx") and attribute in _VERBS
        if asks and not any(word.arg == "timeout" for word in call.keywords):
            yield f"{name}:{call.lineno} asks without a limit of time"


def logged(built: Built) -> Iterator[str]:
    for name, call, owner, _ in _calls(built):
        if owner in ("logger", "logging"):
            said = [ast.unparse(part) for part in call.args[1:]]
            if any(_NAMED.search(part) for part in said):
                yield f"{name}:{call.lineno} logs {', '.join(said)}"


def unsafe(built: Built) -> Iterator[str]:
    for name, call, owner, attribute in _calls(built):
        known = _UNSAFE_OF_MODULES if owner else _UNSAFE
        if attribute in known and not _is_explained(built, name, attribute):
            yield f"{name}:{call.lineno} calls {attribute}"


def _is_explained(built: Built, name: str, what: str) -> bool:
    return (name, what) in _EXPLAINED and any(
        "Security and privacy notes" in text and "subprocess" in text
        for page, text in built.sources(".md")
        if page == "README.md"
    )


def modules(built: Built) -> Iterator[str]:
    for name, text in built.sources(".py"):
        for node in ast.walk(ast.parse(text)):
            wanted = []
            if isinstance(node, ast.Import):
                wanted = [one.name for one in node.names]
            elif isinstance(node, ast.ImportFrom):
                wanted = [node.module or ""]
            for one in wanted:
                module = one.partition(".")[0]
                if module in _NO_MODULES and not _is_explained(built, name, module):
                    yield f"{name} imports {one}"


def words(built: Built) -> Iterator[str]:
    for name, text in built.sources(".py", ".yaml", ".md"):
        found = sorted({match[0].lower() for match in _WORDS.finditer(text)})
        if found:
            yield f"{name}: {', '.join(found)}"


def bounded(built: Built) -> Iterator[str]:
    for line in built.requirements:
        if not _REQUIREMENT.fullmatch(line):
            yield f"{line} is not name>=low,<high"


def sdk(built: Built) -> Iterator[str]:
    for line in built.requirements:
        found = _REQUIREMENT.fullmatch(line)
        if found and found[1].replace("_", "-") == "dify-plugin":
            low = tuple(map(int, found[2].split(".")))
            if low < _LOWEST_SDK:
                yield f"{line} allows what the marketplace refuses"
            return
    yield "dify-plugin is not required from 0.9.0 on"


def light(built: Built) -> Iterator[str]:
    names = {re.split(r"[<>=]", line)[0] for line in built.requirements}
    yield from sorted(names & _HEAVY)


CHECKS: dict[str, Check] = {
    "S1": keys,
    "S2": literals,
    "S3": timeouts,
    "S4": logged,
    "S5": unsafe,
    "S6": words,
    "S7": modules,
    "P1, P3": bounded,
    "P2": sdk,
    "P4": light,
}
