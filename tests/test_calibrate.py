"""A certainty is the share of marks like this one that are real, learned from labelled pictures."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from crackseg import calibrate
from crackseg.config import AnalyzeOptions
from crackseg.errors import DataError
from crackseg.imagery.files import open_image
from crackseg.inference.models import read_card
from crackseg.inference.predictor import Predictor
from crackseg.metrology.ranking import FEATURES, REPETITION
from crackseg.pipeline import analyze
from crackseg.training.reliability import Mark, reliability


def marks(count: int, seed: int, *, photographs: int = 40) -> list[Mark]:
    """Return marks that are real by a known law: logit = 4 x the first feature."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, len(FEATURES)))
    real = rng.random(count) < 1 / (1 + np.exp(-4 * x[:, 0]))
    return [
        Mark(
            source="drawn",
            photograph=str(k % photographs),
            features=x[k],
            length_px=100.0 if real[k] else 20.0,
            real=bool(real[k]),
        )
        for k in range(count)
    ]


def test_the_fit_finds_the_law_and_is_calibrated() -> None:
    learned, fresh = marks(2000, 1), marks(2000, 2)
    card = calibrate.fit(learned)
    assert card.weights[next(iter(FEATURES))] == pytest.approx(4, rel=0.15)
    assert max(abs(w) for w in list(card.weights.values())[1:]) < 0.3
    scores = reliability(fresh, calibrate.certainties(fresh, card))
    assert scores.error < 0.03
    assert scores.brier < 0.6 * scores.brier_constant
    assert scores.error_low <= scores.error_high
    for _, mean, share in scores.bins:
        assert mean == pytest.approx(share, abs=0.12)


def test_the_limit_gives_away_little_of_the_real_length() -> None:
    learned = marks(2000, 3)
    card = calibrate.fit(learned)
    aside = calibrate.certainties(learned, card) < card.limit
    real = np.array([mark.real for mark in learned])
    assert 0 < card.limit < 1
    assert 0 < (aside & real).sum() <= 0.03 * real.sum()
    assert (aside & ~real).sum() > 0.3 * (~real).sum()


def test_a_mark_is_never_judged_by_a_fit_on_its_own_photograph() -> None:
    """Ten photographs, in each of which another feature value is always real: not to be learned."""
    rng = np.random.default_rng(4)
    marks = []
    for photograph in range(10):
        features = np.zeros(len(FEATURES))
        features[0] = photograph
        marks += [
            Mark(source="s", photograph=str(photograph), features=features, length_px=1.0,
                 real=bool(rng.random() < 0.5))
            for _ in range(50)
        ]  # fmt: skip
    swapped = [*marks]
    for k, mark in enumerate(marks):
        if mark.photograph == "3":
            swapped[k] = Mark(source="s", photograph="3", features=mark.features, length_px=1.0,
                              real=not mark.real)  # fmt: skip
    own = np.array([mark.photograph == "3" for mark in marks])
    before, after = (calibrate.cross_validate(group)[own] for group in (marks, swapped))
    assert before == pytest.approx(after)


def with_repetition(mark: Mark, excess: float, *, drawn: bool = False) -> Mark:
    """Return a mark that repeats, or a fitting drawn into the same photograph that looks real."""
    features = mark.features.copy()
    features[list(FEATURES).index(REPETITION)] = excess
    return replace(mark, features=features, drawn=drawn, real=mark.real and not drawn)


def test_what_repeats_loses_certainty_and_nothing_else_does() -> None:
    """Of crack-like drawn fittings half repeat; of real cracks one in a hundred does."""
    natural = [
        with_repetition(mark, 0.2 if k % 100 == 0 else 0.0) for k, mark in enumerate(marks(1000, 6))
    ]
    sure = [mark for mark in natural if mark.features[0] > 1]
    drawn = [with_repetition(m, 0.3 * (k % 2), drawn=True) for k, m in enumerate(sure)]
    plain, taught = calibrate.fit(natural), calibrate.fit([*natural, *drawn])
    assert taught.weights[REPETITION] < -8
    for name in FEATURES:
        if name != REPETITION:
            assert taught.weights[name] == plain.weights[name]
    assert taught.intercept == plain.intercept
    clamps = [mark for mark in drawn if mark.features[-1] > 0]
    assert calibrate.certainties(clamps, plain).mean() > 0.95
    assert calibrate.certainties(clamps, taught).mean() < 0.85
    others = [mark for mark in natural if mark.features[-1] == 0]
    assert calibrate.certainties(others, taught) == pytest.approx(
        calibrate.certainties(others, plain)
    )


def test_drawn_fittings_do_not_move_the_limit_of_the_main_list() -> None:
    natural = [with_repetition(mark, 0.0) for mark in marks(500, 7)]
    drawn = [with_repetition(mark, 0.4, drawn=True) for mark in natural]
    assert calibrate.fit([*natural, *drawn]).limit == calibrate.fit(natural).limit


def test_marks_of_one_kind_teach_nothing() -> None:
    real = [mark for mark in marks(50, 5) if mark.real]
    with pytest.raises(DataError, match="certainty needs real and false marks, got"):
        calibrate.fit(real)


def draw_set(folder: Path, pictures: int) -> Path:
    """Write a val list: grey pictures with a labelled thin crack and an unlabelled dark bar."""
    for part in ("images", "masks"):
        (folder / "drawn" / part).mkdir(parents=True)
    stems = [f"wall_{k}" for k in range(pictures)]
    for k, stem in enumerate(stems):
        picture, label = Image.new("RGB", (260, 200), (165, 165, 165)), Image.new("L", (260, 200))
        course = [(30 + 20 * n, 40 + k % 7 * 3 + (n * 13 + k) % 5) for n in range(11)]
        ImageDraw.Draw(picture).line(course, (20, 20, 20), 3)
        ImageDraw.Draw(label).line(course, 255, 3)
        top = 120 + k % 5
        ImageDraw.Draw(picture).rectangle((90, top, 90 + 25 + k % 9, top + 14), (25, 25, 25))
        picture.save(folder / "drawn" / "images" / f"{stem}.png")
        label.save(folder / "drawn" / "masks" / f"{stem}.png")
    (folder / "drawn" / "val.txt").write_text("\n".join(stems), encoding="utf-8")
    return folder


def test_a_calibrated_model_parts_cracks_from_what_else_is_dark(
    dark_model: Path, tmp_path: Path
) -> None:
    data = draw_set(tmp_path / "data", 12)
    folder = tmp_path / "model"
    shutil.copytree(dark_model, folder)
    lines: list[str] = []
    card = calibrate.run(
        data, str(folder), root=None, sets=(), judges=(), write=True, report=None,
        say=lines.append,
    )  # fmt: skip
    assert read_card(folder).certainty == card
    assert "24 marks" in card.fitted_on or "48 marks" in card.fitted_on
    assert any("expected calibration error" in line for line in lines)
    picture = data / "drawn" / "images" / "wall_0.png"
    with open_image(picture) as image:
        report = analyze(image, Predictor.open(folder), AnalyzeOptions())
    crack, bar = report.cracks
    assert crack.length.px is not None
    assert crack.length.px > 190
    assert (crack.section, bar.section) == ("main", "also_marked")
    assert crack.certainty is not None
    assert bar.certainty is not None
    assert crack.certainty > 0.8 > 0.4 > bar.certainty
    assert (report.totals.cracks, report.totals.also_marked) == (1, 1)
    assert report.totals.length_px == pytest.approx(crack.length.px)
