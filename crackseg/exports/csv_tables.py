"""Rows become a CSV file as spreadsheets read it.

Text that a spreadsheet would run as a formula gets an apostrophe in front.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crackseg.locales import find_locale

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvForm:
    """How numbers and columns of a CSV file look."""

    delimiter: str = ","
    decimal: str = "."

    @classmethod
    def of_locale(cls, name: str) -> CsvForm:
        """Return the form that spreadsheets of a locale read."""
        decimal = find_locale(name).decimal
        return cls(delimiter="," if decimal == "." else ";", decimal=decimal)


def write_table(
    path: Path,
    header: Sequence[str],
    rows: Iterable[Sequence[Any]],
    form: CsvForm | None = None,
) -> None:
    """Write a CSV file (UTF-8 with a byte-order mark, as spreadsheets expect it)."""
    form = form or CsvForm()
    with path.open("w", newline="", encoding="utf-8-sig", errors="replace") as file:
        writer = csv.writer(file, delimiter=form.delimiter)
        writer.writerow(header)
        writer.writerows([_cell(value, form) for value in row] for row in rows)


def _cell(value: Any, form: CsvForm) -> Any:
    if isinstance(value, list):
        value = " ".join(map(str, value))
    if isinstance(value, float) and form.decimal != ".":
        return repr(value).replace(".", form.decimal)
    return text_cell(value)


def text_cell(value: Any) -> Any:
    """Return a cell of a table; one that a spreadsheet would run as a formula is made text."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def plain_cell(value: Any, between: str = " ") -> Any:
    """Return a value as one cell for people holds it: yes or no, a list as one text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return between.join(map(str, value)) if isinstance(value, list) else value
