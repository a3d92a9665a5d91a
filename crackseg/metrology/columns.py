"""Records whose fields are columns of one table: take rows of them, put them below each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from crackseg.records import Array

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Table = TypeVar("Table", bound=DataclassInstance)
else:
    Table = TypeVar("Table")


def take(table: Table, rows: Array) -> Table:
    """Return some rows of a table.

    Args:
        table: a dataclass of (N, ...) arrays, or of such tables.
        rows: (K,) numbers, or (N,) bool.
    """
    return _each([table], lambda columns: columns[0][rows])


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
        shape = (-1,) + (1,) * (columns[-1].ndim - 1)
        return np.select([case.reshape(shape) for case in holds], list(columns[:-1]), columns[-1])

    return _each([*(table for _, table in cases), otherwise], column)


def _each(tables: Sequence[Table], made: Callable[[Sequence[Any]], Any]) -> Table:
    """Return a table each of whose columns is made of the same column of all tables."""
    values = {}
    for field in fields(tables[0]):
        columns = [getattr(table, field.name) for table in tables]
        nested = is_dataclass(columns[0])
        values[field.name] = _each(columns, made) if nested else made(columns)
    return type(tables[0])(**values)
