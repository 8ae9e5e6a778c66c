"""Every option is documented, with an example that works when it is pasted."""

import re
from pathlib import Path

import pytest

from cachecore.errors import ConfigError
from cachecore.options import Options, read_options
from cached_model.form import ModelOptions
from rag_cache.settings import RagOptions

ROOT = Path(__file__).parents[2]
# The first table has Cached Model's and the common options, the second RAG Cache's.
MODEL, RAG = (ROOT / "docs/options.md").read_text("utf-8").split("## Further")
_ROW = re.compile(
    r"^\| `(\w+)` \| [^|]+ \| `([^`]+)` \| [^|]+ \| [^|]+ \|$", re.MULTILINE
)


def rows(text: str) -> dict[str, str]:
    """The examples in a table of options, by option."""
    return dict(_ROW.findall(text))


def own(options: type[Options]) -> set[str]:
    return set(options.model_fields) - set(Options.model_fields)


def test_every_option_is_in_a_table() -> None:
    assert set(rows(MODEL)) == set(ModelOptions.model_fields)
    assert set(rows(RAG)) == own(RagOptions)


EXAMPLES = [
    *((ModelOptions, name, line) for name, line in rows(MODEL).items()),
    *((RagOptions, name, line) for name, line in rows(RAG).items()),
]


@pytest.mark.parametrize(
    ("options", "name", "line"), EXAMPLES, ids=[name for _, name, _ in EXAMPLES]
)
@pytest.mark.parametrize("form", ["{}", "{{{}}}", "  {} "])
def test_an_example_works_without_changes(
    options: type[Options], name: str, line: str, form: str
) -> None:
    read = read_options(form.format(line), options)
    assert read.model_fields_set == {name}
    assert read != options()


def test_all_examples_work_together_in_one_line() -> None:
    read = read_options(", ".join(rows(MODEL).values()), ModelOptions)
    assert read.model_fields_set == set(ModelOptions.model_fields)


@pytest.mark.parametrize(
    "line",
    [
        "max_temperature: 0.5, price: {input: 1}",
        "max_temperature:0.5,price:{input:1}",
        "max_temperature：0.5，price：｛input：1｝",
        '{"max_temperature": 0.5, "price": {"input": 1}}',
        '{"max_temperature":0.5,"price":{"input":1}}',
        "{“max_temperature”: 0.5, “price”: {“input”: 1}}",
        "max_temperature: 0.5\nprice:\n  input: 1",
        "max_temperature: 0.5\r\nprice: {input: 1}\r\n",
    ],
)
def test_options_typed_with_other_keyboards_work(line: str) -> None:
    read = read_options(line, ModelOptions)
    assert (read.max_temperature, read.price.input) == (0.5, 1)


def test_lines_that_a_form_has_joined_get_a_sentence_with_the_remedy() -> None:
    with pytest.raises(ConfigError, match="cache_options"):
        read_options("max_temperature: 0.5stale_if_error_seconds: 60", ModelOptions)
