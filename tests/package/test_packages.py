"""The packages: exactly these files, the same bytes each time; each loads by itself."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from packager.build import RECIPES, Recipe, build

ROOT = Path(__file__).parents[2]


def modules(folder: str, names: str) -> set[str]:
    return {f"{folder}/{name}.py" for name in ["__init__", *names.split()]}


CORE = (
    modules(
        "cachecore",
        "admin answer audit background batch cache config counters differences entry errors "
        "event_log events flight keep keys lease lookup opening options policy recent "
        "question redis_url reports request stamps statistics",
    )
    | modules(
        "cachecore/stores",
        "base breaker connection memory messages redis",
    )
    | modules("cachecore/meaning", "bands evidence guards index score tier words")
)
KIT = modules("difykit", "data embedding errors judges plugin runtime web") | modules(
    "difykit/codec", "answers chats few_shots messages urls vectors"
)
COMMON = {
    *(
        "manifest.yaml",
        "main.py",
        "requirements.txt",
        "README.md",
        "PRIVACY.md",
        "LICENSE",
    ),
    *("_assets/icon.svg", "_assets/icon-dark.svg"),
    *(f"readme/README_{name}.md" for name in ("zh_Hans", "ja_JP", "pt_BR")),
}
SHIPPED = {
    "rag_cache": COMMON
    | CORE
    | KIT
    | {"provider/rag_cache.yaml", "provider/rag_cache.py", "endpoints/routes.py"}
    | {
        f"endpoints/{name}.yaml"
        for name in (
            *("rag_cache", "healthz", "metrics", "invalidate", "switch", "feedback"),
            *("retrieval", "store", "chat_completions", "embeddings", "list_models"),
            *("dashboard", "dashboard_form"),
        )
    }
    | {
        f"{name}.{end}"
        for end in ("py", "yaml")
        for name in (
            *("tools/cached_retrieve", "tools/cached_llm", "tools/cached_app"),
            "tools/cached_search",
            *("tools/cache_lookup", "tools/cache_store", "tools/cache_invalidate"),
            *("tools/cache_feedback", "tools/cache_stats", "tools/render_prompt"),
        )
    }
    | modules(
        "rag_cache",
        "caller errors http inputs operating outcome settings shell template_worker "
        "templates ticket wrapping",
    )
    | modules(
        "rag_cache/retrieval", "asks citations external knowledge search versions"
    )
    | modules("rag_cache/work", "apps cached calls meaning models reverse vectors")
    | modules("rag_cache/openai", "chats frames gateway served vectors")
    | modules("rag_cache/observe", "charts dashboard overview prometheus savings words")
    | {"rag_cache/observe/dashboard.html", "rag_cache/observe/words.yaml"},
    "cached_model": COMMON
    | CORE
    | KIT
    | {"provider/cached_model.yaml", "provider/cached_model.py", "models/llm/llm.py"}
    | {"models/text_embedding/text_embedding.py", "models/rerank/rerank.py"}
    | modules(
        "cached_model",
        "address body caching chat check embeddings form helpers meaning reader reranking "
        "schema schemas sse tokens upstream",
    )
    | {"cached_model/parameters.yaml"},
}
each = pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)


@each
def test_exactly_the_allowed_files_ship(recipe: Recipe, tmp_path: Path) -> None:
    with zipfile.ZipFile(build(ROOT, recipe, tmp_path)) as archive:
        assert set(archive.namelist()) == SHIPPED[recipe.name]


@each
def test_two_builds_are_the_same_bytes(recipe: Recipe, tmp_path: Path) -> None:
    one = build(ROOT, recipe, tmp_path / "1").read_bytes()
    assert build(ROOT, recipe, tmp_path / "2").read_bytes() == one


@each
def test_a_package_loads_through_the_sdk_from_an_empty_folder(
    recipe: Recipe, tmp_path: Path
) -> None:
    folder = tmp_path / "empty"
    zipfile.ZipFile(build(ROOT, recipe, tmp_path)).extractall(folder)
    code = "import main; r = main.plugin.registration; print(r.configuration.name)"
    # -I keeps this checkout off the path: only the packed files are there.
    done = subprocess.run(
        [
            sys.executable,
            "-I",
            "-c",
            f"import sys; sys.path[:] = ['.'] + "
            f"[p for p in sys.path if 'site-packages' in p or 'lib/python' in p]\n"
            f"sys.path = [p for p in sys.path if p not in {[str(ROOT), str(ROOT / 'dev'), str(ROOT / 'plugins/cached-model')]}]\n"
            f"{code}",
        ],
        cwd=folder,
        env={**os.environ, "INSTALL_METHOD": "local"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith(recipe.name)


@each
def test_requirements_are_bounded_on_both_sides(recipe: Recipe) -> None:
    folder = ROOT / recipe.sources[0][0]
    for line in (folder / "requirements.txt").read_text().split():
        assert re.fullmatch(r"[a-z0-9-]+>=[0-9.]+,<[0-9]+(\.[0-9]+)?", line), line


def test_both_plugins_agree_on_what_they_share() -> None:
    one, two = (
        dict(
            line.split(">=")
            for line in (ROOT / folder / "requirements.txt").read_text().split()
        )
        for folder in (".", "plugins/cached-model")
    )
    assert {name: two[name] for name in one if name in two} == {
        name: bounds for name, bounds in one.items() if name in two
    }


def test_development_runs_with_the_plugins_own_ranges() -> None:
    development = (ROOT / "pyproject.toml").read_text()
    for folder in (".", "plugins/cached-model"):
        for line in (ROOT / folder / "requirements.txt").read_text().split():
            assert f'"{line}"' in development, line


@each
def test_provider_and_plugin_have_one_name(recipe: Recipe) -> None:
    """graphon finds a model's plugin by the provider's name (host contract 10.4)."""
    folder = ROOT / recipe.sources[0][0]
    manifest = yaml.safe_load((folder / "manifest.yaml").read_text("utf-8"))
    provider = yaml.safe_load(
        (folder / f"provider/{recipe.name}.yaml").read_text("utf-8")
    )
    name = provider.get("provider") or provider["identity"]["name"]
    assert manifest["name"] == name == recipe.name


def test_nothing_committed_names_this_machine_or_a_registry() -> None:
    names = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\n")
    hosts = (
        "pypi" + ".org",
        "npm" + "js",
        "python" + "hosted",
        "debian" + ".org/debian",
    )
    homes = ("/ro" + "ot/", "/wo" + "rk/")
    for name in filter(None, names):
        path = ROOT / name
        if path.suffix in (".svg", ".png") or not path.is_file():
            continue
        text = path.read_text("utf-8")
        for word in (*hosts, *homes):
            assert word not in text, f"{name} has {word}"


# --- the packages inside RAG Cache -----------------------------------------

ROOMS = {path.parent.name for path in (ROOT / "rag_cache").glob("*/__init__.py")}


def test_a_room_of_rag_cache_is_entered_by_its_door_alone() -> None:
    around = [
        path
        for folder in ("rag_cache", "tools", "endpoints", "provider")
        for path in (ROOT / folder).rglob("*.py")
    ]
    for path in around:
        inner = re.findall(r"from rag_cache\.(\w+)\.\w+ import", path.read_text())
        assert set(inner) & ROOMS <= {path.parent.name}, path
        assert "import rag_cache." not in path.read_text(), path


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs git to list our files")
def test_the_root_is_small_and_explained() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    names = {name.partition("/")[0] for name in listed}
    assert len(names) < 25
    text = (ROOT / "docs/architecture.md").read_text("utf-8")
    table = text[text.index("## Folders") :]
    assert sorted(name for name in names if f"`{name}" not in table) == []
