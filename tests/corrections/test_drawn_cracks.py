"""A crack that was missed, drawn with a few rough clicks, is measured as it truly is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, gaussian_filter
from walls import rough

from crackseg.config import MaskOptions, MeasureOptions
from crackseg.corrections.measuring import measure_shape
from crackseg.corrections.shapes import along_line
from crackseg.metrology.cracks import measure as measure_mask
from crackseg.metrology.phantoms import Look, Stroke, draw, straight, wandering
from crackseg.metrology.tracing import as_drawn, cheapest_way, edge_reach, trace
from crackseg.records import Crack, Window

SHAPE = (640, 640)


class Picture:
    """An array in the place of an open image."""

    def __init__(self, pixels: Any) -> None:
        self.pixels = pixels
        self.info = type("Info", (), {"height_px": SHAPE[0], "width_px": SHAPE[1]})

    def read(self, window: Window) -> Any:
        return self.pixels[window.slices]

    def load(self, window: Window) -> Any:
        return self.read(window), None


def drawn(picture: Picture, places: Any, *, snap: bool = True) -> Crack:
    points = np.array(places, dtype=float)
    if snap:
        line, reach = trace(points, SHAPE, picture.read, 4.0)
    else:
        line, reach = as_drawn(points, SHAPE, picture.read)
    return measure_shape(along_line(line, reach, SHAPE), picture, None, ())  # type: ignore[arg-type]


def stroke_of(seed: int, width_px: float, bend_deg: float) -> Stroke:
    rng = np.random.default_rng(seed)
    angle, length = rng.uniform(0, 180), rng.uniform(280, 460)
    made = wandering((0, 0), angle, length, width_px, rng, bend_deg=bend_deg)
    return Stroke(
        points=made.points - made.points.mean(axis=0) + SHAPE[0] / 2, width_px=made.width_px
    )


@pytest.mark.parametrize("width_px", [2.0, 3.0, 5.0, 8.0, 14.0, 24.0])
@pytest.mark.parametrize("clicks", [3, 4])
def test_rough_clicks_find_the_crack(width_px: float, clicks: int) -> None:
    for seed in range(4):
        stroke = stroke_of(100 * clicks + seed, width_px, bend_deg=10)
        rng = np.random.default_rng(seed)
        picture = Picture(draw(SHAPE, [stroke], Look(), rng).picture)
        crack = drawn(picture, rough(stroke, clicks, rng))
        assert crack.length.px == pytest.approx(stroke.length_px, rel=0.02), seed
        for measure in (crack.width_mean, crack.width_median):
            assert measure.px == pytest.approx(width_px, abs=0.3), seed
        for measure in (crack.width_mean, crack.width_p95):
            assert measure.low_px is not None
            assert measure.high_px is not None
            assert measure.low_px <= width_px <= measure.high_px, seed
        assert crack.flags == ()


@pytest.mark.parametrize("width_px", [2.0, 4.0, 7.0])
def test_drawn_along_its_own_line_a_crack_of_a_mask_is_as_it_was(width_px: float) -> None:
    """A mask that is a pixel fatter on each side makes no larger area than the hand does."""
    phantom = draw(SHAPE, [stroke_of(300, width_px, 8)], Look(), np.random.default_rng(3))
    picture = Picture(phantom.picture)
    (own,), _ = measure_mask(
        binary_dilation(phantom.mask, np.ones((3, 3))),
        image=picture.read,
        mask_options=MaskOptions(),
        options=MeasureOptions(),
    )
    points = np.concatenate([branch.centre_line for branch in own.branches])
    by_hand = drawn(picture, [*points[::50], points[-1]])
    assert by_hand.length.px == pytest.approx(own.length.px, rel=0.01)
    for name in ("width_mean", "width_p95", "width_max"):
        measured, mine = getattr(own, name), getattr(by_hand, name)
        assert measured.low_px <= mine.px <= measured.high_px, name
    assert by_hand.area_px2 == pytest.approx(own.area_px2, rel=0.05)


def test_a_faint_crack_beside_a_dark_one_is_followed(rng: np.random.Generator) -> None:
    faint, dark = stroke_of(3, 3.0, 6), stroke_of(3, 6.0, 6)
    beside = Stroke(points=dark.points + 30.0, width_px=dark.width_px)
    one = draw(SHAPE, [faint], Look(contrast=0.35), rng).picture.astype(float)
    two = draw(SHAPE, [beside], Look(noise=0), rng).picture.astype(float)
    picture = Picture(np.minimum(one, two).astype(np.uint8))
    crack = drawn(picture, rough(faint, 4, rng, off_px=4.0))
    assert crack.length.px == pytest.approx(faint.length_px, rel=0.02)
    off = [
        np.hypot(*(faint.points - place).T).min()
        for branch in crack.branches
        for place in branch.centre_line
    ]
    assert max(off) < 2.0


def test_where_there_is_no_line_no_width_is_given(rng: np.random.Generator) -> None:
    picture = Picture(draw(SHAPE, [], Look(noise=0.05), rng).picture)
    crack = drawn(picture, [[100, 100], [200, 300], [260, 500]])
    assert crack.width_mean.px is None
    assert "not_dark" in crack.flags


def concrete(seed: int) -> Any:
    """Return the grey of a wall with texture of every size and no line."""
    rng = np.random.default_rng(seed)
    grey = np.full(SHAPE, 150.0)
    for size in (1, 2, 4, 8, 16, 32):
        layer = gaussian_filter(rng.normal(0, 1, SHAPE), size)
        grey += 4 * layer / layer.std()
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize("seed", range(4))
def test_on_a_blank_wall_a_line_is_as_long_as_it_was_clicked(seed: int) -> None:
    angle = np.random.default_rng(seed).uniform(0, 2 * np.pi)
    way = np.array([np.sin(angle), np.cos(angle)])
    places = np.array([320 + way * far for far in (-200, 0, 200)])
    crack = drawn(Picture(concrete(seed)), places)
    assert crack.length.px == pytest.approx(400, rel=0.03)
    off = (crack.branches[0].centre_line - 320) @ np.array([-way[1], way[0]])
    assert np.abs(off).max() < 0.5
    assert "not_dark" in crack.flags


@pytest.mark.parametrize("seed", range(3))
def test_a_line_on_the_wall_does_not_go_round_by_a_crack_nearby(seed: int) -> None:
    crack = straight((270, 320), 0, 300, 4.0)
    look = Look(background=250, noise=0)  # the texture stays where the other one is lighter
    dark = draw(SHAPE, [crack], look, np.random.default_rng(seed)).picture
    picture = Picture(np.minimum(concrete(seed), dark))
    measured = drawn(picture, [[320, 100], [320, 320], [320, 540]])
    assert measured.length.px == pytest.approx(440, rel=0.03)


def test_what_crosses_a_line_is_not_its_width() -> None:
    """A line along nothing dark has no largest width: that of a crack it crosses is another's."""
    crossing = [straight((320, col), 45, 120, 3.0) for col in (200, 320, 440)]
    picture = Picture(draw(SHAPE, crossing, Look(), np.random.default_rng(1)).picture)
    crack = drawn(picture, [[320, 120], [320, 260], [320, 380], [320, 520]])
    assert "not_dark" in crack.flags
    for measure in (crack.width_mean, crack.width_median, crack.width_p95, crack.width_max):
        assert (measure.px, measure.high_px, measure.status) == (None, None, "not_resolvable")
    assert crack.width_max_at is None
    assert crack.openings == ()


def test_a_soft_stain_is_no_crack(rng: np.random.Generator) -> None:
    away = np.abs(np.arange(SHAPE[0], dtype=float) - 320)[:, None]
    grey = 150 - 60 * np.exp(-0.5 * (away / 14) ** 2) + rng.normal(0, 3, SHAPE)
    pixels = np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    reach = edge_reach(
        np.column_stack([np.full(200, 320.0), np.arange(200, 400.0)]), SHAPE, Picture(pixels).read
    )
    assert np.isnan(reach).all()


def test_unsnapped_is_as_drawn(rng: np.random.Generator) -> None:
    stroke = stroke_of(5, 4.0, 0)
    beside = [[row + 40, col + 40] for row, col in (stroke.points[0], stroke.points[-1])]
    picture = Picture(draw(SHAPE, [stroke], Look(), rng).picture)
    crack = drawn(picture, beside, snap=False)
    (branch,) = crack.branches
    assert np.hypot(*(branch.centre_line[0] - beside[0])) < 1.0
    assert crack.width_mean.px is None


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(11)


def test_the_way_is_the_one_that_costs_least(rng: np.random.Generator) -> None:
    graph = pytest.importorskip("skimage.graph", reason="extra train is not installed")
    for _ in range(20):
        cost = 0.02 + rng.random((30, 50)) ** 2
        cost[5:25, 20] = -1.0  # to be gone round
        start, end = np.array([15, 3]), np.array([rng.integers(30), 45])
        route, _ = graph.route_through_array(cost, start, end, fully_connected=True, geometric=True)
        np.testing.assert_array_equal(cheapest_way(cost, start, end), route)
    np.testing.assert_array_equal(cheapest_way(cost, start, start), [start])
