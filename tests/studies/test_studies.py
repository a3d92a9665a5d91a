"""Every study can be opened, says how it is run, and stands in the README beside it."""

from __future__ import annotations

import numpy as np
import pytest
from studies import FOLDER, load_study

NAMES = sorted(path.stem for path in FOLDER.glob("*.py"))


@pytest.mark.parametrize("name", NAMES)
def test_a_study_opens_and_says_how_it_is_run(name: str) -> None:
    study = load_study(name)
    assert f"{name}.py" in (study.__doc__ or "").splitlines()[0]
    assert callable(study.main)
    assert f"| `{name}.py` |" in (FOLDER / "README.md").read_text(encoding="utf-8")


def test_a_first_look_keeps_the_squares_that_reach_the_level() -> None:
    study = load_study("first_look")
    probability = np.zeros((300, 500))
    probability[10, 10], probability[299, 499] = 0.3, 0.05
    keep = study.decide(probability, 128, 0.1)
    assert keep.tolist() == [[True, False, False, False], [False] * 4]
    pixels = study.spread(keep, probability)
    assert pixels.shape == (300, 500)
    assert pixels[:150, :125].all()
    assert pixels.sum() == 150 * 125
