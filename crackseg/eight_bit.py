"""What a model card says of the model's 8-bit graph, beside the float one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from crackseg.errors import ModelError


@dataclass(frozen=True, slots=True, kw_only=True)
class EightBit:
    """How good an 8-bit graph is, on val lists."""

    probe_tolerance: float  # largest difference from its own probe that rounding explains
    calibrated_on: str  # tiles and their lists
    judged_on: str  # pictures and their lists
    judge: float  # the score of `training.judge`
    judge_float: float
    sets: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        numbers = (self.probe_tolerance, self.judge, self.judge_float)
        if not all(math.isfinite(number) for number in numbers) or self.probe_tolerance <= 0:
            raise ModelError(f"`eight_bit` must hold finite numbers, got {numbers}.")

    @property
    def loss(self) -> float:
        """How much worse it is than float, by the judge."""
        return self.judge_float - self.judge
