"""U: faults that a person sees on Dify's pages, as seen in 1.13.2 and 1.16.1.

Dify reports none of them: a field without a control, a help text that is never shown, a
table that is cut off. Each was seen in a browser.
"""

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from devhost import panel
from packager.checks.package import Built, Check, columns, walk

ROOT = Path(__file__).resolve().parents[3]
# Dify shows an optional model selector as if it were required: orange, "Configure a
# model".
_MOST_SELECTORS = 3
_MOST_FIRST_FIELDS = 14
_MOST_COLUMNS = 3
# Dify breaks a longer line in the middle of a word.
_MOST_HELP = 75
_MOST_CELL = 60  # characters
_LISTED = re.compile(r"\s*([-*+]|\d+\.|\||#|>|```|!?\[)")
_DSL = "0.6.0"
_SHOWN = re.compile(r"\{\{#([^.#]+)\.([^#]+)#\}\}")


def _tools(built: Built) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, data in built.documents.items():
        if name.startswith("tools/"):
            for parameter in data.get("parameters", []):
                yield f"{name}: {parameter['name']}", parameter


def controls(built: Built) -> Iterator[str]:
    """Parameters that a person can't fill in."""
    for where, parameter in _tools(built):
        found = panel.fault(parameter)
        if found:
            yield f"{where}: {found}"


def _fields(built: Built) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """Fields of credential and endpoint forms, and whether they are a tool provider's."""
    for name, data in built.documents.items():
        for value in walk(data):
            if not isinstance(value, dict):
                continue
            for field in value.get("credential_form_schemas", []):
                yield f"{name}: {field['variable']}", field, False
        if name.startswith("provider/") and data.get("credentials_for_provider"):
            for field_name, field in data["credentials_for_provider"].items():
                yield f"{name}: {field_name}", field, True
        for field in data.get("settings", []) if isinstance(data, dict) else []:
            yield f"{name}: {field['name']}", field, False


def placeholders(built: Built) -> Iterator[str]:
    """A placeholder under a default value is never shown; a select shows none."""
    for where, field, _ in _fields(built):
        if not field.get("placeholder"):
            continue
        if field.get("default") not in (None, ""):
            yield f"{where} has a placeholder under its default"
        if field.get("type") in ("select", "radio", "boolean"):
            yield f"{where} is a {field['type']}, whose placeholder never shows"


def helps(built: Built) -> Iterator[str]:
    """The web shows the help of a tool's credential only with its url, and in one line."""
    for where, field, of_tools in _fields(built):
        if of_tools and field.get("help") and not field.get("url"):
            yield f"{where} has help and no url"
        for language, text in field.get("help", {}).items() if of_tools else ():
            if columns(text) > _MOST_HELP:
                yield f"{where}: help in {language} has {columns(text)} columns"


def selectors(built: Built) -> Iterator[str]:
    by_file: dict[str, int] = {}
    both = [(where, field) for where, field, _ in _fields(built)]
    for where, field in (*both, *_tools(built)):
        if field.get("type") == "model-selector" and not field.get("required"):
            name = where.partition(":")[0]
            by_file[name] = by_file.get(name, 0) + 1
    for name, count in by_file.items():
        if count > _MOST_SELECTORS:
            yield f"{name} has {count} model selectors that may stay empty"


def first_fields(built: Built) -> Iterator[str]:
    """Fields of a model's form that are shown before the person opens a section."""
    for name, data in built.documents.items():
        schema = data.get("model_credential_schema")
        if not schema:
            continue
        for kind in data["supported_model_types"]:
            shown = [
                field["variable"]
                for field in schema["credential_form_schemas"]
                if all(
                    one["variable"] == "__model_type" and one["value"] == kind
                    for one in field.get("show_on") or ()
                )
            ]
            if len(shown) > _MOST_FIRST_FIELDS:
                yield f"{name}: {len(shown)} fields at first for {kind}: {shown}"


def outputs(built: Built) -> Iterator[str]:
    """The variable picker shows an object without properties as a file."""
    for name, data in built.documents.items():
        if not name.startswith("tools/"):
            continue
        for value in walk(data.get("output_schema")):
            known = isinstance(value, dict) and value.get("type") == "object"
            if known and not (
                value.get("properties") or value.get("additionalProperties")
            ):
                yield f"{name}: an output is an object without properties"


def _pages(built: Built) -> Iterator[tuple[str, list[str]]]:
    for name, text in built.sources(".md"):
        if name == "README.md" or name.startswith("readme/"):
            yield name, re.sub(r"```.*?```", "", text, flags=re.DOTALL).splitlines()


def wrapped(built: Built) -> Iterator[str]:
    """The panel breaks a line where the source has a line break."""
    for name, lines in _pages(built):
        for number, (line, following) in enumerate(pairwise(lines), 1):
            goes_on = following.strip() and not _LISTED.match(following)
            if line.strip() and goes_on and not line.startswith("#"):
                yield f"{name}:{number} goes on in the next line"


def tables(built: Built) -> Iterator[str]:
    """The panel cuts off the part of a line that is too wide."""
    for name, lines in _pages(built):
        for number, line in enumerate(lines, 1):
            if not line.startswith("|"):
                continue
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            if len(cells) > _MOST_COLUMNS or max(map(len, cells)) > _MOST_CELL:
                yield f"{name}:{number} is too wide a table"


def examples(_: Built) -> Iterator[str]:
    """Versions that 1.13.2 and newer hosts import without a dialog."""
    for path in sorted((ROOT / "examples").glob("*.yml")):
        data = yaml.safe_load(path.read_text("utf-8"))
        if data.get("dependencies") != []:
            yield f"{path.name} names dependencies"
        if str(data.get("version")) != _DSL:
            yield f"{path.name} has the DSL version {data.get('version')}, not {_DSL}"
        nodes = data["workflow"]["graph"]["nodes"]
        if "custom-note" not in {node["type"] for node in nodes}:
            yield f"{path.name} has no note that says what to choose"
        tools = {one["id"] for one in nodes if one["data"].get("type") == "tool"}
        for node in nodes:
            for whose, what in _SHOWN.findall(node["data"].get("answer", "")):
                if whose in tools and what != "text":
                    yield f"{path.name}: readers are sent nothing of {whose}.{what}"


CHECKS: dict[str, Check] = {
    "U1, U2": controls,
    "U3": placeholders,
    "U4": helps,
    "U5": selectors,
    "U6": first_fields,
    "U7": outputs,
    "U8": wrapped,
    "U9": tables,
    "U10": examples,
}
