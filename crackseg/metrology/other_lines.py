"""Dark lines that the network takes for no crack: joints, cables, edges of formwork, scratches.

Some cracks run as straight and even as a joint. So such lines are not passed over: they get centre
line, length and width like cracks, apart from them and out of every total.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np

from crackseg.config import MaskOptions, MeasureOptions
from crackseg.metrology.cracks import measure
from crackseg.metrology.masks import mark
from crackseg.records import Array, Crack, Prediction, Scale, Window
from crackseg.runs import Mask, Runs, bands

THRESHOLD, THRESHOLD_LOW = 0.5, 0.25
SHORTEST_PX = 50.0  # joints and cables run on; shorter pieces are texture and would hide them
APART_PX = 3  # what lies so near to a crack is that crack


def find_other_lines(
    prediction: Prediction,
    cracks: Mask,
    *,
    image: Callable[[Window], Array],
    scale: Scale | None,
    mask_options: MaskOptions,
    options: MeasureOptions,
) -> tuple[Crack, ...] | None:
    """Return the other lines of a picture, longest first; None where the model does not tell.

    Args:
        prediction: of the picture.
        cracks: (H, W) bool mask of the cracks.
        image: reads a window of the photograph as (h, w, 3) uint8 RGB.
        scale: makes mm; None leaves every mm field None.
        mask_options: speck size and gap length; its thresholds are the crack's, and not read.
        options: smoothing; no line shorter than ``SHORTEST_PX`` is listed.
    """
    if prediction.other is None:
        return None
    mask = mark(
        prediction.other,
        threshold=THRESHOLD,
        threshold_low=THRESHOLD_LOW,
        options=mask_options,
        valid=prediction.valid,
    )
    lines, _ = measure(
        _apart(mask, cracks),
        image=image,
        probability=prediction.other,
        scale=scale,
        mask_options=mask_options,
        options=replace(options, min_length_px=max(options.min_length_px, SHORTEST_PX)),
    )
    return lines


def _apart(mask: Runs, cracks: Mask) -> Runs:
    """Return what of a mask lies apart from the cracks."""
    square, parts = np.ones((2 * APART_PX + 1,) * 2, np.uint8), []
    height, width = mask.shape
    for rows in bands(height, width):
        top = max(rows.start - APART_PX, 0)
        near = cv2.dilate(cracks[top : rows.stop + APART_PX].view(np.uint8), square) > 0
        first, last = np.searchsorted(mask.start, (rows.start * width, rows.stop * width))
        places = mask.chosen(np.arange(first, last)).pixels() - rows.start * width
        own = near[rows.start - top :][: rows.stop - rows.start].reshape(-1)
        parts.append(Runs.at(places[~own[places]], (rows.stop - rows.start, width)))
    return Runs.stack(parts, width)
