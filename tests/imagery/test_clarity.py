"""Blurred, dark, overexposed, recompressed and noisy areas are told, sharp concrete never is."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from crackseg import pipeline
from crackseg.config import AnalyzeOptions
from crackseg.exports import survey
from crackseg.exports.reading import read_report
from crackseg.exports.tables import report_to_dict
from crackseg.imagery.clarity import (
    ClarityCounter,
    impaired,
    impaired_notices,
    spoilt,
    unsteady,
)
from crackseg.imagery.files import open_image
from crackseg.imagery.structure import tells_sharpness
from crackseg.inference.predictor import Predictor
from crackseg.records import Array, Report, Unjudged
from crackseg.training.rendered import render

SIDE = 384
SAMPLES = Path(__file__).parents[2] / "data" / "samples"


def wall(seed: int = 0, level: float = 140, side: int = SIDE) -> Array:
    """Return (side, side) float32 levels of concrete: grains and stains of every size."""
    rng = np.random.default_rng(seed)
    grey = np.zeros((side, side), np.float32)
    for size, weight in ((0.4, 1.0), (0.8, 1.5), (1.6, 1.5), (3.2, 2.0), (6.4, 2.0), (20, 4.0)):
        noise = cv2.GaussianBlur(rng.standard_normal(grey.shape).astype(np.float32), (0, 0), size)
        grey += weight * noise / noise.std()
    return level + 2 * grey


def shot(grey: Array, noise: float = 1.0, seed: int = 1) -> Array:
    """Return (H, W, 3) uint8 as a camera takes it: with noise of its own."""
    rng = np.random.default_rng(seed)
    levels = np.rint(grey + noise * rng.standard_normal(grey.shape))
    return np.repeat(np.clip(levels, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def moved(grey: Array, length: int, axis: int) -> Array:
    """Return levels under a motion of so many px along an axis, or along both: a diagonal."""
    kernel = np.zeros((length, length), np.float32)
    if axis == 2:
        np.fill_diagonal(kernel, 1.0)
    elif axis == 1:
        kernel[length // 2] = 1.0
    else:
        kernel[:, length // 2] = 1.0
    done: Array = cv2.filter2D(grey, -1, kernel / kernel.sum())
    return done


def parts(
    pixels: Array, valid: Array | None = None, band: int | None = None
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the shares that are impaired and that are spoilt."""
    counter = ClarityCounter(*pixels.shape[:2])
    step = band or len(pixels)
    for row in range(0, len(pixels), step):
        first = max(row - 5, 0)  # bands overlap
        part = slice(first, row + step)
        counter.add(first, pixels[part], None if valid is None else valid[part])
    measures = counter.measures()
    return (
        {part.code: part.share for part in impaired(measures)},
        {part.code: part.share for part in spoilt(measures)},
    )


def blur(pixels: Array, valid: Array | None = None) -> float:
    """Return the share that is blurred in any degree."""
    areas, lost = parts(pixels, valid)
    return areas.get("soft", 0.0) + areas.get("blurred", 0.0) + lost.get("blurred", 0.0)


@pytest.mark.parametrize("noise", [0, 1, 2, 3, 4, 6])
@pytest.mark.parametrize("width", [1, 2, 4, 8])
def test_a_sharp_line_on_a_smooth_wall_is_not_called_blurred(width: int, noise: float) -> None:
    grey = np.full((SIDE, SIDE), 170, np.float32)
    grey[:, 200 : 200 + width] = 60
    turn = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), 17, 1)
    grey = cv2.warpAffine(grey, turn, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)
    pixels = shot(cv2.GaussianBlur(grey, (0, 0), 0.6), noise)
    assert not {"blurred", "soft"} & {code for part in parts(pixels) for code in part}


@pytest.mark.parametrize("noise", [4, 6, 8])
@pytest.mark.parametrize("spread", [3, 5, 8])
def test_noise_over_a_picture_out_of_focus_is_not_taken_for_its_sharpness(
    spread: float, noise: float
) -> None:
    blurred = [shot(cv2.GaussianBlur(wall(seed), (0, 0), spread), noise) for seed in range(3)]
    for pixels in blurred:
        counter = ClarityCounter(SIDE, SIDE)
        counter.add(0, pixels, None)
        assert blur(pixels) >= 0.25 or not tells_sharpness(counter.measures())
    assert max(blur(shot(wall(seed), noise)) for seed in range(3)) == 0


def test_under_noise_long_motion_is_not_excluded() -> None:
    counter = ClarityCounter(SIDE, SIDE)
    counter.add(0, shot(cv2.GaussianBlur(wall(), (0, 0), 5), 6), None)
    assert [(part.code, part.share) for part in unsteady(counter.measures())] == [("grainy", 1)]


@pytest.mark.parametrize("name", ["sound_wall.jpg", "lift_joint.jpg", "moss_and_shade.jpg"])
def test_soft_shadows_on_a_sharp_wall_are_no_blur(name: str) -> None:
    with open_image(SAMPLES / name) as image:
        weak, lost = parts(image.read())
    assert lost == {}
    assert sum(weak.values()) < 0.1


def test_rendered_walls_can_be_judged() -> None:
    shares = [parts(render(number).picture) for number in range(12)]
    assert [lost for _, lost in shares] == [{}] * 12
    blurs = [weak.get("soft", 0.0) + weak.get("blurred", 0.0) for weak, _ in shares]
    assert sum(share >= 0.25 for share in blurs) <= 1  # one is smooth, in soft shade


@pytest.mark.parametrize("level", [60, 140, 200])
@pytest.mark.parametrize("noise", [0.3, 1.0, 4.0])
def test_sharp_concrete_is_clear(level: float, noise: float) -> None:
    assert parts(shot(wall(level=level), noise)) == ({}, {})


def test_what_hardly_has_structure_is_not_called_blurred() -> None:
    plaster = cv2.GaussianBlur(wall(), (0, 0), 30) * 0.02 + 130
    assert parts(shot(plaster, 1.0)) == ({}, {})
    assert parts(np.full((200, 200, 3), 128, np.uint8)) == ({}, {})


@pytest.mark.parametrize("sigma", [1.4, 1.7, 2.0, 2.5])
@pytest.mark.parametrize("noise", [0.3, 1.0])
def test_missing_focus_is_told(sigma: float, noise: float) -> None:
    assert blur(shot(cv2.GaussianBlur(wall(), (0, 0), sigma), noise)) > 0.9


def test_strong_blur_cannot_be_judged() -> None:
    areas, lost = parts(shot(cv2.GaussianBlur(wall(), (0, 0), 4.0), 0.5))
    assert lost.get("blurred", 0) > 0.9
    assert areas.get("blurred", 0) < 0.1  # one or the other


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_motion_is_told_whatever_its_direction(axis: int) -> None:
    for length in (7, 9, 12):
        assert blur(shot(moved(wall(), length, axis))) > 0.9


def test_a_part_counts_by_its_area_however_the_bands_fall() -> None:
    grey = wall(side=512)
    grey[:, 256:] = cv2.GaussianBlur(grey, (0, 0), 2.2)[:, 256:]
    pixels = shot(grey)
    assert blur(pixels) == pytest.approx(0.5, abs=0.13)
    for band in (64, 100, 437):
        assert parts(pixels, band=band) == parts(pixels)


def test_light_noise_and_compression_are_told() -> None:
    assert parts(shot(wall(level=25) * 0.9, 1.0))[0].get("dark", 0) > 0.9
    assert parts(shot(wall(level=249), 3.0))[0].get("overexposed", 0) > 0.9
    assert parts(shot(wall(), 18.0))[0].get("noisy", 0) > 0.9
    squeezed = cv2.imdecode(
        cv2.imencode(".jpg", shot(wall()), (cv2.IMWRITE_JPEG_QUALITY, 5))[1], cv2.IMREAD_COLOR
    )
    assert parts(squeezed)[0].get("compressed", 0) > 0.9


def test_ordinary_compression_is_not_told() -> None:
    for quality in (30, 50, 80):
        stored = cv2.imencode(".jpg", shot(wall()), (cv2.IMWRITE_JPEG_QUALITY, quality))[1]
        assert "compressed" not in parts(cv2.imdecode(stored, cv2.IMREAD_COLOR))[0]


def test_a_frame_of_nothing_is_left_to_the_blank_areas() -> None:
    rng = np.random.default_rng(0)
    cap = np.clip(rng.normal(1.5, 1.5, (200, 300, 3)), 0, 255).astype(np.uint8)
    assert parts(cap) == ({}, {})
    assert parts(np.full((200, 300, 3), 255, np.uint8)) == ({}, {})


def test_what_does_not_count_is_not_counted() -> None:
    pixels = shot(cv2.GaussianBlur(wall(), (0, 0), 2.2))
    valid = np.ones(pixels.shape[:2], bool)
    valid[:, : SIDE // 2] = False
    pixels[:, : SIDE // 2] = 0
    assert blur(pixels, valid) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(
    "shape",
    [
        (1, 1),
        (1, 900),
        (900, 1),
        (15, 15),
        (17, 33),
        (65, 63),
        *((n, 131) for n in range(128, 193)),
    ],
)
def test_small_pictures_are_taken(shape: tuple[int, int]) -> None:
    parts(shot(wall(side=900)[: shape[0], : shape[1]]))


def test_the_outline_goes_round_the_area() -> None:
    grey = wall(side=512)
    grey[128:, 192:] = cv2.GaussianBlur(grey, (0, 0), 3.0)[128:, 192:]
    counter = ClarityCounter(512, 512)
    counter.add(0, shot(grey), None)
    (part,) = spoilt(counter.measures())
    area = sum(
        abs(np.dot(p[:, 0], np.roll(p[:, 1], 1)) - np.dot(p[:, 1], np.roll(p[:, 0], 1))) / 2
        for p in part.outlines
    )
    assert area == pytest.approx(part.share * 512 * 512)


def test_little_is_not_worth_a_word() -> None:
    dark, soft = Unjudged(code="dark", share=0.1), Unjudged(code="soft", share=0.2)
    assert impaired_notices((dark, soft)) == []
    assert impaired_notices((soft, Unjudged(code="blurred", share=0.1)))
    assert impaired_notices((dark, Unjudged(code="noisy", share=0.1)))
    (notice,) = impaired_notices(
        (Unjudged(code="blurred", share=0.3), Unjudged(code="dark", share=0.05))
    )
    assert notice.code == "fewer_found"
    assert "30 % of it is blurred; 5 % of it is too dark" in notice.message


def analyzed(pixels: Array, folder: Path, model: Path) -> Report:
    Image.fromarray(pixels).save(folder / "frame.png")
    with open_image(folder / "frame.png") as image:
        report = pipeline.analyze(image, Predictor.open(model), AnalyzeOptions())
        return pipeline.export(report, folder / "out", image, ["json", "page", "overlay"])


def gallery_of(report: Report, folder: Path) -> tuple[dict[str, object], str]:
    row = survey.report_row(report_to_dict(report), "out", "analyzed")
    about = {"package_version": "", "started_at": "", "model": {"name": "", "version": ""}}
    survey.write_survey([row], about, folder, gallery=True)
    return row, (folder / "index.html").read_text(encoding="utf-8")


def test_a_soft_picture_is_never_plainly_free_of_cracks(tmp_path: Path, dark_model: Path) -> None:
    report = analyzed(shot(cv2.GaussianBlur(wall(), (0, 0), 1.5)), tmp_path, dark_model)
    assert report.judged
    assert "fewer_found" in [notice.code for notice in report.notices]
    page = (tmp_path / "out" / "page.html").read_text(encoding="utf-8")
    assert "But fewer cracks are seen here than elsewhere" in page
    row, gallery = gallery_of(report, tmp_path)
    assert row["impaired_by"] == ["blurred"]
    assert "blurred: cracks are missed there" in gallery
    assert read_report(tmp_path / "out").impaired[0].code == "blurred"
    with (
        open_image(tmp_path / "frame.png") as plain,
        open_image(tmp_path / "out/overlay.jpg") as it,
    ):
        assert (np.abs(plain.read().astype(int) - it.read()).max(axis=2) > 60).any()


def test_a_blurred_picture_cannot_be_judged(tmp_path: Path, dark_model: Path) -> None:
    report = analyzed(shot(cv2.GaussianBlur(wall(), (0, 0), 4.5), 0.5), tmp_path, dark_model)
    assert not report.judged
    assert report.totals.analyzed_px2 < 0.1 * SIDE**2
    page = (tmp_path / "out" / "page.html").read_text(encoding="utf-8")
    assert "This picture cannot be judged" in page
    assert "No crack was found" not in page
    _, gallery = gallery_of(report, tmp_path)
    assert "cannot be judged" in gallery
    assert "no crack found" not in gallery


def test_a_sharp_picture_is_without_remarks(tmp_path: Path, dark_model: Path) -> None:
    report = analyzed(shot(wall()), tmp_path, dark_model)
    assert report.impaired == ()
    assert report.unjudged == ()
    assert gallery_of(report, tmp_path)[0]["impaired_share"] == 0


def unsteady_share(pixels: Array) -> float:
    counter = ClarityCounter(*pixels.shape[:2])
    counter.add(0, pixels, None)
    return sum(part.share for part in unsteady(counter.measures()))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_short_motion_is_not_excluded_and_sharp_concrete_is_steady(axis: int) -> None:
    sharp = [unsteady_share(shot(wall(seed))) for seed in range(4)]
    short = [unsteady_share(shot(moved(wall(seed), 4, axis))) for seed in range(4)]
    assert max(sharp) < 0.4
    assert min(short) == 1


def test_a_wall_that_tells_nothing_of_blur_excludes_no_motion() -> None:
    assert unsteady_share(shot(np.full((SIDE, SIDE), 150, np.float32))) == 1
    assert unsteady(None) == ()
