"""What training and scoring take from scikit-image, which is of the extra ``train``."""

from __future__ import annotations

from crackseg.names import require

require("skimage", extra="train")

from skimage.draw import polygon2mask  # noqa: E402 - what is missing has a sentence
from skimage.morphology import skeletonize  # noqa: E402

__all__ = ["polygon2mask", "skeletonize"]
