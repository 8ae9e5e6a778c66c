"""Packages that the daemon accepts."""

import zipfile
from pathlib import Path

import pytest

from devhost.package import BadPackage, Package

MANIFEST = """
author: a
name: n
version: 0.0.1
plugins: {tools: [provider/n.yaml]}
resource: {permission: {tool: {enabled: true}, model: {enabled: true, llm: true, rerank: false}}}
"""


def package(tmp_path: Path, files: dict[str, str]) -> Package:
    path = tmp_path / "x.difypkg"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return Package(path)


def test_its_identity_is_made_of_its_bytes(tmp_path: Path) -> None:
    one = package(tmp_path, {"manifest.yaml": MANIFEST})
    assert one.identifier == f"a/n:0.0.1@{one.checksum}"
    assert len(one.checksum) == 64
    two = package(tmp_path, {"manifest.yaml": MANIFEST, "more": ""})
    assert two.checksum != one.checksum


@pytest.mark.parametrize("name", ["folder/", "../outside", "/absolute", "back\\slash"])
def test_a_strange_path_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadPackage):
        _ = package(tmp_path, {"manifest.yaml": MANIFEST, name: ""}).files


def test_a_model_may_not_come_with_a_tool(tmp_path: Path) -> None:
    both = MANIFEST.replace("{tools:", "{models: [x], tools:")
    with pytest.raises(BadPackage, match="together"):
        _ = package(tmp_path, {"manifest.yaml": both}).manifest


def test_permissions_are_read_as_the_daemon_reads_them(tmp_path: Path) -> None:
    made = package(tmp_path, {"manifest.yaml": MANIFEST})
    assert made.permission("model", "llm")
    assert made.permission("tool")
    assert not made.permission("model", "rerank")
    assert not made.permission("app")


def test_it_unpacks_once(tmp_path: Path) -> None:
    made = package(tmp_path, {"manifest.yaml": MANIFEST, "a/b.txt": "x"})
    folder = made.unpack(tmp_path / "root")
    (folder / "a/b.txt").write_text("changed")
    assert made.unpack(tmp_path / "root") == folder
    assert (folder / "a/b.txt").read_text() == "changed"
