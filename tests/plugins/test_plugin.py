"""A line for which the host would kill the plugin is replaced by an error."""

import json
import logging

import pytest
from dify_plugin.core.server.__base.response_writer import ResponseWriter
from dify_plugin.core.server.__base.writer_entities import Event
from dify_plugin.errors.model import (
    CredentialsValidateFailedError,
    InvokeBadRequestError,
)
from dify_plugin.errors.tool import ToolProviderCredentialValidationError

from difykit import plugin
from difykit.plugin import MAX_LINE, LimitedWriter


class Written(ResponseWriter):
    """The written lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.ended = False

    def write(self, data: str) -> None:
        self.lines.append(data)

    def done(self) -> None:
        self.ended = True


def test_a_line_within_the_limit_is_unchanged() -> None:
    written = Written()
    LimitedWriter(written, "ask for less").put(Event.SESSION, "s", {"text": "你好"})
    assert json.loads("".join(written.lines))["data"] == {"text": "你好"}


@pytest.mark.parametrize("letter", ["a", "é", "你", "😀"])
def test_the_longest_line_is_measured_in_bytes(letter: str) -> None:
    count = MAX_LINE // len(letter.encode())
    written = Written()
    strict = LimitedWriter(written, "request less data")
    strict.write(letter * count)
    with pytest.raises(InvokeBadRequestError, match="; request less data"):
        strict.write(letter * (count + 1))
    assert len(written.lines) == 1


def test_the_end_of_a_call_passes() -> None:
    written = Written()
    LimitedWriter(written, "").done()
    assert written.ended


def _noted(error: Exception, caplog: pytest.LogCaptureFixture) -> str:
    with caplog.at_level(logging.WARNING):
        plugin._note("validate", error)
    return caplog.text


@pytest.mark.parametrize(
    "kind",
    [
        CredentialsValidateFailedError,
        ToolProviderCredentialValidationError,
        InvokeBadRequestError,
    ],
)
def test_a_mistake_in_a_form_is_no_trace_in_the_log(
    kind: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    assert _noted(kind("The field is empty."), caplog) == ""


def test_an_unforeseen_error_is_reported_without_its_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    said = _noted(KeyError("a secret"), caplog)
    assert "validate failed: KeyError" in said
    assert "a secret" not in said
