"""One small rendered survey for all tests of maps."""

from __future__ import annotations

import numpy as np
import pytest
import wall_survey
from rendered_survey import Rendered, render

from crackseg.face.mapping import FaceMap, make_map


@pytest.fixture(scope="session")
def first_date(tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """Eight photographs of a wall of 8 x 3 m with seven cracks."""
    plan = wall_survey.Plan(
        width_m=8.0, height_m=3.0, rows=2, cols=4, picture_px=(750, 1000), distance_m=4.2,
        texture_m=0.003,
    )  # fmt: skip
    lines = wall_survey.wall_lines(plan, np.random.default_rng(3), 7)
    return render(plan, lines, tmp_path_factory.mktemp("survey"), "first")


@pytest.fixture(scope="session")
def face_map(first_date: Rendered) -> FaceMap:
    """The map by poses and one reference length."""
    return make_map(
        first_date.results, references=first_date.reference(0, 3), survey=first_date.survey
    )
