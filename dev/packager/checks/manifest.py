"""M: the manifest. T4 to T6: its forms and tools."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime

from packager.checks.package import LANGUAGES, Built, Check, strings_of, walk

_TAGS = set(
    "search image videos weather finance design travel social news medical productivity "
    "education business entertainment utilities agent rag other trigger".split()
)
_KEYS = (
    *("author", "name", "version", "type", "icon", "plugins", "privacy", "repo"),
    *("contact", "label", "description", "meta", "resource", "created_at"),
)
_LONGEST_TEXT = 1024
_LONGEST_DEFAULT = 256
_MOST_FIELDS = 32
_TEMPLATE = b"DIFY_MARKETPLACE_TEMPLATE_ICON_DO_NOT_USE"


def keys(built: Built) -> Iterator[str]:
    yield from (f"no {key}" for key in _KEYS if not built.manifest.get(key))
    if built.manifest.get("type") != "plugin":
        yield "type is not plugin"


def dify_version(built: Built) -> Iterator[str]:
    version = built.manifest["meta"].get("minimum_dify_version", "")
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        yield f"minimum_dify_version is {version!r}"


def identity(built: Built) -> Iterator[str]:
    manifest, release = built.manifest, built.release
    for key in ("author", "version"):
        if str(manifest[key]) != getattr(release, key):
            yield f"{key} is {manifest[key]}, release.yaml says otherwise"
    if not re.fullmatch(r"[a-z0-9_-]{1,128}", manifest["name"]):
        yield f"name is {manifest['name']}"
    for name, data in built.documents.items():
        author = data.get("identity", {}).get("author", release.author)
        if author != release.author:
            yield f"{name} is by {author}"


def repository(built: Built) -> Iterator[str]:
    if built.manifest.get("repo") != built.release.repository:
        yield f"repo is {built.manifest.get('repo')}"


def icons(built: Built) -> Iterator[str]:
    for key in ("icon", "icon_dark"):
        name = built.manifest.get(key, "")
        data = built.files.get(f"_assets/{name}")
        if not data or len(name) > 128 or _TEMPLATE in data:
            yield f"{key} is {name!r}"


def privacy(built: Built) -> Iterator[str]:
    text = built.text("PRIVACY.md").lower()
    if built.manifest.get("privacy") != "PRIVACY.md" or not text.strip():
        yield "PRIVACY.md is missing or not named"
    if "please fill in" in text:
        yield "PRIVACY.md is the template's"


def resources(built: Built) -> Iterator[str]:
    resource = built.manifest["resource"]
    if resource.get("memory", 0) < 1:
        yield "memory is missing"
    permission = resource.get("permission", {})
    used = {
        "model": _uses(built, r"interfaces\.model|session\.model\b"),
        "tool": bool(built.manifest["plugins"].get("tools")),
        "endpoint": bool(built.manifest["plugins"].get("endpoints")),
        "app": _uses(built, r"session\.app\b"),
        "storage": _uses(built, r"session\.storage\b"),
    }
    for name, needs in used.items():
        if bool(permission.get(name, {}).get("enabled")) < needs:
            yield f"{name} is used and not asked for"


def _uses(built: Built, pattern: str) -> bool:
    return any(re.search(pattern, text) for _, text in built.sources(".py"))


def tags(built: Built) -> Iterator[str]:
    for value in (built.manifest, *built.documents.values()):
        found = value.get("tags", []) or value.get("identity", {}).get("tags", [])
        yield from (f"tag {tag}" for tag in found if tag not in _TAGS)


def runner(built: Built) -> Iterator[str]:
    meta = built.manifest["meta"]
    if not set(meta["arch"]) <= {"amd64", "arm64"}:
        yield f"arch is {meta['arch']}"
    wanted = {"language": "python", "version": "3.12", "entrypoint": "main"}
    if meta["runner"] != wanted:
        yield f"runner is {meta['runner']}"
    if meta["version"] not in ("0.0.1", "0.0.2"):
        yield f"meta.version is {meta['version']}"


def kinds(built: Built) -> Iterator[str]:
    plugins = built.manifest["plugins"]
    if plugins.get("models") and len(plugins) > 1:
        yield "models stand together with other kinds"
    yield from (f"{len(of)} of {kind}" for kind, of in plugins.items() if len(of) != 1)


def created(built: Built) -> Iterator[str]:
    moment = datetime.fromisoformat(str(built.manifest["created_at"]))
    if moment > datetime.now(UTC):
        yield "created_at lies in the future"


def languages(built: Built) -> Iterator[str]:
    for name, data in built.documents.items():
        for texts in strings_of(data):
            if set(texts) != set(LANGUAGES):
                yield f"{name}: {sorted(texts)} of {texts['en_US']!r}"
            if any(not text or len(text) >= _LONGEST_TEXT for text in texts.values()):
                yield f"{name}: empty or too long: {texts['en_US']!r}"


def endpoint_settings(built: Built) -> Iterator[str]:
    for name in built.manifest["plugins"].get("endpoints", []):
        if not isinstance(built.documents[name].get("settings"), list):
            yield f"{name}: settings is no list"


def forms(built: Built) -> Iterator[str]:
    for name, data in built.documents.items():
        for value in walk(data):
            fields = isinstance(value, dict) and value.get("credential_form_schemas")
            if not fields:
                continue
            if len(fields) > _MOST_FIELDS:
                yield f"{name}: {len(fields)} fields"
            for field in fields:
                if "required" not in field:
                    yield f"{name}: {field['variable']} does not say whether required"
                default = field.get("default", "")
                if not isinstance(default, str) or len(default) >= _LONGEST_DEFAULT:
                    yield f"{name}: default of {field['variable']}"


def tools(built: Built) -> Iterator[str]:
    for name, data in built.documents.items():
        if not name.startswith("tools/"):
            continue
        described = data.get("description", {})
        if not described.get("human") or not described.get("llm"):
            yield f"{name}: no description for people or for models"
        schema = data.get("output_schema")
        if schema is not None and schema.get("type") != "object":
            yield f"{name}: output_schema is no object"


CHECKS: dict[str, Check] = {
    "M1": keys,
    "M2": dify_version,
    "M3": identity,
    "M4": repository,
    "M5": icons,
    "M6": privacy,
    "M7": resources,
    "M8": tags,
    "M9": runner,
    "M10": kinds,
    "M11": created,
    "M12, T6": languages,
    "T4": endpoint_settings,
    "T5": forms,
    "T6": tools,
}
