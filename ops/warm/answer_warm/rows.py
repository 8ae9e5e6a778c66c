"""Questions and answers from a file: CSV with a header, or a JSON object in each line."""

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TextIO

_DELIMITERS: Final = ",;\t"
_LONGEST_CELL: Final = 16 * 1024 * 1024
_JSON_LINES: Final = (".jsonl", ".ndjson", ".json")


class BadFile(Exception):
    """A file can't be used at all; the text is a sentence for people."""


def json_object(text: str | bytes) -> dict[str, Any]:
    """The JSON object in a text; empty for anything else."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


@dataclass(frozen=True, slots=True)
class Row:
    """One question. ``place`` names its line, for people; ``answer`` may be empty.

    ``inputs`` are the other inputs of an app.
    """

    place: str
    question: str
    answer: Any = ""
    inputs: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that can't be used, and the reason."""

    place: str
    reason: str


@dataclass(frozen=True, slots=True)
class Columns:
    """The names of the parts of a row."""

    question: str = "question"
    answer: str = "answer"
    inputs: Sequence[str] = ()
    needs_answer: bool = False

    def read(self, place: str, data: dict[str, Any]) -> Row | BadRow:
        """The row in ``data``, by name."""
        question = data.get(self.question)
        if not isinstance(question, str) or not question.strip():
            return BadRow(place, f"has no text under {self.question!r}")
        answer = data.get(self.answer)
        if self.needs_answer and answer in (None, "", [], {}):
            return BadRow(place, f"has nothing under {self.answer!r}")
        missing = [name for name in self.inputs if data.get(name) is None]
        if missing:
            return BadRow(place, f"has nothing under {missing[0]!r}")
        given = {name: data[name] for name in self.inputs}
        try:
            json.dumps([question, answer, given], allow_nan=False).encode()
            json.dumps([question, answer, given], ensure_ascii=False).encode()
        except ValueError:
            return BadRow(
                place, "has characters that are no text, or a number that is none"
            )
        return Row(place, question, answer, given)


def read(path: Path, columns: Columns) -> Iterator[Row | BadRow]:
    """The rows of a file; its ending decides the format. Raises BadFile."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.suffix.lower() in _JSON_LINES:
                yield from _json_lines(file, columns)
            elif path.suffix.lower() in (".csv", ".tsv"):
                yield from _csv(file, columns, path)
            else:
                msg = f"{path} is neither .csv, .tsv nor .jsonl; give it the ending of what it is."
                raise BadFile(msg)
    except OSError as error:
        raise BadFile(f"{path} can't be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise BadFile(f"{path} is not UTF-8 text; save it as UTF-8.") from error
    except csv.Error as error:
        raise BadFile(f"{path} is not a table: {error}.") from error


def _json_lines(lines: Iterable[str], columns: Columns) -> Iterator[Row | BadRow]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        place = f"line {number}"
        try:
            data = json.loads(line)
        except (ValueError, RecursionError):
            data = None
        if isinstance(data, dict):
            yield columns.read(place, data)
        else:
            yield BadRow(place, "is not a JSON object")


def _csv(file: TextIO, columns: Columns, path: Path) -> Iterator[Row | BadRow]:
    csv.field_size_limit(_LONGEST_CELL)
    head = file.readline()
    file.seek(0)
    tabs = path.suffix.lower() == ".tsv"
    delimiter = "\t" if tabs else max(_DELIMITERS, key=head.count)
    table = csv.DictReader(file, delimiter=delimiter, strict=True)
    names = table.fieldnames or []
    wanted = [columns.question, *columns.inputs]
    wanted += [columns.answer] if columns.needs_answer else []
    for name in wanted:
        if name not in names:
            has = ", ".join(map(repr, names)) or "none"
            raise BadFile(f"{path} has no column {name!r}; it has {has}.")
    for data in table:
        place = f"line {table.line_num}"
        # DictReader puts extra cells under None, and None into missing cells.
        if None in data or None in data.values():
            yield BadRow(place, f"has not {len(names)} cells, as the header has")
        else:
            yield columns.read(place, data)
