"""The record of two dates of a face."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crackseg.changes.comparison import Change
from crackseg.changes.registration import Registration


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two dates of a face."""

    old: Mapping[str, Any]  # face.json
    new: Mapping[str, Any]
    registration: Registration
    changes: Sequence[Change]
    outdated: tuple[bool, bool] = (
        False,
        False,
    )  # whether results beside each map say otherwise now
