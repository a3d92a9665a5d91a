"""Arguments of networks are checked by the types of their functions before anything is built.

The type of an argument says all there is to say: ``int``, ``bool``, ``Literal[1, 2]``, a number in
a ``Range``. What a function takes further (``**arguments`` of a library) is the library's to judge.
"""

from __future__ import annotations

import inspect
import math
import reprlib
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from crackseg.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Range:
    """The numbers from ``low`` to ``high``, both taken; ``count`` of them where it is a list."""

    low: float
    high: float
    count: int | None = None


# Upper bounds are far above what anybody trained, and below what ends in a full memory.
Width = Annotated[float, Range(0.01, 4)]  # factor on all channel numbers
Channels = Annotated[int, Range(1, 1024)]
FiveChannels = Annotated[Sequence[int], Range(1, 1024, 5)]
FiveDepths = Annotated[Sequence[int], Range(1, 16, 5)]
Dropout = Annotated[float, Range(0, 0.95)]  # at 1 nothing would pass
Score = Annotated[float, Range(0, 0.99)]
Most = Annotated[int, Range(1, 10000)]  # boxes, instances


def check_arguments(name: str, function: Callable[..., Any], given: Mapping[str, Any]) -> None:
    """Raise where an argument of a network is not of the type or in the range that its hint says.

    Args:
        name: of the network, for the message.
        function: builds it.
        given: keyword arguments.

    Raises:
        ConfigError: names the argument, what was expected and what came.
    """
    hints = typing.get_type_hints(function, include_extras=True)
    kinds = {key: p.kind for key, p in inspect.signature(function).parameters.items()}
    for key, value in given.items():
        if kinds.get(key, inspect.Parameter.VAR_KEYWORD) is inspect.Parameter.VAR_KEYWORD:
            continue
        if not _fits(hints[key], value):
            raise ConfigError(
                f"`arguments.{key}` of network `{name}` must be {_expected(hints[key])}, "
                f"got {reprlib.repr(value)}."
            )


def _fits(hint: Any, value: Any) -> bool:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        limits: Range = inner[1]
        if limits.count is None:
            return _fits(inner[0], value) and limits.low <= value <= limits.high
        return (
            isinstance(value, list | tuple)
            and len(value) == limits.count
            and all(_fits(int, v) and limits.low <= v <= limits.high for v in value)
        )
    if origin in (typing.Union, types.UnionType):
        return any(_fits(choice, value) for choice in inner)
    if origin is typing.Literal:
        return any(type(value) is type(choice) and value == choice for choice in inner)
    if hint is float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and (isinstance(value, int) or math.isfinite(value))
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, origin or hint)


def _expected(hint: Any) -> str:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        limits: Range = inner[1]
        span = f"from {limits.low:g} to {limits.high:g}"
        if limits.count is not None:
            return f"a list of {limits.count} whole numbers {span}"
        return f"a {'whole ' if inner[0] is int else ''}number {span}"
    if origin in (typing.Union, types.UnionType):
        choices = [c for c in inner if c is not type(None)]
        return " or ".join(dict.fromkeys(_expected(choice) for choice in choices))
    if origin is typing.Literal:
        return "one of " + ", ".join(repr(choice) for choice in inner)
    words = {bool: "true or false", str: "a text", Path: "a path", Mapping: "a table"}
    return words.get(origin or hint, str(hint))
