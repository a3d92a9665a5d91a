"""What the metrology tests share: phantoms, measured with the default options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from crackseg.config import MaskOptions, MeasureOptions
from crackseg.metrology.cracks import measure
from crackseg.records import Crack, Window

Measured = tuple[Crack, ...]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20)


@pytest.fixture
def cracks_of() -> Callable[..., Measured]:
    """Return a function that measures a mask, with its photograph if one is given."""

    def run(
        mask: Any,
        picture: Any = None,
        scale: Any = None,
        probability: Any = None,
        other: Any = None,
        valid: Any = None,
        declared: Any = None,
        mask_options: MaskOptions | None = None,
        **options: Any,
    ) -> Measured:
        def read(window: Window) -> Any:
            return picture[window.slices]

        cracks, _ = measure(
            np.asarray(mask),
            image=None if picture is None else read,
            probability=probability,
            other=other,
            valid=valid,
            declared=declared,
            scale=scale,
            mask_options=mask_options or MaskOptions(),
            options=MeasureOptions(**options),
        )
        return cracks

    return run
