"""Records whose fields are columns of one table: take rows of them, put them below each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from crackseg.records import Array

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Table = TypeVar("Table", bound=DataclassInstance)
else:
    Table = TypeVar("Table")


def take(table: Table, rows: Array | slice) -> Table:
    """Return some rows of a table.

    Args:
        table: a dataclass of (N, ...) arrays, or of such tables.
        rows: (K,) numbers, (N,) bool, or a slice: then the columns are views.
    """
    return _each([table], lambda columns: columns[0][rows])


def put(table: Table, rows: Array, part: Table) -> Table:
    """Return a table with some of its rows replaced.

    Args:
        table: a dataclass of (N, ...) arrays.
        rows: (K,) numbers.
        part: of K rows.
    """

    def column(columns: Sequence[Array]) -> Array:
        changed = columns[0].copy()
        changed[rows] = columns[1]
        return changed

    return _each([table, part], column)


def concatenate(tables: Sequence[Table]) -> Table:
    """Return tables below each other; at least one."""
    return _each(tables, np.concatenate)


def choose(cases: Sequence[tuple[Array, Table]], otherwise: Table) -> Table:
    """Return, row by row, the first table whose case holds, or else the last one.

    Args:
        cases: (N,) bool, and the table of N rows to take there.
        otherwise: the rows where no case holds.
    """
    holds = [case for case, _ in cases]

    def column(columns: Sequence[Array]) -> Array:
        result = columns[-1]
        for case, values in zip(holds[::-1], columns[-2::-1], strict=True):
            result = np.where(case.reshape((-1,) + (1,) * (result.ndim - 1)), values, result)
        return result

    return _each([*(table for _, table in cases), otherwise], column)


def _each(tables: Sequence[Table], made: Callable[[Sequence[Any]], Any]) -> Table:
    """Return a table each of whose columns is made of the same column of all tables."""
    first, values = tables[0], {}
    for name in _names(type(first)):
        columns = [getattr(table, name) for table in tables]
        nested = not isinstance(columns[0], np.ndarray) and is_dataclass(columns[0])
        values[name] = _each(columns, made) if nested else made(columns)
    return type(first)(**values)


@cache
def _names(table: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(table))
