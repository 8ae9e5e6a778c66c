"""``cache_options``: one line of YAML, read against a schema.

The error for an unknown option suggests the nearest known one. The error for a wrong
value names the values that the option accepts.
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
# Characters that keyboards and word processors insert instead of YAML's own.
_SYMBOLS: Final = str.maketrans(
    {"：": ":", "，": ",", "｛": "{", "｝": "}", "“": '"', "”": '"', "\u3000": " "}
)
# YAML needs a space after a name's colon. Values may contain one, as in bge-m3:latest.
_NAME: Final = re.compile(r"((?:^|[{,])\s*[\"']?\w+[\"']?\s*):(?=\S)", re.MULTILINE)


_STARTS: Final = ", ".join(map(str, BAND_STARTS))
_MONTH: Final = 30 * 86400


def _band_start(number: float) -> float:
    if number not in BAND_STARTS:
        raise ValueError
    return number


def number(
    default: float | None, least: float, most: float, of: str = "", zero: str = ""
) -> Any:
    """A field for a number ``of`` something; ``zero`` explains the value 0."""
    what = f"a number of {of}" if of else "a number"
    description = f"{what} from {least}{f' ({zero})' if zero else ''} to {most}"
    return Field(default, ge=least, le=most, description=description)


class PriceOption(BaseModel):
    """The upstream's price of ``per`` tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: float = number(0, 0, 10**6)
    output: float = number(0, 0, 10**6)
    cached_input: float | None = number(None, 0, 10**6)
    cache_write: float | None = number(None, 0, 10**6)
    per: int = number(10**6, 1, 10**9, "tokens")
    currency: str = Field(
        "USD", pattern="^[A-Z]{3}$", description="three capital letters, as in USD"
    )


class Options(BaseModel):
    """The options of ``cache_options``, from one line of YAML."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    price: PriceOption = Field(
        PriceOption(), description="a mapping, as in {input: 0.15, output: 0.6}"
    )
    match: Match = Field("exact", description="exact, normalized or meaning")
    ttl_seconds: int = number(0, 0, _MONTH, "seconds", "as in the form")
    max_temperature: float = number(1.0, 0, 2)
    # The host kills a plugin that writes a line over 5 MiB; JSON in JSON doubles.
    max_entry_bytes: int = number(1024**2, 1024, 2 * 1024**2, "bytes")
    stale_while_revalidate_seconds: int = number(0, 0, _MONTH, "seconds", "off")
    stale_if_error_seconds: int = number(0, 0, _MONTH, "seconds", "off")
    first_token_budget_ms: int = number(0, 0, 600_000, "milliseconds", "off")
    audit_percent: float = number(0, 0, 100, zero="off")
    audit_repairs: bool = Field(default=False, description="true or false")
    audits_per_minute: int = number(6, 1, 600, "calls")
    audit_money_per_minute: float = number(0, 0, 10**6, zero="no bound")
    join_without_store_seconds: float = number(2, 0, 30, "seconds", "off")
    memory_bytes: int = number(64 * 1024**2, 1024**2, 1024**3, "bytes")
    events: Literal["off", "sizes", "texts"] = Field(
        "sizes", description="off, sizes or texts"
    )
    redis_timeout_ms: int = number(50, 5, 5000, "milliseconds")
    # A lower limit than one in a hundred would need more comparisons than are kept.
    max_wrong: float = number(0.01, 0.01, 0.2)
    compare_percent: float = number(5, 1, 100)
    locked_bands: tuple[Annotated[float, AfterValidator(_band_start)], ...] = Field(
        (), description=f"a list of any of {_STARTS}, as in [0.5, 0.7],"
    )

    def of_meaning(self) -> dict[str, Any]:
        """The fields of ``request.Meaning`` that the options set."""
        return {
            "max_wrong": self.max_wrong,
            "compare_share": self.compare_percent / 100,
            "locked": frozenset(map(BAND_STARTS.index, self.locked_bands)),
        }


def read_options[O: Options](text: str, options_type: type[O]) -> O:
    """The options in one line of YAML: a flow mapping, braces optional."""
    line = _NAME.sub(r"\1: ", text.translate(_SYMBOLS)).strip()
    if not line:
        return options_type()
    if len(line) > _MAX_OPTIONS_TEXT:
        raise _bad_options(f"may have at most {_MAX_OPTIONS_TEXT} characters")
    # PyYAML needs seconds for deeply nested text, and all requests wait meanwhile.
    if line.count("[") + line.count("{") > _MAX_OPTIONS_BRACKETS:
        raise _bad_options(f"may have at most {_MAX_OPTIONS_BRACKETS} brackets")
    try:
        # BaseLoader makes only strings, lists and mappings; the schema converts them.
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
            "are not readable; write them as in max_temperature: 0.5, "
            "price: {input: 0.15, output: 0.6}"
        ) from None


def _bad_options(rest: str) -> ConfigError:
    end = "" if rest.endswith("?") else "."
    return ConfigError("cache_options", f"Cache options (cache_options) {rest}{end}")


def _explain(error: ValidationError, options_type: type[BaseModel]) -> str:
    first = error.errors()[0]
    # A place in a list has no name, so the error names the list.
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
