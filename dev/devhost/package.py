"""A ``.difypkg``: its files, its identity, and the folder that it is unpacked to."""

import hashlib
import re
import shutil
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

# pkg: internal/types/app/default.go:25
MAX_PACKAGE_BYTES = 50 * 1024 * 1024
# The virtual environment of each is beside it.
KEPT_BUILDS = 3


_IDENTITY = re.compile(
    r"[a-z0-9_-]{1,64}/[a-z0-9_-]{1,255}:\d{1,4}(\.\d{1,4}){1,3}(-\w{1,16})?"
)


class BadPackage(Exception):
    """The daemon would refuse this file."""


@dataclass(frozen=True)
class Package:
    """One plugin, as it is uploaded."""

    path: Path

    @cached_property
    def files(self) -> dict[str, bytes]:
        """Every file by its name.

        An entry for a folder makes the daemon's Walk fail (pkg/plugin_packager/decoder/
        zip.go:121-135). The limit applies to the unpacked sum (:83-101).
        """
        with zipfile.ZipFile(self.path) as archive:
            names = archive.namelist()
            if any(name.endswith("/") for name in names):
                raise BadPackage("the package has an entry for a folder")
            if sum(info.file_size for info in archive.infolist()) > MAX_PACKAGE_BYTES:
                raise BadPackage("the package is larger than 50 MiB")
            for name in names:
                path = PurePosixPath(name)
                if path.is_absolute() or ".." in path.parts or "\\" in name:
                    raise BadPackage(f"the package has the path {name!r}")
            return {name: archive.read(name) for name in names}

    def yaml(self, name: str) -> Any:
        """A YAML file of the package."""
        if name not in self.files:
            raise BadPackage(f"the package has no {name}")
        return yaml.safe_load(self.files[name])

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The manifest, checked for kinds that can't be provided together.

        pkg/entities/plugin_entities/plugin_declaration.go:291-295
        """
        manifest: dict[str, Any] = self.yaml("manifest.yaml")
        kinds = manifest.get("plugins") or {}
        if not any(kinds.values()):
            raise BadPackage("the manifest lists no plugin")
        # pkg/entities/plugin_entities/identity.go:22
        identity = "{author}/{name}:{version}".format_map(manifest)
        if not _IDENTITY.fullmatch(identity):
            raise BadPackage(f"{identity!r} is not an identity that the daemon accepts")
        if kinds.get("models") and (kinds.get("tools") or kinds.get("endpoints")):
            raise BadPackage("model and tool or endpoint cannot be provided together")
        return manifest

    @cached_property
    def checksum(self) -> str:
        """pkg/plugin_packager/decoder/checksum.go:10-45."""
        whole = hashlib.sha256()
        for name in sorted(self.files):
            whole.update(hashlib.sha256(name.encode()).digest())
            whole.update(hashlib.sha256(self.files[name]).digest())
        return whole.hexdigest()

    @property
    def plugin_id(self) -> str:
        """``author/name``."""
        return f"{self.manifest['author']}/{self.manifest['name']}"

    @property
    def identifier(self) -> str:
        """``author/name:version@checksum``."""
        return f"{self.plugin_id}:{self.manifest['version']}@{self.checksum}"

    @cached_property
    def providers(self) -> dict[str, dict[str, Any]]:
        """The provider or group file of each kind: models, tools, endpoints."""
        kinds = self.manifest["plugins"]
        return {kind: self.yaml(paths[0]) for kind, paths in kinds.items() if paths}

    @cached_property
    def tools(self) -> list[dict[str, Any]]:
        """The declaration of each tool."""
        provider = self.providers.get("tools", {})
        return [self.yaml(name) for name in provider.get("tools", [])]

    def permission(self, *path: str) -> bool:
        """Whether the manifest asks for a permission, as in ("model", "llm")."""
        granted: Any = self.manifest["resource"].get("permission") or {}
        for name in path:
            if not isinstance(granted, dict) or not granted.get("enabled", True):
                return False
            granted = granted.get(name, False)
        if isinstance(granted, dict):
            return bool(granted.get("enabled"))
        return bool(granted)

    def unpack(self, root: Path) -> Path:
        """Unpack unless the folder exists; return the plugin's folder.

        internal/core/local_runtime/constructor.go:63-86, environment.go:35-64
        """
        folder = root / self.identifier.replace(":", "-")
        if not folder.is_dir() or not any(folder.iterdir()):
            _prune(folder.parent, self.manifest["name"])
            for name, data in self.files.items():
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
        return folder


def _prune(author: Path, name: str) -> None:
    """Remove all but the newest builds of a plugin; the daemon keeps all of them."""
    builds = sorted(author.glob(f"{name}-*"), key=lambda path: path.stat().st_mtime)
    for build in builds[:-KEPT_BUILDS]:
        shutil.rmtree(build, ignore_errors=True)
