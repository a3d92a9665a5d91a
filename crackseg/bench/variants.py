"""What is compared: "default", or settings as "runtime=openvino,batch=4" become a variant."""

from __future__ import annotations

import sys
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crackseg.config import AnalyzeOptions, PredictOptions, read_options
from crackseg.errors import ConfigError
from crackseg.names import nearest

DEFAULT = "default"
_OWN = ("model", "python", "exports")


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One way to analyze."""

    name: str  # as it was asked for
    python: str  # the interpreter, which may have another release of this package
    options: Mapping[str, Any]  # of an analysis; what is not named is as by default


def read_variant(text: str) -> Variant:
    """Return the variant of a text like ``model=FOLDER,runtime=torch,device=cuda,batch=16``.

    Keys are ``model``, ``python`` (interpreter of another environment), ``exports`` (joined by +)
    and the options of ``[predict]``.

    Raises:
        ConfigError: a key is unknown, or a value has the wrong type or range.
    """
    values = {} if text.strip() in ("", DEFAULT) else dict(map(_pair, text.split(",")))
    hints = typing.get_type_hints(PredictOptions)
    python = values.pop("python", sys.executable)
    options: dict[str, Any] = {"predict": {}}
    for key, value in values.items():
        if key == "model":
            options["model"] = value
        elif key == "exports":
            options["exports"] = [name for name in value.split("+") if name]
        elif key in hints:
            options["predict"][key] = _plain(value)
        elif python == sys.executable:  # another release may have options of its own
            names = nearest(key, [*hints, *_OWN])
            raise ConfigError(f"unknown key `{key}` in `{text}`; known: {names}.")
        else:
            options["predict"][key] = _plain(value)
    if python == sys.executable:
        read_options(AnalyzeOptions, options)
    return Variant(name=text.strip() or DEFAULT, python=python, options=options)


def _pair(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not (key.strip() and sign and value.strip()):
        raise ConfigError(f"a variant must be `{DEFAULT}` or settings as `batch=4`, got `{text}`.")
    return key.strip(), value.strip()


def _plain(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
