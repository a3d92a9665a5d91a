"""Pictures with dark lines, on which the model of ``dark_model`` finds cracks in a millisecond."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image


def picture(seed: int = 0, *, lines: int = 2, height: int = 160, width: int = 240) -> bytes:
    """Return a PNG: bright noise with dark horizontal lines of 4 px."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(170, 210, (height, width, 3), np.uint8)
    for number in range(lines):
        row = (number + 1) * height // (lines + 1)
        pixels[row : row + 4, 20 : width - 20 - 10 * (seed % 7)] = 30
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
