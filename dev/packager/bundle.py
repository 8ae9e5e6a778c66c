"""All packages in one ``.difybndl``, which Dify installs together.

A bundle's manifest has other fields than a plugin's
(pkg/bundle_packager/memory_zip.go:19-88): ``labels`` is plural, and beside it only
files called README are allowed. Its packages are inside it, so it needs neither a
marketplace nor a network.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import yaml

from packager import build
from packager.release import Release

NAME = "answer_cache"
_LABELS = {
    "en_US": "Answer Cache",
    "zh_Hans": "答案缓存",
    "ja_JP": "回答キャッシュ",
    "pt_BR": "Cache de respostas",
}
_DESCRIPTION = {
    "en_US": "Cached Model and RAG Cache: repeated answers from your Redis in milliseconds.",
    "zh_Hans": "缓存模型与 RAG 缓存：在毫秒内从您的 Redis 给出重复的答案。",
    "ja_JP": "キャッシュモデルと RAG キャッシュ：繰り返しの回答を Redis からミリ秒で返します。",
    "pt_BR": "Modelo com cache e Cache de RAG: respostas repetidas do seu Redis em milissegundos.",
}


def make(root: Path, release: Release, packages: Sequence[Path], target: Path) -> Path:
    """Write ``answer_cache-<version>.difybndl`` of these packages; return its path."""
    held = {hashlib.sha256(p.read_bytes()).hexdigest(): p for p in packages}
    manifest = {
        "name": NAME,
        "labels": _LABELS,
        "description": _DESCRIPTION,
        "icon": "icon.svg",
        "version": release.version,
        "author": release.author,
        "type": "bundle",
        "dependencies": [
            {"type": "package", "value": {"path": checksum}} for checksum in held
        ],
        "tags": ["utilities", "rag"],
    }
    content = {
        "manifest.yaml": yaml.safe_dump(manifest, allow_unicode=True).encode(),
        "README.md": (root / "README.md").read_bytes(),
        "_assets/icon.svg": (root / "_assets/icon.svg").read_bytes(),
        **{f"_assets/{name}": path.read_bytes() for name, path in held.items()},
    }
    path = target / f"{NAME}-{release.version}.difybndl"
    build.write(path, content)
    return path
