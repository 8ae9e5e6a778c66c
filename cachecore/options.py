"""``cache_options``: one line of YAML, read against a schema.

An unknown option is an error that suggests the nearest known one; a wrong
value is one that says what the option needs.
"""

import difflib
import re
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from cachecore.errors import ConfigError
from cachecore.policy import BAND_STARTS
from cachecore.question import Match

_MAX_OPTIONS_TEXT: Final = 4000
_MAX_OPTIONS_BRACKETS: Final = 20
# What keyboards and word processors make of YAML's own signs.
_SIGNS: Final = str.maketrans(
    {"：": ":", "，": ",", "｛": "{", "｝": "}", "“": '"', "”": '"', "\u3000": " "}
)
# YAML wants a space behind a name's colon. Values may hold one, as in bge-m3:latest.
_NAME: Final = re.compile(r"((?:^|[{,])\s*[\"']?\w+[\"']?\s*):(?=\S)", re.MULTILINE)


_STARTS: Final = ", ".join(map(str, BAND_STARTS))


def _band_start(number: float) -> float:
    if number not in BAND_STARTS:
        raise ValueError
    return number


class PriceOption(BaseModel):
    """What the upstream bills per ``per`` tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: float = Field(0, ge=0, le=1e6, description="a number from 0 to 1000000")
    output: float = Field(0, ge=0, le=1e6, description="a number from 0 to 1000000")
    cached_input: float | None = Field(
        None, ge=0, le=1e6, description="a number from 0 to 1000000"
    )
    cache_write: float | None = Field(
        None, ge=0, le=1e6, description="a number from 0 to 1000000"
    )
    per: int = Field(
        1_000_000, ge=1, le=10**9, description="a number of tokens from 1 to 1000000000"
    )
    currency: str = Field(
        "USD", pattern="^[A-Z]{3}$", description="three capital letters, as in USD"
    )


class Options(BaseModel):
    """What one line of YAML in ``cache_options`` may say."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    price: PriceOption = Field(
        PriceOption(), description="a mapping, as in {input: 0.15, output: 0.6}"
    )
    match: Match = Field("exact", description="exact, normalized or meaning")
    ttl_seconds: int = Field(
        0, ge=0, le=2592000, description="a number of seconds from 1 to 2592000"
    )
    max_temperature: float = Field(1.0, ge=0, le=2, description="a number from 0 to 2")
    max_entry_bytes: int = Field(
        1024 * 1024,
        ge=1024,
        # The host kills a plugin that writes a line over 5 MiB; JSON in JSON doubles.
        le=2 * 1024 * 1024,
        description="a number of bytes from 1024 to 2097152",
    )
    stale_while_revalidate_seconds: int = Field(
        0, ge=0, le=2592000, description="a number of seconds from 0 (off) to 2592000"
    )
    stale_if_error_seconds: int = Field(
        0, ge=0, le=2592000, description="a number of seconds from 0 (off) to 2592000"
    )
    first_token_budget_ms: int = Field(
        0,
        ge=0,
        le=600000,
        description="a number of milliseconds from 0 (off) to 600000",
    )
    audit_percent: float = Field(
        0, ge=0, le=100, description="a number from 0 (off) to 100"
    )
    audit_repairs: bool = Field(default=False, description="true or false")
    audits_per_minute: int = Field(
        6, ge=1, le=600, description="a number of calls from 1 to 600"
    )
    audit_money_per_minute: float = Field(
        0, ge=0, le=1e6, description="a number from 0 (no bound) to 1000000"
    )
    join_without_store_seconds: float = Field(
        2, ge=0, le=30, description="a number of seconds from 0 (off) to 30"
    )
    memory_bytes: int = Field(
        64 * 1024 * 1024,
        ge=1024 * 1024,
        le=1024**3,
        description="a number of bytes from 1048576 to 1073741824",
    )
    events: Literal["off", "sizes", "texts"] = Field(
        "sizes", description="off, sizes or texts"
    )
    redis_timeout_ms: int = Field(
        50, ge=5, le=5000, description="a number of milliseconds from 5 to 5000"
    )
    max_wrong: float = Field(
        # Fewer wrong ones than one in a hundred would take more comparisons than are kept.
        0.01,
        ge=0.01,
        le=0.2,
        description="a number from 0.01 to 0.2",
    )
    compare_percent: float = Field(
        5, ge=1, le=100, description="a number from 1 to 100"
    )
    locked_bands: tuple[Annotated[float, AfterValidator(_band_start)], ...] = Field(
        (), description=f"a list of any of {_STARTS}, as in [0.5, 0.7],"
    )

    def of_meaning(self) -> dict[str, Any]:
        """The fields of ``request.Meaning`` that the options say."""
        return {
            "max_wrong": self.max_wrong,
            "compare_share": self.compare_percent / 100,
            "locked": frozenset(map(BAND_STARTS.index, self.locked_bands)),
        }


def read_options[O: Options](text: str, options_type: type[O]) -> O:
    """The options in one line of YAML: a flow mapping, braces optional."""
    line = _NAME.sub(r"\1: ", text.translate(_SIGNS)).strip()
    if not line:
        return options_type()
    if len(line) > _MAX_OPTIONS_TEXT:
        raise _bad_options(f"may have at most {_MAX_OPTIONS_TEXT} characters")
    # PyYAML takes seconds over what is nested deeply, and all requests wait.
    if line.count("[") + line.count("{") > _MAX_OPTIONS_BRACKETS:
        raise _bad_options(f"may have at most {_MAX_OPTIONS_BRACKETS} brackets")
    try:
        # BaseLoader makes strings, lists and mappings only; the schema types them.
        data = yaml.load(line, Loader=yaml.BaseLoader)
        if not isinstance(data, dict):
            data = yaml.load("{" + line + "}", Loader=yaml.BaseLoader)
    except yaml.YAMLError:
        data = _braced(line)
    if not isinstance(data, dict):
        raise _bad_options("must be one line such as max_temperature: 0.5")
    try:
        return options_type.model_validate(data)
    except ValidationError as error:
        raise _bad_options(_explain(error, options_type)) from None


def _braced(line: str) -> object:
    try:
        return yaml.load("{" + line + "}", Loader=yaml.BaseLoader)
    except yaml.YAMLError:
        raise _bad_options(
            "is not YAML; write it as in max_temperature: 0.5, "
            "price: {input: 0.15, output: 0.6}"
        ) from None


def _bad_options(rest: str) -> ConfigError:
    end = "" if rest.endswith("?") else "."
    return ConfigError("cache_options", f"Cache options (cache_options) {rest}{end}")


def _explain(error: ValidationError, options_type: type[BaseModel]) -> str:
    first = error.errors()[0]
    # A place in a list has no name: its list's is said.
    path = [part for part in first["loc"] if isinstance(part, str)]
    model: type[BaseModel] = options_type
    for part in path[:-1]:
        inner = model.model_fields[part].annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            model = inner
    name, shown = path[-1], ".".join(path)
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(name, model.model_fields, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}?" if near else f"known are {_names(model)}"
        return f"has no option {shown[:60]!r}; {hint}"
    return f"need {model.model_fields[name].description} for {shown}"


def _names(model: type[BaseModel]) -> str:
    return ", ".join(sorted(model.model_fields))
