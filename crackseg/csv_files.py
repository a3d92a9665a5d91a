"""A CSV table that a person made becomes rows of text: as any program and any country writes it.

Cells are parted by commas, semicolons (wherever numbers have a decimal comma) or tabs; the text is
UTF-8 with or without a mark, or UTF-16 with one, as Excel's "Unicode text" is. What could be read
in two ways is refused by its line.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from crackseg.errors import DataError

_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_SEPARATOR = re.compile(r"sep=(.)\r?\n?", re.IGNORECASE)  # a first line that Excel heeds
_NUMBER = re.compile(r"[+-]?(\d+[.,]?\d*|[.,]\d+)(e[+-]?\d+)?", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table: its line in the file, and its cells by column."""

    line: int
    cells: dict[str, str]


@dataclass(frozen=True, slots=True)
class CsvTable:
    """The rows of a table, without empty ones."""

    path: Path
    columns: tuple[str, ...]
    delimiter: str
    rows: tuple[Row, ...]


def read_csv(path: Path, columns: Collection[str]) -> CsvTable:
    """Return a table that has some columns.

    Args:
        path: of the file.
        columns: that it must have, in any order; it may have others.

    Raises:
        DataError: it cannot be read, lacks a column, has one twice, or a row has other cells than
            the head; names file and line.
    """
    text = read_text(path)
    named = _SEPARATOR.match(text)
    first = 1 if named else 0
    body = text[named.end() :] if named else text
    choices = named[1] if named else "".join(_DELIMITERS)
    tables = {mark: _rows(body, mark, path) for mark in choices}
    heads = {mark: _head(rows) for mark, rows in tables.items()}
    best = max(choices, key=lambda mark: (len(set(columns) & set(heads[mark])), len(heads[mark])))
    rows, head = tables[best], heads[best]
    _check_head(head, columns, path)
    return CsvTable(path, head, best, tuple(_with_names(rows[1:], head, best, path, first)))


def read_text(path: Path) -> str:
    """Return the text of a file that some editor or spreadsheet wrote.

    Raises:
        DataError: it is missing, or neither UTF-8 nor marked as UTF-16.
    """
    try:
        data = path.read_bytes()
        marked = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        return data.decode("utf-16" if marked else "utf-8-sig")
    except OSError as error:
        raise DataError(f"`{path}` cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"`{path}` cannot be read: it is no UTF-8 text ({error.reason}); save it as UTF-8, in "
            'Excel as "CSV UTF-8".'
        ) from error


def read_numbers(table: CsvTable, columns: Sequence[str]) -> list[list[list[float]]]:
    """Return for each row the numbers in some columns, where a cell may hold several.

    Raises:
        DataError: a cell holds none, or what decimal signs mean is not sure.
    """
    comma = _decimal_comma(table, columns)
    return [[_numbers(table, row, column, comma) for column in columns] for row in table.rows]


def _decimal_comma(table: CsvTable, columns: Iterable[str]) -> bool:
    """Return whether numbers have a decimal comma; in one table all have the same sign."""
    lines: dict[str, int] = {}
    for row in table.rows:
        for column in columns:
            for sign in set(re.findall(r"[.,]", row.cells[column])):
                lines.setdefault(sign, row.line)
    if len(lines) == 2:
        raise DataError(
            f"`{table.path}` must write all numbers alike, got a decimal comma in line "
            f"{lines[',']} and a point in line {lines['.']}: 1.234 may be either then."
        )
    if "," in lines and table.delimiter == ",":
        raise DataError(
            f"`{table.path}` line {lines[',']}: a number must have a decimal point where commas "
            "part the cells; part them by semicolons, or write 0.25."
        )
    return "," in lines


def _numbers(table: CsvTable, row: Row, column: str, comma: bool) -> list[float]:
    words = row.cells[column].split()
    wrong = next((word for word in words if not _NUMBER.fullmatch(word)), None)
    if wrong is not None or not words:
        raise DataError(
            f"`{table.path}` line {row.line}: `{column}` must be a number, got "
            f"{'nothing' if wrong is None else repr(wrong[:40])}."
        )
    return [float(word.replace(",", ".") if comma else word) for word in words]


def _rows(text: str, delimiter: str, path: Path) -> list[tuple[int, list[str]]]:
    """Return line and cells of every row; ends of lines may be of any system."""
    reader = csv.reader(io.StringIO(text, newline=None), delimiter=delimiter)
    try:
        return [(reader.line_num, cells) for cells in reader]
    except csv.Error as error:
        raise DataError(f"`{path}` line {reader.line_num} cannot be read: {error}.") from error


def _head(rows: Sequence[tuple[int, list[str]]]) -> tuple[str, ...]:
    names = [name.strip() for name in rows[0][1]] if rows else []
    while names and not names[-1]:  # a spreadsheet's empty columns
        names.pop()
    return tuple(names)


def _check_head(head: Sequence[str], columns: Collection[str], path: Path) -> None:
    missing = [name for name in columns if name not in head]
    if missing:
        raise DataError(
            f"`{path}` must have the columns {', '.join(columns)}; {', '.join(missing)} is "
            f"missing, got {', '.join(head)[:200] or 'nothing'}."
        )
    twice = next((name for name in head if head.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"`{path}` has the column `{twice}` twice; which is meant is not sure.")


def _with_names(
    rows: Iterable[tuple[int, list[str]]],
    head: Sequence[str],
    delimiter: str,
    path: Path,
    lines_above: int,
) -> Iterable[Row]:
    for line, cells in rows:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) < len(head) or any(cell.strip() for cell in cells[len(head) :]):
            raise DataError(
                f"`{path}` line {line + lines_above}: it has {len(cells)} cells, and the head has "
                f"{len(head)} columns, parted by {_DELIMITERS.get(delimiter, delimiter)}; put a "
                f"cell that holds {delimiter!r} in quotation marks."
            )
        yield Row(line + lines_above, dict(zip(head, cells, strict=False)))
