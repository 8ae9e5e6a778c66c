"""One release file, signatures as the daemon checks them, a bundle, and the checks."""

import json
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from drawing.__main__ import PICTURES, pictures

from packager import bundle, release, signing
from packager.build import RECIPES, build, write
from packager.checks.__main__ import STATIC, problems, unpacked

ROOT = Path(__file__).parents[2]
TOOLS = RECIPES[0]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Both halves of an RSA key, in OpenSSL's older format, which the daemon reads."""
    folder = tmp_path_factory.mktemp("keys")
    made = rsa.generate_private_key(65537, 2048)
    private, public = folder / "private", folder / "public"
    private.write_bytes(
        made.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
    public.write_bytes(
        made.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.PKCS1
        )
    )
    return private, public


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return build(ROOT, TOOLS, tmp_path)


# --- the release file -----------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("version", "1"),
        ("author", "dify-friends"),
        ("author", "Big Letters"),
        ("repository", "http://github.com/a/b"),
        ("repository", "https://somewhere.example/a/b"),
        ("contact", "nobody"),
    ],
)
def test_a_release_that_the_marketplace_would_refuse_is_refused_here(
    tmp_path: Path, name: str, value: str
) -> None:
    (tmp_path / "dev").mkdir()
    data = yaml.safe_load((ROOT / "dev/release.yaml").read_text("utf-8"))
    (tmp_path / "dev/release.yaml").write_text(yaml.safe_dump({**data, name: value}))
    with pytest.raises(release.BadRelease, match=name):
        release.read(tmp_path)


def test_a_release_that_lacks_a_line_says_what_it_needs(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/release.yaml").write_text("version: 1.0.0\n")
    with pytest.raises(release.BadRelease, match="needs version, author, repository"):
        release.read(tmp_path)


def test_the_version_is_the_same_everywhere() -> None:
    assert release.other_versions(ROOT, release.read(ROOT)) == {}


def test_a_file_with_another_version_is_found(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "manifest.yaml", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "plugins/cached-model").mkdir(parents=True)
    (tmp_path / "plugins/cached-model/manifest.yaml").write_text("version: 9.9.9\n")
    found = release.other_versions(tmp_path, release.read(ROOT))
    assert found == {"plugins/cached-model/manifest.yaml": "9.9.9"}


def test_a_package_names_the_author_of_its_release_and_nobody_else(
    tmp_path: Path,
) -> None:
    fork = tmp_path / "fork"
    ignored = shutil.ignore_patterns(".*", "dist", "tests", "docs")
    shutil.copytree(ROOT, fork, ignore=ignored)
    text = (fork / "dev/release.yaml").read_text("utf-8")
    text = text.replace("author: answercache", "author: somebody")
    (fork / "dev/release.yaml").write_text(text, "utf-8")
    with zipfile.ZipFile(build(fork, TOOLS, tmp_path)) as archive:
        said = {name: archive.read(name) for name in archive.namelist()}
    of = release.read(fork)
    manifest = yaml.safe_load(said["manifest.yaml"])
    assert (manifest["author"], manifest["version"]) == ("somebody", of.version)
    assert (manifest["repo"], manifest["contact"]) == (of.repository, of.contact)
    authors = {
        found for data in said.values() for found in re.findall(rb"author: (\S+)", data)
    }
    assert authors == {b"somebody"}


# --- signatures -----------------------------------------------------------


def test_a_signed_package_is_as_it_was_signed(
    package: Path, keys: tuple[Path, Path]
) -> None:
    signing.sign(package, keys[0], now=1_800_000_000)
    signing.verify(package, keys[1])
    with zipfile.ZipFile(package) as archive:
        assert json.loads(archive.comment)["time"] == 1_800_000_000


def test_signing_twice_at_one_moment_gives_the_same_bytes(
    tmp_path: Path, keys: tuple[Path, Path]
) -> None:
    made = [build(ROOT, TOOLS, tmp_path / name) for name in ("a", "b")]
    for one in made:
        signing.sign(one, keys[0], now=1)
    assert made[0].read_bytes() == made[1].read_bytes()


def test_an_unsigned_package_is_distinguished_from_a_signed_one(
    package: Path, keys: tuple[Path, Path]
) -> None:
    with pytest.raises(signing.BadSignature, match="is not signed"):
        signing.verify(package, keys[1])


def _with_a_changed_file(files: dict[str, bytes]) -> dict[str, bytes]:
    return {**files, "main.py": b"print('mine')"}


def _with_one_more(files: dict[str, bytes]) -> dict[str, bytes]:
    return {**files, "more.py": b""}


@pytest.mark.parametrize("change", [_with_a_changed_file, _with_one_more])
def test_a_package_that_was_changed_is_not_as_it_was_signed(
    package: Path,
    keys: tuple[Path, Path],
    change: Callable[[dict[str, bytes]], dict[str, bytes]],
) -> None:
    signing.sign(package, keys[0])
    with zipfile.ZipFile(package) as archive:
        comment = archive.comment
        files = {name: archive.read(name) for name in archive.namelist()}
    write(package, change(files))
    with zipfile.ZipFile(package, "a") as archive:
        archive.comment = comment
    with pytest.raises(signing.BadSignature, match="was changed, or signed with"):
        signing.verify(package, keys[1])


def test_an_invalid_key_is_refused_in_one_sentence(
    package: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    broken.write_text("no key")
    with pytest.raises(signing.BadSignature, match="can't be read as an RSA key"):
        signing.sign(package, broken)
    with pytest.raises(signing.BadSignature, match="can't be read as an RSA key"):
        signing.sign(package, tmp_path / "absent")


def test_a_public_key_that_the_daemon_cannot_read_is_refused(
    package: Path, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    signing.sign(package, keys[0])
    public = serialization.load_pem_public_key(keys[1].read_bytes())
    other = tmp_path / "other"
    other.write_bytes(
        public.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    with pytest.raises(signing.BadSignature, match="-RSAPublicKey_out"):
        signing.verify(package, other)


# --- the bundle -----------------------------------------------------------


def test_a_bundle_holds_each_package_under_the_name_it_gives(tmp_path: Path) -> None:
    made = [build(ROOT, recipe, tmp_path) for recipe in RECIPES]
    path = bundle.make(ROOT, release.read(ROOT), made, tmp_path)
    with zipfile.ZipFile(path) as archive:
        manifest = yaml.safe_load(archive.read("manifest.yaml"))
        held = [
            archive.read(f"_assets/{one['value']['path']}")
            for one in manifest["dependencies"]
        ]
        assert not any(name.endswith("/") for name in archive.namelist())
        assert archive.read(f"_assets/{manifest['icon']}")
    assert held == [one.read_bytes() for one in made]
    assert manifest["type"] == "bundle"
    again = bundle.make(ROOT, release.read(ROOT), made, tmp_path / "again")
    assert again.read_bytes() == path.read_bytes()


# --- the marketplace's checks ---------------------------------------------


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_a_built_package_passes_the_checks(recipe: object, tmp_path: Path) -> None:
    built = unpacked(build(ROOT, recipe, tmp_path), tmp_path)  # type: ignore[arg-type]
    found = dict(problems(built, running=False))
    assert {rule: what for rule, what in found.items() if what} == {}


def _with_a_default_under_each_placeholder(text: str) -> str:
    return text.replace("    placeholder:", "    default: 'x'\n    placeholder:")


SPOILT: dict[str, tuple[str, Callable[[str], str]]] = {
    "L11": ("main.py", lambda text: text + "\ndef ("),
    "M4": ("manifest.yaml", lambda text: text.replace("github", "example")),
    "M8": ("manifest.yaml", lambda text: text.replace("- rag", "- nonsense")),
    "M9": ("manifest.yaml", lambda text: text.replace('"3.12"', '"3.9"')),
    "M12, T6": ("manifest.yaml", lambda text: text.replace("ja_JP", "ja_Jp")),
    "D1": ("README.md", lambda text: text + "\u7f13\u5b58"),
    "D4": ("README.md", lambda text: text + " [more](docs/more.md)"),
    "D5": ("PRIVACY.md", lambda _: "We keep nothing."),
    "S1": ("main.py", lambda text: text + f"\nKEY = 'sk-{'a' * 24}'\n"),
    "S3": ("main.py", lambda text: text + "\nrequests.get('http://a')\n"),
    "S4": ("main.py", lambda text: text + "\nlogger.info('%s', credentials)\n"),
    "S5": ("main.py", lambda text: text + "\neval('1')\n"),
    "S7": ("main.py", lambda text: text + "\nimport pickle\n"),
    "P1, P3": ("requirements.txt", lambda text: text + "anything\n"),
    "U1, U2": (
        "tools/cache_store.yaml",
        lambda t: t.replace("type: string", "type: any"),
    ),
    "U3": ("provider/rag_cache.yaml", _with_a_default_under_each_placeholder),
    "U4": (
        "provider/rag_cache.yaml",
        lambda text: text.replace("    url:", "    link:"),
    ),
    "U5": (
        "endpoints/rag_cache.yaml",
        lambda t: t.replace("type: text-input", "type: model-selector"),
    ),
    "U7": (
        "tools/cached_app.yaml",
        lambda text: text.replace("additionalProperties:", "more:"),
    ),
    "U8": ("README.md", lambda text: text + "\na line\nthat goes on\n"),
    "U9": ("readme/README_ja_JP.md", lambda text: text + "\n| a | b | c | d |\n"),
    "T4": (
        "endpoints/rag_cache.yaml",
        lambda text: text.replace("settings:", "setting:"),
    ),
}


@pytest.mark.parametrize("rule", SPOILT)
def test_a_spoilt_package_fails_the_check_of_its_fault(
    package: Path, tmp_path: Path, rule: str
) -> None:
    name, spoil = SPOILT[rule]
    with zipfile.ZipFile(package) as archive:
        files = {one: archive.read(one) for one in archive.namelist()}
    files[name] = spoil(files[name].decode()).encode()
    write(package, files)
    built = unpacked(package, tmp_path)
    assert list(STATIC[rule](built))


# --- pictures -------------------------------------------------------------


def test_the_pictures_show_the_forms_and_packages_as_they_are() -> None:
    for name, svg in pictures().items():
        assert (PICTURES / name).read_text("utf-8") == svg, f"{name}: python -m drawing"
