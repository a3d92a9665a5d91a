"""What a model folder says of itself, how certain its marks are, and which release reads it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from crackseg.detection import Detection
from crackseg.eight_bit import EightBit
from crackseg.errors import ModelError


@dataclass(frozen=True, slots=True, kw_only=True)
class Certainty:
    """How likely a mark of one model is a crack: a logistic regression on what is measured of it.

    Fitted on pictures with labels that the model was not trained on; see ``metrology.ranking`` for
    the features.
    """

    intercept: float
    weights: Mapping[str, float]  # feature -> weight
    limit: float  # marks less certain than this stand under "also marked"
    fitted_on: str = ""  # pictures, marks and how they were read

    def __post_init__(self) -> None:
        values = (self.intercept, *self.weights.values())
        if not all(isinstance(v, int | float) and math.isfinite(v) for v in values):
            raise ModelError(f"`certainty` must hold finite numbers, got {values}.")
        if not 0 <= self.limit < 1:
            raise ModelError(f"`certainty.limit` must lie in [0, 1), got {self.limit}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """What a model folder says of itself."""

    name: str
    version: str
    network: str
    network_arguments: Mapping[str, Any]
    input_multiple: int
    mean: tuple[float, float, float]  # of 0..255 RGB
    std: tuple[float, float, float]
    threshold: float
    threshold_low: float  # hysteresis: pixels above it count when joined to one above threshold
    tile_px: int
    sha256: Mapping[str, str]  # file name -> digest
    intended_use: str
    limits: str
    data: tuple[Mapping[str, Any], ...] = ()
    scores: Mapping[str, Any] = field(default_factory=dict)
    certainty: Certainty | None = None  # None: certainties are not known
    detection: Detection | None = None  # None: how thin cracks it finds was not tested
    eight_bit: EightBit | None = None  # None: the folder holds no 8-bit graph
    needs: str = ""  # release of crackseg from which on the folder is read as meant; "": unknown

    def __post_init__(self) -> None:
        if not 1 <= self.input_multiple <= 1024:
            raise ModelError(
                f"`input_multiple` must lie between 1 and 1024, got {self.input_multiple}."
            )
        if self.tile_px < 1 or self.tile_px % self.input_multiple:
            raise ModelError(
                f"`tile_px` must be a multiple of {self.input_multiple}, got {self.tile_px}."
            )
        if not 0 < self.threshold_low <= self.threshold < 1:
            raise ModelError(
                "`threshold_low` and `threshold` must hold 0 < low <= high < 1, got "
                f"{self.threshold_low} and {self.threshold}."
            )
        if not all(s > 0 and math.isfinite(s) for s in self.std):
            raise ModelError(f"`std` must be three positive numbers, got {self.std}.")


def refuse_newer(needs: Any, release: str, where: str) -> None:
    """Refuse a card that a later release wrote: this one would not know all that it says.

    Args:
        needs: of the card, whatever it holds.
        release: of this package.
        where: the card, for the message.

    Raises:
        ModelError: the release needed is a later one, or is no release at all.
    """
    if needs in (None, ""):
        return
    if not isinstance(needs, str) or not re.fullmatch(r"\d+(\.\d+)*", needs):
        raise ModelError(f"`{where}`: `needs` must be a release as 0.5.0, got {needs!r:.40}.")
    if _numbers(needs) > _numbers(release):
        raise ModelError(
            f"`{where}` needs crackseg {needs} or later, this is {release}; upgrade crackseg, or "
            "export the model with this release."
        )


def _numbers(release: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", release)[:3]]
