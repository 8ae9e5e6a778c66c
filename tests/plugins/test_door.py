"""The one door: a line that the host would kill a plugin for is an error instead."""

import json

import pytest
from dify_plugin.core.server.__base.response_writer import ResponseWriter
from dify_plugin.core.server.__base.writer_entities import Event
from dify_plugin.errors.model import InvokeBadRequestError

from difycodec.door import MAX_LINE, Door


class Written(ResponseWriter):
    """What was written."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.ended = False

    def write(self, data: str) -> None:
        self.lines.append(data)

    def done(self) -> None:
        self.ended = True


def test_what_fits_goes_through_unchanged() -> None:
    written = Written()
    Door(written, "ask for less").put(Event.SESSION, "s", {"text": "你好"})
    assert json.loads("".join(written.lines))["data"] == {"text": "你好"}


@pytest.mark.parametrize("letter", ["a", "é", "你", "😀"])
def test_the_longest_line_is_measured_in_bytes(letter: str) -> None:
    count = MAX_LINE // len(letter.encode())
    written = Written()
    door = Door(written, "ask for less of it")
    door.write(letter * count)
    with pytest.raises(InvokeBadRequestError, match="; ask for less of it"):
        door.write(letter * (count + 1))
    assert len(written.lines) == 1


def test_the_end_of_a_call_passes() -> None:
    written = Written()
    Door(written, "").done()
    assert written.ended
