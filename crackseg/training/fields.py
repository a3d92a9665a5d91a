"""Fields of annotation files become values of the kind that is expected, or a named error.

Files come from many tools and many hands: every field may lack, be null or be of another kind. What
is wrong is told with the field, what was expected and what came; who reads adds file and entry.
"""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from crackseg.errors import DataError
from crackseg.records import Array

T = TypeVar("T")
_LARGEST_PX = 100_000  # no photograph is as wide or high; a mask of more is no mask


class named:
    """Turn a missing or odd field of the enclosed reading into a ``DataError`` that says where."""

    def __init__(self, where: object) -> None:
        self.where = where

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, DataError) and str(self.where) not in str(error):
            raise DataError(f"{self.where}: {error}") from error
        if isinstance(error, KeyError):
            raise DataError(f"{self.where}: field {error} is missing.") from error
        wrong = TypeError | ValueError | AttributeError | IndexError
        if isinstance(error, wrong) and not isinstance(error, DataError):
            raise DataError(f"{self.where}: a field has the wrong form: {error}.") from error


def one_shape(read: Callable[[Any, str], T], item: Any, where: str) -> T:
    """Return one shape; an error names it."""
    with named(where):
        return read(item, where)


def read_json(file: Path) -> Any:
    """Return what a JSON file holds, in UTF-8, UTF-16 or UTF-32.

    Raises:
        DataError: it is none.
    """
    if file.is_dir():
        raise DataError(f"`{file}` is a folder; give the JSON file in it.")
    try:
        return json.loads(file.read_bytes())
    except OSError as error:
        reason = error.strerror or error
    except json.JSONDecodeError as error:
        reason = f"{error.msg}, line {error.lineno}, column {error.colno}"
    except UnicodeDecodeError:
        reason = "it is neither UTF-8 nor UTF-16 text; save it as UTF-8"
    except RecursionError:
        reason = "it is nested too deep"
    raise DataError(f"{file} is not readable JSON: {reason}.")


def as_table(value: Any, what: str) -> Mapping[str, Any]:
    """Return a value that is a table; attributes of an XML element are one."""
    value = getattr(value, "attrib", value)
    if not isinstance(value, Mapping):
        raise DataError(f"{what} must be a table of fields, got {said(value)}.")
    return value


def table(item: Any, name: str) -> Mapping[str, Any]:
    """Return a field that is a table."""
    return as_table(_field(item, name), f"`{name}`")


def listed(item: Any, name: str) -> Sequence[Any]:
    """Return a field that is a list."""
    value = _field(item, name)
    if not isinstance(value, list):
        raise DataError(f"`{name}` must be a list, got {said(value)}.")
    return value


def tables(item: Any, name: str) -> list[Mapping[str, Any]]:
    """Return a field that is a list of tables."""
    return [as_table(v, f"each of `{name}`") for v in listed(item, name)]


def text(item: Any, name: str) -> str:
    """Return a field that is a text, or a number that stands for one, and not empty."""
    value = _field(item, name)
    if isinstance(value, bool) or not isinstance(value, str | int | float) or value == "":
        raise DataError(f"`{name}` must be a text, got {said(value)}.")
    return str(value)


def key(item: Any, name: str) -> str | int:
    """Return a field that tells entries apart: a whole number or a text."""
    value = _field(item, name)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise DataError(f"`{name}` must be a number or a text, got {said(value)}.")
    return value


def number(item: Any, name: str, default: float | None = None) -> float:
    """Return a field that is a finite number, also one written as text; ``default``: without it."""
    value = as_table(item, "it").get(name)
    if value is None:
        value = _field(item, name) if default is None else default
    result = math.nan
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        with suppress(ValueError, OverflowError):
            result = float(value)
    if not math.isfinite(result):
        raise DataError(f"`{name}` must be a number, got {said(value)}.")
    return result


def side_px(item: Any, name: str) -> int:
    """Return a field that is a height or width of a picture."""
    value = number(item, name)
    if not 1 <= value <= _LARGEST_PX:
        raise DataError(
            f"`{name}` must be a number of pixels from 1 to {_LARGEST_PX}, got {said(value)}."
        )
    return int(value)


def points_of(values: Any, where: str, at_least: int = 0) -> Array:
    """Return (N, 2) finite x, y of pairs, or of x and y in turn; ``at_least``: the smallest N."""
    try:
        numbers = np.asarray(values, dtype=float)
    except (TypeError, ValueError, OverflowError):
        numbers = np.array(math.nan)
    is_pairs = numbers.ndim == 2 and numbers.shape[1] == 2
    in_turn = numbers.ndim == 1 and numbers.size % 2 == 0
    if not (is_pairs or in_turn) or not np.isfinite(numbers).all():
        raise DataError(f"{where}: points must be pairs of finite numbers, got {said(values)}.")
    if numbers.size < 2 * at_least:
        raise DataError(
            f"{where}: it must have at least {at_least} points, got {numbers.size // 2}."
        )
    return numbers.reshape(-1, 2)


def said(value: Any) -> str:
    """Return what came, as its file says it, and shortened."""
    words = {None: "null", True: "true", False: "false"}
    known = value is None or isinstance(value, bool)
    return words[value] if known else reprlib.repr(value)


def _field(item: Any, name: str) -> Any:
    return as_table(item, f"what holds `{name}`")[name]
