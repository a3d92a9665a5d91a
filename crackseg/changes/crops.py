"""Before and after: the surroundings of a crack at two dates, at one scale and one place."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from crackseg.changes.records import Comparison
from crackseg.changes.registration import Registration, photographs_of
from crackseg.errors import ImageError
from crackseg.exports.overlay import to_jpeg
from crackseg.exports.wording import plain_length, round_length
from crackseg.face.cameras import View
from crackseg.face.cracks import in_view
from crackseg.imagery.files import open_image
from crackseg.records import Array

MOST_CROPS = 40
_CROP_PX = 420  # shorter sides are widened to it
_LARGEST_CROP_PX = 900
_FINER = 4  # at most: more memory than a long crack is worth
_LEAST_SHOWN = 0.3  # of the place, by the photograph that shows most of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One place of the face at two dates."""

    names: tuple[str | None, str | None]  # files; None: no photograph at hand shows it
    width_m: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Field:
    """A rectangle of the face, in places of the later map."""

    left_m: float
    top_m: float
    step_m: float  # of a pixel of the crop
    height_px: int
    width_px: int
    finer: int  # pixels of the photograph are read so many times finer, and averaged

    def places(self) -> Array:
        """Return (N, 2) places of the fine pixels, row by row."""
        step = self.step_m / self.finer
        rows, cols = np.mgrid[: self.height_px * self.finer, : self.width_px * self.finer]
        return np.column_stack(
            [self.left_m + (cols.ravel() + 0.5) * step, self.top_m - (rows.ravel() + 0.5) * step]
        )


def write_crops(
    comparison: Comparison, folder: Path, listen: Callable[[str, float], None]
) -> dict[int, Pair]:
    """Write crops of both dates at one scale for what changed; return them by lasting id."""
    sets = [photographs_of(values) for values in (comparison.old, comparison.new)]
    alone = ("new", "gone", "changed", "other_line_before", "other_line_now")
    changes = [c for c in comparison.changes if c.kind in alone][:MOST_CROPS]
    size_m = float(np.median([p["mm_per_px"] for p in comparison.new["photographs"]])) / 1000
    pairs: dict[int, Pair] = {}
    for number, change in enumerate(changes):
        listen("crops", number / len(changes))
        field = _field(np.concatenate(change.lines_m), size_m)
        names: list[str | None] = []
        for date, photographs in zip(("before", "after"), sets, strict=True):
            registration = comparison.registration if date == "before" else None
            crop = _crop(field, photographs, registration)
            name = None if crop is None else f"crop_{change.lasting_id}_{date}.jpg"
            if crop is not None and name is not None:
                (folder / name).write_bytes(to_jpeg(crop, 86))
            names.append(name)
        width_m = field.width_px * field.step_m
        pairs[change.lasting_id] = Pair(names=(names[0], names[1]), width_m=width_m)
    return pairs


def _field(points_m: Array, size_m: float) -> _Field:
    """Return the surroundings of a crack."""
    low, high = points_m.min(axis=0) - 40 * size_m, points_m.max(axis=0) + 40 * size_m
    half = np.maximum((high - low) / 2, _CROP_PX / 2 * size_m)
    step = max(size_m, float(half.max()) * 2 / _LARGEST_CROP_PX)
    left, top = (low + high) / 2 + half * [-1, 1]
    return _Field(
        left_m=float(left),
        top_m=float(top),
        step_m=step,
        height_px=max(round(2 * half[1] / step), 1),
        width_px=max(round(2 * half[0] / step), 1),
        finer=min(math.ceil(step / size_m - 0.2), _FINER),
    )


def _crop(
    field: _Field, photographs: Sequence[tuple[Path, View]], registration: Registration | None
) -> Array | None:
    """Return a place as the photograph that shows most of it has it, with a scale bar."""
    places = field.places()
    if registration is not None:
        z = (places @ [1, 1j] - registration.shift) / registration.factor
        places = np.column_stack([z.real, z.imag])
    some = places[:: max(len(places) // 500, 1)]
    shares = [in_view(view, some).mean() for _, view in photographs]
    if not shares or max(shares) < _LEAST_SHOWN:
        return None
    path, view = photographs[int(np.argmax(shares))]
    try:
        with open_image(path) as image:
            picture = image.read()
    except ImageError:
        return None
    shape = field.height_px * field.finer, field.width_px * field.finer
    at = np.nan_to_num(view.to_picture(places).reshape(*shape, 2), nan=-9).astype(np.float32)
    fine = cv2.remap(
        picture, at[..., 1], at[..., 0], cv2.INTER_LINEAR, borderValue=(240, 240, 240)
    )  # fmt: skip
    size = field.width_px, field.height_px
    crop = np.array(cv2.resize(fine, size, interpolation=cv2.INTER_AREA), order="C")
    _draw_bar(crop, field.step_m)
    return crop


def _draw_bar(crop: Array, step_m: float) -> None:
    """Draw in place a bar of round length."""
    length_m = round_length(0.3 * crop.shape[1] * step_m)
    row, end = crop.shape[0] - 12, 10 + round(length_m / step_m)
    cv2.rectangle(crop, (6, row - 20), (max(end, 80) + 6, row + 8), (255, 255, 255), -1)
    cv2.line(crop, (10, row), (end, row), (29, 33, 38), 3)
    label = plain_length(1000 * length_m)
    cv2.putText(
        crop, label, (10, row - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (29, 33, 38), 1, cv2.LINE_AA
    )
