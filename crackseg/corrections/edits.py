"""A file of edits, ``corrections.json``, becomes records; what is not understood is refused.

    {"schema_version": "1", "image_sha256": "...", "edits": [
      {"id": "1", "kind": "draw", "line": [[row, col], ...], "by": "A. Meier", "at": "..."}]}

Every edit names places in the upright picture, in pixels (row, col) with pixel centres at whole
numbers, never the number of a crack: it means the same in a result made anew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from crackseg.errors import DataError
from crackseg.names import nearest
from crackseg.records import Array

SCHEMA_VERSION = "1"
# What an edit of each kind does, and the places that it must name.
KINDS: dict[str, tuple[str, str]] = {
    "draw": ("line", "a crack that was missed, along its dark line"),
    "redraw": ("line", "the crack at `point` runs along the line"),
    "erase": ("area", "what of any crack lies in the area"),
    "split": ("point", "one crack becomes two at the place"),
    "join": ("line", "two cracks become one; the line leads from one to the other"),
    "joint": ("point", "the crack at the place is a joint"),
    "other_line": ("point", "the crack at the place is another line: a cable, an edge, a scratch"),
    "not_a_crack": ("point", "the crack at the place is none"),
    "crack": ("point", "the joint or other line at the place is a crack"),
    "structure": ("area", "nothing outside the area is looked at"),
    "ignore": ("area", "nothing in the area is looked at"),
}
_LEAST_POINTS = {"line": 2, "area": 3, "point": 1}
_MOST_EDITS, _MOST_POINTS, _LONGEST_TEXT = 5_000, 10_000, 200
_FARTHEST_PX = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One edit; ``places`` are (N, 2) float rows and cols, N = 1 of a point."""

    id: str
    kind: str
    places: Array
    snap: bool  # to the dark line in the photograph
    by: str
    at: str  # ISO 8601, UTC
    of: Array | None = None  # (2,) row and col of the crack that a line is for

    @property
    def point(self) -> Array:
        """The place of the crack it means, (2,) row and col."""
        first: Array = self.places[0] if self.of is None else self.of
        return first


def read_edits(path: Path, image_sha256: str) -> tuple[Edit, ...]:
    """Return the edits of a file.

    Args:
        path: ``corrections.json``.
        image_sha256: of the photograph that they must be about.

    Raises:
        DataError: it cannot be read, is of another photograph, or an edit is not understood.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError(f"`{path}` cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"`{path}` is not JSON: {error}.") from error
    return parse_corrections(values, image_sha256, where=path.name)


def parse_corrections(values: Any, image_sha256: str, where: str) -> tuple[Edit, ...]:
    """Return the edits of what a ``corrections.json`` holds.

    Raises:
        DataError: it is of another photograph or schema, or an edit is not understood.
    """
    keys = {"schema_version", "image_sha256", "edits"}
    if not isinstance(values, Mapping) or set(values) != keys:
        text = f"{sorted(map(str, values))}" if isinstance(values, Mapping) else repr(values)[:40]
        raise DataError(f"`{where}` must hold {', '.join(sorted(keys))}, got {text}.")
    if values["schema_version"] != SCHEMA_VERSION:
        raise DataError(
            f"`{where}` must have `schema_version` {SCHEMA_VERSION!r}, got "
            f"{values['schema_version']!r:.40}."
        )
    if values["image_sha256"] != image_sha256:
        raise DataError(
            f"`{where}` is about another photograph: its `image_sha256` is "
            f"{values['image_sha256']!r:.80}, that of the result {image_sha256!r}."
        )
    return parse_edits(values["edits"], where)


def parse_edits(values: Any, where: str) -> tuple[Edit, ...]:
    """Return the edits of a list of plain values.

    Raises:
        DataError: names the edit and what is wrong with it.
    """
    if not isinstance(values, Sequence) or isinstance(values, str) or len(values) > _MOST_EDITS:
        raise DataError(f"`{where}` must hold a list of at most {_MOST_EDITS} edits.")
    edits = tuple(_edit(value, f"`{where}`, edit {n}") for n, value in enumerate(values, start=1))
    ids = [edit.id for edit in edits]
    twice = next((name for name in ids if ids.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"`{where}` has two edits with the `id` {twice!r}; each needs its own.")
    return edits


def to_file(edits: Sequence[Edit], image_sha256: str) -> dict[str, Any]:
    """Return what ``corrections.json`` holds of edits."""
    return {
        "schema_version": SCHEMA_VERSION,
        "image_sha256": image_sha256,
        "edits": [to_plain(edit) for edit in edits],
    }


def to_plain(edit: Edit) -> dict[str, Any]:
    """Return an edit as its file holds it."""
    shape = KINDS[edit.kind][0]
    places = [[round(float(row), 2), round(float(col), 2)] for row, col in edit.places]
    snap = {} if edit.snap else {"snap": False}
    about: dict[str, Any] = {"id": edit.id, "kind": edit.kind}
    about |= {shape: places[0] if shape == "point" else places, **snap}
    if edit.of is not None:
        about["point"] = [round(float(value), 2) for value in edit.of]
    return about | {"by": edit.by, "at": edit.at}


def _edit(value: Any, where: str) -> Edit:
    if not isinstance(value, Mapping):
        raise DataError(f"{where} must be an object, got {value!r:.40}.")
    kind = value.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        kinds = nearest(str(kind)[:40], KINDS)
        raise DataError(f"{where}: `kind` must be one of {kinds}, got {kind!r:.40}.")
    shape = KINDS[kind][0]
    keys = {"id", "kind", shape, "by", "at"} | ({"snap"} if shape == "line" else set())
    if kind == "redraw":
        keys.add("point")
    unknown = sorted(map(str, set(value) - keys))
    if unknown:
        raise DataError(f"{where}: unknown key `{unknown[0][:40]}`; known: {sorted(keys)}.")
    snap = value.get("snap", True)
    if not isinstance(snap, bool):
        raise DataError(f"{where}: `snap` must be true or false, got {snap!r:.40}.")
    return Edit(
        id=_text(value, "id", where),
        kind=kind,
        places=_places(value.get(shape), shape, where),
        snap=snap,
        by=_text(value, "by", where),
        at=_time(value, where),
        of=_places(value.get("point"), "point", where)[0] if kind == "redraw" else None,
    )


def _text(value: Mapping[str, Any], name: str, where: str) -> str:
    text = value.get(name)
    if not isinstance(text, str) or not text.strip() or len(text) > _LONGEST_TEXT:
        raise DataError(
            f"{where}: `{name}` must be a text of 1 to {_LONGEST_TEXT} letters, got {text!r:.40}."
        )
    return text


def _time(value: Mapping[str, Any], where: str) -> str:
    text = value.get("at")
    try:
        time = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise DataError(
            f"{where}: `at` must be a time with its zone, like 2026-05-04T09:30:00+00:00, got "
            f"{text!r:.40}."
        )
    return time.astimezone(UTC).isoformat(timespec="seconds")


def _places(value: Any, shape: str, where: str) -> Array:
    """Return (N, 2) float rows and cols."""
    listed = [value] if shape == "point" else value
    least = _LEAST_POINTS[shape]
    good = isinstance(listed, list) and least <= len(listed) <= _MOST_POINTS
    if not good or not all(_is_place(place) for place in listed):
        what = "[row, col]" if shape == "point" else f"a list of {least} or more [row, col]"
        raise DataError(f"{where}: `{shape}` must be {what} in px, got {value!r:.60}.")
    return np.array(listed, dtype=np.float64)


def _is_place(place: Any) -> bool:
    return (
        isinstance(place, list | tuple)
        and len(place) == 2
        and all(
            isinstance(v, int | float) and not isinstance(v, bool) and abs(v) < _FARTHEST_PX
            for v in place
        )
    )
