"""Texts for users: in four languages everywhere, and none is missing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cached_model import form as forms
from cached_model.chat import CONTROLS
from cached_model.schema import model_schema
from packager.checks.package import columns

ROOT = Path(__file__).parents[2]
LANGUAGES = {"en_US", "zh_Hans", "ja_JP", "pt_BR"}
FILES = sorted(
    path
    for folder in (ROOT, ROOT / "plugins/cached-model")
    for pattern in (
        "manifest.yaml",
        "provider/*.yaml",
        "tools/*.yaml",
        "endpoints/rag_cache.yaml",
        "cached_model/parameters.yaml",
    )
    for path in folder.glob(pattern)
)


def translated(value: Any, where: str = "") -> Iterator[tuple[str, dict[str, str]]]:
    if isinstance(value, dict):
        if "en_US" in value:
            yield where, value
        for name, item in value.items():
            yield from translated(item, f"{where}/{name}")
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from translated(item, f"{where}/{number}")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_word_is_there_in_four_languages(path: Path) -> None:
    found = list(translated(yaml.safe_load(path.read_text("utf-8"))))
    assert found
    for where, texts in found:
        assert set(texts) == LANGUAGES, where
        assert all(text.strip() and len(text) < 1024 for text in texts.values()), where


def parameters() -> list[dict[str, Any]]:
    path = ROOT / "plugins/cached-model/cached_model/parameters.yaml"
    rules: list[dict[str, Any]] = yaml.safe_load(path.read_text("utf-8"))
    return rules


def test_every_parameter_of_a_model_reaches_the_panel_in_four_languages() -> None:
    form = forms.read({"endpoint_url": "http://h", "context_size": "1"})
    shown = model_schema("m", form).parameter_rules
    assert [rule.name for rule in shown] == [rule["name"] for rule in parameters()]
    for rule in shown:
        for texts in (rule.label, rule.help):
            assert texts is not None
            said = {texts.en_us, texts.zh_hans, texts.ja_jp, texts.pt_br}
            assert len(said) > 1 or rule.name in ("top_p", "json_schema"), rule.name


def test_the_panel_offers_the_words_that_the_cache_knows() -> None:
    (rule,) = (rule for rule in parameters() if rule["name"] == "cache_control")
    assert rule["options"] == list(CONTROLS)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "tools").glob("*.yaml")), ids=lambda p: p.stem
)
def test_every_tool_says_what_it_is_for_to_people_and_to_models(path: Path) -> None:
    tool = yaml.safe_load(path.read_text("utf-8"))
    assert tool["identity"]["name"] == path.stem
    assert tool["description"]["llm"] != tool["description"]["human"]["en_US"]
    # Dify writes output variables into an agent's observation: Cached Search has none.
    assert ("output_schema" in tool) is (path.stem != "cached_search")
    if "output_schema" in tool:
        assert tool["output_schema"]["type"] == "object"
    for parameter in tool["parameters"]:
        assert parameter["llm_description"], parameter["name"]
        assert parameter["human_description"]["en_US"] != parameter["llm_description"]
        assert isinstance(parameter["required"], bool)


def test_both_manifests_have_one_version() -> None:
    versions = {
        yaml.safe_load((ROOT / folder / "manifest.yaml").read_text("utf-8"))["version"]
        for folder in (".", "plugins/cached-model")
    }
    assert len(versions) == 1


@pytest.mark.parametrize("rule", parameters(), ids=lambda rule: rule["name"])
def test_a_parameters_label_fits_the_panel(rule: Any) -> None:
    """Dify's Model Settings scroll sideways if a label is wider than this."""
    for label in rule["label"].values():
        assert columns(label) <= 26, label
