"""Probability of detection: pieces of labelled crack, hit or missed, and the curve over them."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dark_model import write_dark_model
from PIL import Image
from typer.testing import CliRunner

from crackseg.commands import app
from crackseg.detection import UNTESTED, Detection, WidthShare, detection_text, untested_text
from crackseg.errors import ModelError, OutputError
from crackseg.inference.models import read_card
from crackseg.records import Sample
from crackseg.training import pod
from crackseg.training.hair_sets import DRAWN
from crackseg.training.pod import (
    Piece,
    detection,
    find_pieces,
    fitting_groups,
    held_out_shares,
    width_shares,
)

TRUE_BETA = (-1.0, 2.0, 1.5)


@pytest.fixture(autouse=True)
def _few_draws(monkeypatch):
    monkeypatch.setattr(pod, "DRAWS", 60)


def _pieces(count=2400, sources=("a", "b", "c"), beta=TRUE_BETA, seed=0):
    """Return pieces hit with a known probability, five of each photograph."""
    rng = np.random.default_rng(seed)
    width = np.exp(rng.uniform(math.log(0.3), math.log(6), count))
    contrast = np.exp(rng.uniform(math.log(0.8), math.log(8), count))
    chance = 1 / (1 + np.exp(-(beta[0] + beta[1] * np.log(width) + beta[2] * np.log(contrast))))
    return [
        Piece(
            source=sources[k % len(sources)],
            photograph=f"{sources[k % len(sources)]}/{k // (5 * len(sources))}",
            width_px=float(width[k]),
            contrast=float(contrast[k]),
            hit=bool(rng.random() < chance[k]),
        )
        for k in range(count)
    ]


def test_the_curve_comes_back_from_hits_drawn_by_it():
    tested = detection(_pieces(), "drawn pieces")
    assert tested.curve is not None
    assert [*tested.curve.values()] == pytest.approx(TRUE_BETA, abs=0.35)


def test_a90_is_where_nine_of_ten_pieces_of_those_contrasts_are_hit():
    tested = detection(_pieces(), "drawn pieces")
    contrasts = np.array(tested.contrasts)
    z = TRUE_BETA[0] + TRUE_BETA[1] * math.log(tested.width_90_px)
    share = np.mean(1 / (1 + np.exp(-(z + TRUE_BETA[2] * np.log(contrasts)))))
    assert share == pytest.approx(0.9, abs=0.03)
    assert tested.width_50_px < tested.width_90_px < tested.width_90_95_px
    assert tested.width_90_95_px < tested.width_90_faint_px


def test_confidence_grows_with_the_photographs():
    few, many = (detection(_pieces(count), "pieces") for count in (300, 4800))
    assert few.width_90_95_px is None or few.width_90_95_px > many.width_90_95_px


def test_no_width_is_stated_where_none_suffices():
    tested = detection(_pieces(beta=(-2.0, 0.0, 0.5)), "hard pieces")
    assert tested.width_90_px is None
    assert tested.width_90_95_px is None


def test_no_curve_where_nothing_is_missed_or_nothing_is_read():
    every = [
        Piece(source="a", photograph=f"a/{k}", width_px=1.0, contrast=3.0, hit=True)
        for k in range(40)
    ]
    assert detection(every, "all hit").curve is None
    unread = [
        Piece(source="a", photograph=f"a/{k}", width_px=math.nan, contrast=0.1, hit=bool(k % 2))
        for k in range(40)
    ]
    tested = detection(unread, "none read")
    assert tested.curve is None
    assert [part.width for part in tested.classes] == ["unread"]


def test_the_larger_width_of_real_and_drawn_cracks_is_stated():
    easy = _pieces(beta=(2.0, 2.0, 1.5))
    hard = [
        Piece(source=DRAWN, photograph=p.photograph, width_px=p.width_px, contrast=p.contrast,
              hit=p.hit)
        for p in _pieces(beta=(-1.0, 2.0, 1.5), seed=1)
    ]  # fmt: skip
    alone, both = detection(easy, "real"), detection([*easy, *hard], "real and drawn")
    assert both.curve == alone.curve
    assert both.width_90_px > 1.3 * alone.width_90_px
    assert list(fitting_groups([*easy, *hard])) == ["real cracks", "drawn on sound walls"]


def test_each_set_counts_alike():
    large = [
        Piece(source="large", photograph=f"large/{k}", width_px=1.2, contrast=3.0, hit=True)
        for k in range(90)
    ]
    small = [
        Piece(source="small", photograph=f"small/{k}", width_px=1.2, contrast=3.0, hit=False)
        for k in range(10)
    ]
    (share,) = width_shares([*large, *small])
    assert share.found == pytest.approx(0.5)
    assert share.pieces == 100
    assert share.low == 0
    assert share.high == 1


def test_where_all_are_found_the_interval_still_says_how_few_they_were():
    three = [
        Piece(source="a", photograph=f"a/{k}", width_px=0.7, contrast=3.0, hit=True)
        for k in range(6)
    ]
    (share,) = width_shares(three)
    assert (share.found, share.low, share.high) == (1.0, 0.5, 1.0)


def test_curves_foretell_pieces_that_they_were_not_fitted_on():
    pieces = _pieces()
    expected = held_out_shares(pieces)
    parts = width_shares(pieces)
    for part in parts:
        assert expected[part.width].low <= part.found <= expected[part.width].high
        assert expected[part.width].high - expected[part.width].low < 0.25


def test_a_class_that_no_curve_fits_lies_outside_of_what_it_lets_expect():
    pieces = [
        replace(p, hit=p.hit and not (1.5 <= p.width_px < 2.5 and number % 2))
        for number, p in enumerate(_pieces(beta=(2.0, 2.0, 1.5)))
    ]
    expected = held_out_shares(pieces)["1.5 to 2.5"]
    (found,) = (part.found for part in width_shares(pieces) if part.width == "1.5 to 2.5")
    assert found < expected.low


def test_too_few_photographs_foretell_nothing():
    assert held_out_shares([p for p in _pieces() if p.photograph.endswith("/1")]) == {}


SHAPE = 120, 300


def _sample(name="a"):
    return Sample(image=Path(f"{name}.png"), mask=Path(f"{name}.png"), source="set", split="val")


def _cracked(width, darkness, noise=4.0):
    """Return picture and label of a horizontal line across the whole picture."""
    rng = np.random.default_rng(0)
    row = np.arange(SHAPE[0])[:, None]
    cover = np.clip(width / 2 + 0.5 - np.abs(row - 60), 0, 1) * np.ones(SHAPE)
    grey = 170 + rng.normal(0, noise, SHAPE) - cover * darkness
    label = np.broadcast_to(np.abs(row - 60) <= max(width / 2, 1), SHAPE).copy()
    return np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2), label


def test_a_line_is_cut_into_pieces_of_fifty_px_with_its_width_and_contrast():
    picture, label = _cracked(3, 150)
    near = np.zeros(SHAPE, bool)
    near[:, :140] = True
    pieces = find_pieces(_sample(), picture, label, near)
    assert len(pieces) == 6
    assert [p.hit for p in pieces].count(True) in (2, 3)
    assert all(p.width_px == pytest.approx(3, abs=0.5) for p in pieces)
    assert all(20 < p.contrast < 60 for p in pieces)


def test_roughness_lowers_the_contrast():
    smooth, rough = (
        find_pieces(_sample(), *_cracked(3, 150, noise), np.ones(SHAPE, bool))[0].contrast
        for noise in (2.0, 8.0)
    )
    assert smooth > 3 * rough


def test_a_piece_that_is_not_dark_has_no_width():
    picture, label = _cracked(3, 0)
    pieces = find_pieces(_sample(), picture, label, np.zeros(SHAPE, bool))
    assert pieces
    assert all(math.isnan(p.width_px) and not p.hit for p in pieces)


def _tested(**widths):
    part = WidthShare(width="< 1", below_px=1.0, pieces=20, found=0.8, low=0.6, high=0.9)
    return Detection(tested_on="pieces", curve=None, classes=(part,), **widths)


def test_the_sentence_says_mm_where_the_scale_is_known_and_rounds_up():
    tested = _tested(width_90_95_px=0.801, width_90_faint_px=1.2)
    text = detection_text(tested, 0.4)
    assert "0.33 mm (0.81 px)" in text
    assert "0.48 mm (1.2 px)" in text
    assert "may be missed" in text
    plain = detection_text(tested, None)
    assert "0.81 px" in plain
    assert "cannot be said without a scale" in plain


def test_where_no_width_is_known_the_sentence_gives_shares():
    text = detection_text(_tested(), 0.5)
    assert "80 % (60 % to 90 %)" in text
    assert "0.50 mm (1.0 px)" in text
    assert "may be missed" in text
    assert detection_text(None, 0.5) == UNTESTED
    assert detection_text(Detection(tested_on="", curve=None), 0.5) == UNTESTED


def test_a_width_of_nothing_is_refused():
    with pytest.raises(ModelError, match="widths above 0 px"):
        _tested(width_90_px=0.0)


@pytest.fixture
def data(tmp_path):
    """Pictures with a sharp crack that the dark model finds and a faint one that it misses."""
    root = tmp_path / "data" / "set"
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True)
    for number, (width, darkness) in enumerate([(3, 150), (3, 40), (2, 150), (2, 30), (4, 160)]):
        picture, label = _cracked(width, darkness)
        Image.fromarray(picture).save(root / "images" / f"p{number}.png")
        Image.fromarray(label.astype(np.uint8) * 255).save(root / "masks" / f"p{number}.png")
    (root / "val.txt").write_text("".join(f"p{k}\n" for k in range(5)))
    return root.parent


def test_the_command_writes_page_plot_and_card(data, tmp_path):
    pytest.importorskip("matplotlib")
    model = write_dark_model(tmp_path / "dark", level=90)
    args = ["evaluate", data, "--pod", "--model", model, "--report", tmp_path / "doc", "--write"]
    result = CliRunner().invoke(app, [str(a) for a in args], catch_exceptions=False)
    assert result.exit_code == 0
    page = (tmp_path / "doc" / "detection.md").read_text(encoding="utf-8")
    assert "may be missed" in page
    assert (tmp_path / "doc" / "detection.png").stat().st_size > 1000
    tested = read_card(model).detection
    assert tested is not None
    assert "30 pieces of labelled crack in the val lists of set" in tested.tested_on
    assert json.loads((model / "card.json").read_text(encoding="utf-8"))["detection"]["classes"]


def test_the_command_replaces_no_page_or_plot_of_somebody_else(data, tmp_path):
    pytest.importorskip("matplotlib")
    model = write_dark_model(tmp_path / "dark", level=90)
    args = ["evaluate", data, "--pod", "--model", model, "--report", tmp_path]
    for name in ("detection.png", "detection.md"):
        (tmp_path / name).write_text("mine")
        refused = CliRunner().invoke(app, [str(a) for a in args]).exception
        assert isinstance(refused, OutputError)
        assert f"{name}` is there" in str(refused)
        assert (tmp_path / name).read_text() == "mine"
    (tmp_path / "detection.md").unlink()
    (tmp_path / "detection.png").unlink()
    for _ in range(2):
        assert CliRunner().invoke(app, [str(a) for a in args]).exit_code == 0


def test_a_scale_outside_of_the_test_says_so() -> None:
    def classes(*parts: tuple[str, float | None]) -> tuple[WidthShare, ...]:
        return tuple(
            WidthShare(width=name, below_px=below, pieces=159, found=0.896, low=0.559, high=1.0)
            for name, below in parts
        )

    tested = Detection(
        tested_on="x",
        curve=None,
        width_90_95_px=0.92,
        classes=classes(("4 to 8", 8.0), ("> 8", None)),
    )
    assert untested_text(None, 5.0) is None
    assert untested_text(tested, None) is None
    for inside in (0.04, 0.3, 1.0):
        assert untested_text(tested, inside) is None
    coarse = untested_text(tested, 1.35)
    assert coarse is not None
    assert "too coarse" in coarse
    assert "from a width of 1.3 mm" in coarse
    fine = untested_text(tested, 0.02)
    assert fine is not None
    assert "from 0.16 mm on are wider than 8 px" in fine
    assert "159 pieces alone and found 90 % (56 % to 100 %)" in fine
