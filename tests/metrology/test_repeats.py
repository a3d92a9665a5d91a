"""No two cracks are alike; what stands a second time in a photograph is a fitting or a joint."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from crackseg.config import MaskOptions, MeasureOptions
from crackseg.metrology import repeats
from crackseg.metrology.cracks import measure
from crackseg.metrology.fittings import part_fittings
from crackseg.metrology.phantoms import Look, draw, wandering
from crackseg.metrology.repeats import LONGEST_PX, repetitions
from crackseg.records import Array, Crack, Window

CLAMPS = ((120, 90), (120, 290), (120, 490), (300, 190))  # row, col of their middles


def wall(seed: int, *, clamps: int) -> tuple[Array, Array]:
    """Return photograph and mask of two cracks on a wall with a number of clamps, one marked."""
    rng = np.random.default_rng(seed)
    strokes = [
        wandering((220, 60), 5, 180, 2.5, rng, bend_deg=30),
        wandering((420, 80), -8, 150, 1.5, rng, bend_deg=35),
    ]
    phantom = draw((480, 640), strokes, Look(noise=0.03), rng)
    picture, mask = phantom.picture.copy(), phantom.mask.copy()
    for number, (row, col) in enumerate(CLAMPS[:clamps]):
        put_clamp(picture, row, col, rng)
        if number == 0:
            outline = np.zeros(mask.shape, np.uint8)
            cv2.line(outline, (col - 14, row - 30), (col - 14, row + 24), 1, 3)
            cv2.line(outline, (col - 14, row + 24), (col + 14, row + 24), 1, 3)
            mask |= outline > 0
    return picture, mask


def put_clamp(picture: Array, row: int, col: int, rng: np.random.Generator) -> None:
    """Draw a bracket with dark rims, a bolt and a shadow; its steel is never quite the same."""
    steel = int(rng.integers(120, 140))
    box = np.s_[row - 30 : row + 26, col - 16 : col + 17]
    part = np.full((56, 33), 35, np.uint8)
    cv2.rectangle(part, (4, 0), (28, 50), steel, -1)
    cv2.circle(part, (16, 40), 5, 20, -1)
    noisy = cv2.GaussianBlur(part.astype(np.float32), (0, 0), 0.8) + rng.normal(0, 4, part.shape)
    picture[box] = np.clip(noisy, 0, 255).astype(np.uint8)[..., None]


def measured(picture: Array, mask: Array) -> tuple[Crack, ...]:
    """Return the cracks of a mask, longest first."""
    cracks, _ = measure(
        mask,
        image=lambda window: picture[window.slices],
        mask_options=MaskOptions(),
        options=MeasureOptions(join_px=0),
    )
    return cracks


def likeness(picture: Array, cracks: tuple[Crack, ...]) -> list[float | None]:
    """Return the repetition of every crack."""
    return repetitions(cracks, picture.shape[:2], lambda window: picture[window.slices])


@pytest.mark.parametrize("seed", range(4))
def test_a_clamp_of_a_row_repeats_and_a_crack_does_not(seed: int) -> None:
    picture, mask = wall(seed, clamps=4)
    cracks = measured(picture, mask)
    assert len(cracks) == 3
    scores = likeness(picture, cracks)
    assert scores[0] is not None
    assert scores[1] is not None
    assert scores[2] is not None
    assert max(scores[0], scores[1]) < 0.5
    assert scores[2] > 0.75


def test_what_reaches_no_farther_than_a_fitting_may_be_one_however_long_its_lines() -> None:
    picture, mask = wall(0, clamps=4)
    row, col = CLAMPS[0]
    ladder = np.zeros(mask.shape, np.uint8)
    for side in (-16, 16):
        cv2.line(ladder, (col + side, row - 28), (col + side, row + 26), 1, 1)
    for rung in range(-26, 27, 8):
        cv2.line(ladder, (col - 16, row + rung), (col + 16, row + rung), 1, 1)
    (crack,) = [c for c in measured(picture, mask | (ladder > 0)) if c.window.row < 150]
    assert crack.paper_length_px > LONGEST_PX
    (score,) = likeness(picture, (crack,))
    assert score is not None
    assert score > 0.6


def test_a_clamp_that_stands_alone_does_not_repeat() -> None:
    picture, mask = wall(0, clamps=1)
    scores = likeness(picture, measured(picture, mask))
    assert scores[2] is not None
    assert scores[2] < 0.5


def test_what_shows_nothing_is_like_nothing() -> None:
    """Burnt light and black bars have no contrast: a correlation with them is no likeness."""
    picture, mask = wall(1, clamps=1)
    picture[360:, 400:] = 255
    picture[:60, :] = 0
    scores = likeness(picture, measured(picture, mask))
    assert all(value is not None and value < 0.6 for value in scores)


def test_a_mark_is_looked_for_nearby_in_a_photograph_of_any_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A large picture is read in parts, and the row of clamps crosses a border of these."""
    part, mask_part = wall(2, clamps=4)
    picture = np.random.default_rng(0).normal(150, 4, (2300, 4700, 1)).astype(np.uint8)
    picture = np.repeat(picture, 3, axis=2)
    mask = np.zeros(picture.shape[:2], bool)
    at = np.s_[1800:2280, 1900:2540]
    picture[at], mask[at] = part, mask_part
    read: list[Window] = []
    cracks = measured(picture, mask)

    def image(window: Window) -> Array:
        read.append(window)
        return picture[window.slices]

    at_once = repetitions(cracks, mask.shape, image)
    read.clear()
    monkeypatch.setattr(repeats, "_HELD_PX", 1_000_000)  # as of a picture larger than that is
    scores = repetitions(cracks, mask.shape, image)
    assert scores == at_once
    assert scores[2] is not None
    assert scores[2] > 0.75
    assert scores[0] is not None
    assert scores[0] < 0.6
    assert max(window.width for window in read) <= 4096


def test_a_crack_across_the_picture_is_not_held_against_itself() -> None:
    """Beside it is room for hardly another place: its own must not stand in for these."""
    rng = np.random.default_rng(5)
    for size in (200, 230, 256, 290):
        stroke = wandering((size * 0.2, 4), -10, size - 8, 3.0, rng)
        phantom = draw((size, size), [stroke], Look(noise=0.03), rng)
        (score,) = likeness(phantom.picture, measured(phantom.picture, phantom.mask))
        assert score is None or score < 0.5


def test_too_little_to_compare_is_unknown() -> None:
    rng = np.random.default_rng(3)
    phantom = draw((60, 200), [wandering((30, 20), 0, 160, 3.0, rng)], Look(), rng)
    assert likeness(phantom.picture, measured(phantom.picture, phantom.mask)) == [None]
    assert repetitions((), (60, 200), lambda window: phantom.picture[window.slices]) == []


def test_long_cracks_side_by_side_are_no_fittings() -> None:
    """Restraint draws straight cracks of one look beside each other: length tells them apart."""
    picture, _ = wall(0, clamps=0)
    rng = np.random.default_rng(1)
    strokes = [wandering((row, 60), 0, 400, 2.5, np.random.default_rng(9)) for row in (120, 300)]
    phantom = draw(picture.shape[:2], strokes, Look(noise=0.03), rng)
    assert likeness(phantom.picture, measured(phantom.picture, phantom.mask)) == [None, None]


def test_the_photograph_itself_once_more_says_nothing() -> None:
    """A mosaic laid of one tile holds each crack many times."""
    rng = np.random.default_rng(2)
    phantom = draw((240, 320), [wandering((120, 80), 5, 150, 2.5, rng)], Look(noise=0.03), rng)
    picture, mask = np.tile(phantom.picture, (2, 2, 1)), np.tile(phantom.mask, (2, 2))
    assert likeness(picture, measured(picture, mask)) == [None] * 4


def tee(row: int, col: int) -> Array:
    """Return the pixels of a dark bolted bar, (H, W) bool."""
    pixels = np.zeros((480, 640), bool)
    pixels[row - 20 : row + 26, col - 5 : col + 6] = True
    pixels[row - 20 : row - 12, col - 14 : col + 9] = True
    return pixels


def test_a_crack_is_parted_from_the_clamp_that_its_mask_runs_into() -> None:
    """What the mask adds to a crack is another thing, and its width is not the crack's."""
    rng = np.random.default_rng(5)
    row, col = CLAMPS[0]
    stroke = wandering((row + 24, col), -50, 330, 2.0, rng, bend_deg=20)
    phantom = draw((480, 640), [stroke], Look(noise=0.02), rng)
    picture, mask = phantom.picture.copy(), phantom.mask.copy()
    for place in CLAMPS:
        picture[tee(*place)] = 30 + rng.integers(0, 9, (int(tee(*place).sum()), 1))
    alone = measured(picture, mask & ~tee(row, col))
    mask |= tee(row, col)
    read = lambda window: picture[window.slices]  # noqa: E731
    joined = measured(picture, mask)
    assert len(joined) == len(alone) == 1
    assert (joined[0].width_max.low_px or 0) > 5
    parts = part_fittings(joined, (480, 640), read, lambda part: measured(picture, part))
    longest = parts[0]
    assert longest.length.px == pytest.approx(alone[0].length.px, abs=100)
    assert (longest.width_max.px or 0) < 4
    assert all((part.repetition or 0) >= 0.6 for part in parts[1:] if part.window.row < 110)
    assert [part.id for part in parts] == list(range(1, len(parts) + 1))


def test_a_crack_that_opens_where_nothing_stands_a_second_time_stays_whole() -> None:
    rng = np.random.default_rng(6)
    stroke = wandering((240, 60), 5, 400, 2.0, rng, bend_deg=20)
    phantom = draw((480, 640), [stroke], Look(noise=0.02), rng)
    picture, mask = phantom.picture.copy(), phantom.mask.copy()
    put_clamp(picture, 240, 300, rng)
    mask[210:266, 284:317] = True
    cracks = measured(picture, mask)
    assert part_fittings(cracks, (480, 640), lambda w: picture[w.slices], lambda part: ()) is cracks
