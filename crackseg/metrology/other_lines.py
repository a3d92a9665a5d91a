"""Dark lines that the network takes for no crack: joints, cables, edges of formwork, scratches.

Some cracks run as straight and even as a joint. So such lines are not passed over: they get centre
line, length and width like cracks, apart from them and out of every total.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from crackseg.config import MaskOptions, MeasureOptions
from crackseg.metrology.cracks import measure
from crackseg.metrology.masks import mark
from crackseg.records import Array, Crack, Prediction, Scale, Window
from crackseg.runs import Mask, Runs

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
        in_full=False,
    )
    return lines


def _apart(mask: Runs, cracks: Mask) -> Runs:
    """Return what of a mask lies apart from the cracks."""
    near = Runs.of(cracks).grown(APART_PX)
    places = mask.pixels()
    return Runs.at(places[near.find(*np.divmod(places, mask.shape[1])) < 0], mask.shape)
