"""Look a short name up in a table; an unknown name is an error that lists the nearest ones.

A family (networks, losses, runtimes, exports) is a dict from a short name to a function, or to a
``"module:function"`` string where the module is optional or heavy to import.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import math
from collections.abc import Iterable, Mapping
from typing import Any

from crackseg.errors import MissingExtra, UnknownName

_MOST_NAMES = 30  # in a sentence; libraries know a thousand networks


def count(number: int, noun: str) -> str:
    """Return ``1 crack`` or ``3 cracks``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def decimals_of(value: float, digits: int) -> int:
    """Return the decimals that show so many figures of a number."""
    return max(digits - 1 - math.floor(math.log10(abs(value))), 0) if value else 0


def figures(value: float, digits: int) -> str:
    """Return a number to so many figures, never with an exponent: ``0.4``, ``100``, ``1250``."""
    decimals = decimals_of(value, digits)
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if decimals else text


def nearest(name: str, candidates: Iterable[str]) -> str:
    """Return the known names as one line, the ones most like ``name`` first, the last counted."""
    names = sorted(candidates)
    many = len(names) > _MOST_NAMES
    close = difflib.get_close_matches(name, names, n=10 if many else 3, cutoff=0.4)
    others = [n for n in names if n not in close]
    shown = (close or others[:10]) if many else [*close, *others]
    return ", ".join(shown) + (f" and {len(names) - len(shown)} more" if many else "")


def look_up(table: Mapping[str, Any], name: str, *, what: str, extra: str | None = None) -> Any:
    """Return ``table[name]``, importing it first when the entry is a ``"module:function"`` string.

    Args:
        table: the family.
        name: short name in the family.
        what: what the family holds, for the error text ("network", "export").
        extra: the extra that installs what a string entry imports.

    Raises:
        UnknownName: ``name`` is not in ``table``.
        MissingExtra: the entry's module needs a package that is not installed.
    """
    if name not in table:
        raise UnknownName(f"unknown {what} `{name}`; known: {nearest(name, table)}.")
    entry = table[name]
    if not isinstance(entry, str):
        return entry
    module, _, function = entry.partition(":")
    try:
        return getattr(importlib.import_module(module), function)
    except ModuleNotFoundError as error:
        hint = f"pip install 'crackseg[{extra}]'" if extra else f"install `{error.name}`"
        raise MissingExtra(
            f"{what} `{name}` needs the package `{error.name}`, which is not installed; {hint}."
        ) from error


def require(module: str, *, extra: str) -> None:
    """Raise when an optional package is absent.

    Raises:
        MissingExtra: names the extra that installs ``module``.
    """
    if importlib.util.find_spec(module) is None:
        raise MissingExtra(
            f"this needs the package `{module}`, which is not installed; "
            f"pip install 'crackseg[{extra}]'."
        )
