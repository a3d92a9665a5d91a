"""Measure a thin line by itself, whatever it runs through: a stain, the edge of a tone, a shadow.

The darkness of a core of a few pixels is held against the shoulders right beside it, not against
the concrete ten pixels off. A line wider than the core is under-read; it shows its edges and is
not measured in this way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crackseg.metrology.width import MODEL_U_PX, MODEL_U_REL, assumed_interior
from crackseg.records import Array

_CORE_PX = 3  # to either side of the darkest sample
_SHOULDER_PX = (2, 5)  # the concrete, stained or not, begins within these
_BRIGHTEST = 2  # samples of a shoulder that make its level: another dark spot is left out
_EDGE_PX = 0.75  # the edge of a tone lies somewhere within the core: px for a step to black
_PTP = 1.7  # standard deviations between the largest and the least of three samples, in the mean
_FAINT, _CLEAR = 0.06, 3.0  # least depth of a core: darkness, and times the shoulders' unevenness


@dataclass(frozen=True, slots=True)
class Narrow:
    """What (N,) profiles say of a narrow dark core."""

    width_px: Array  # (N,) float
    noise_u_px: Array  # (N,) standard uncertainty from its shoulders
    model_u_px: Array  # (N,) standard uncertainty that neighbouring stations share
    lighter_px: Array  # (N,) by how much it is wider where the interior is as light as can be
    total_px: Array  # (N,) its darkness, in px of black
    least_px: Array  # (N,) its width if it lies in the darker of its two shoulders
    clear: Array  # (N,) bool, it stands out from its shoulders


def narrow_widths(
    profiles: Array, darkest: Array, interior: Array | None = None, sure: Array | None = None
) -> Narrow:
    """Return the width of the narrow dark core of each profile.

    Args:
        profiles: (N, P) grey values at 1-px spacing.
        darkest: (N,) int, the sample where the line is.
        interior: (N,) darkness of the interior, nan where it is not known.
        sure: (N,) 0..1, how far that is known.
    """
    near, far = _SHOULDER_PX
    offset = np.arange(-far, far + 1)
    place = np.clip(darkest[:, None] + offset, 0, profiles.shape[1] - 1)
    grey = np.take_along_axis(profiles, place, axis=1)
    sides = [np.sort(grey[:, offset <= -near], axis=1), np.sort(grey[:, offset >= near], axis=1)]
    left, right = (side[:, -_BRIGHTEST:].mean(axis=1)[:, None] for side in sides)
    share = 0.5 + offset / (near + far + 1)
    base = np.maximum(left * (1 - share) + right * share, 1)
    inner = np.abs(offset) <= _CORE_PX
    darkness = (1 - grey / base)[:, inner]
    least = np.maximum(1 - grey[:, inner] / np.maximum(np.minimum(left, right), 1), 0).sum(axis=1)
    uneven = sum(np.ptp(side[:, -_BRIGHTEST - 1 :], axis=1) for side in sides) / 2 / base[:, far]
    deepest = darkness[:, _CORE_PX]
    _, assumed, lightest = assumed_interior(darkness.max(axis=1), interior, sure)
    total = np.maximum(darkness, 0).sum(axis=1)  # beside the edge of a tone some are brighter
    step = np.abs(left - right)[:, 0] / base[:, far]
    width, samples = total / assumed, darkness.shape[1]
    return Narrow(
        width_px=width,
        noise_u_px=uneven / _PTP * np.sqrt(samples + samples**2 / (2 * _BRIGHTEST)) / assumed,
        model_u_px=np.hypot(MODEL_U_PX, MODEL_U_REL * width) + _EDGE_PX * step,
        lighter_px=width * np.maximum(assumed / lightest - 1, 0),
        total_px=total,
        least_px=np.minimum(least / assumed, width),
        clear=deepest > np.maximum(_FAINT, _CLEAR * uneven),
    )
