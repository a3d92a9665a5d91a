"""Millimetres from every source, right on oblique planes, and an error where sources contradict."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crackseg.config import ScaleOptions, read_options
from crackseg.errors import ConfigError, ScaleError
from crackseg.imagery import planes
from crackseg.imagery.camera import DIAGONAL_35MM, focal_px
from crackseg.imagery.scale import find_scale
from crackseg.records import Array, ImageInfo, Notice, Scale

HEIGHT, WIDTH = 900, 1200
FOCAL = 1500.0
DRONE = {
    "lrf_distance_m": 12.0,
    "lrf_status": "Normal",
    "calibrated_focal_length_px": 1000.0,
    "gimbal_yaw_deg": 10.0,
    "gimbal_pitch_deg": 0.0,
    "gimbal_roll_deg": 0.0,
}


def info(height: int = HEIGHT, width: int = WIDTH, **facts: Any) -> ImageInfo:
    keep = {k: facts.pop(k) for k in ("crs", "transform") if k in facts}
    values = {k: float(v) if isinstance(v, int) else v for k, v in facts.items()}
    return ImageInfo(
        path=Path("face.jpg"),
        sha256="",
        height_px=height,
        width_px=width,
        format="JPEG",
        metadata=values,
        **keep,
    )


def scale_of(image: ImageInfo, **options: Any) -> tuple[Scale, list[str]]:
    scale, notices = find_scale(image, ScaleOptions(**options))
    assert scale is not None
    return scale, codes_of(notices)


def codes_of(notices: tuple[Notice, ...]) -> list[str]:
    """Return the codes but that of a coarse scale, which most cameras here have; see its test."""
    return [n.code for n in notices if n.code != "coarse_scale"]


def nothing(image: ImageInfo, **options: Any) -> tuple[Notice, ...]:
    scale, notices = find_scale(image, ScaleOptions(**options))
    assert scale is None
    return notices


def camera(tilt_deg: float, axis: str, distance_mm: float = 1600.0) -> Array:
    """Return the homography from mm on a tilted plane to pixels of a pinhole camera."""
    turn = np.zeros(3)
    turn["xy".index(axis)] = math.radians(tilt_deg)
    rotation = cv2.Rodrigues(turn)[0]
    inner = np.array([[FOCAL, 0, (WIDTH - 1) / 2], [0, FOCAL, (HEIGHT - 1) / 2], [0, 0, 1]])
    return inner @ np.column_stack([rotation[:, 0], rotation[:, 1], [0, 0, distance_mm]])


def render(view: Array, markers: list[tuple[float, float]], side_mm: int) -> Array:
    """Return an RGB picture of a concrete-like plane with ArUco markers, twice oversampled."""
    rng = np.random.default_rng(0)
    size_mm, per_mm = 2000, 2
    coarse = rng.normal(0, 25, (250, 250)).astype(np.float32)
    canvas = cv2.resize(coarse, (size_mm * per_mm, size_mm * per_mm)) + 170
    canvas = np.clip(canvas, 0, 255).astype(np.uint8)
    table = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_4X4_50)
    px = side_mm * per_mm
    for number, (x, y) in enumerate(markers):
        col, row = (int((v + size_mm / 2) * per_mm) for v in (x, y))
        canvas[row - px // 6 : row + px + px // 6, col - px // 6 : col + px + px // 6] = 235
        canvas[row : row + px, col : col + px] = cv2.aruco.generateImageMarker(table, number, px)
    shift = 0.5 / per_mm - size_mm / 2
    to_mm = np.array([[1 / per_mm, 0, shift], [0, 1 / per_mm, shift], [0, 0, 1]])
    twice = np.array([[2, 0, 0.5], [0, 2, 0.5], [0, 0, 1]])
    fine = cv2.warpPerspective(canvas, twice @ view @ to_mm, (2 * WIDTH, 2 * HEIGHT))
    grey = cv2.GaussianBlur(
        cv2.resize(fine, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA), (0, 0), 0.7
    )
    noisy = np.clip(grey + rng.normal(0, 3, grey.shape), 0, 255).astype(np.uint8)
    return np.repeat(noisy[..., None], 3, axis=2)


PIXELS = np.array([[100, 100], [1100, 100], [1100, 800], [100, 800], [600, 450], [300, 600.0]])


def errors(scale: Scale, view: Array) -> tuple[float, float]:
    """Return the largest relative error of distances between points of the plane.

    The second value is that of the uniform scale at the picture's centre.
    """
    true = planes.apply(np.linalg.inv(view), PIXELS)
    i, j = np.triu_indices(len(PIXELS), 1)
    length = np.linalg.norm(true[i] - true[j], axis=1)
    mm = scale.to_mm(PIXELS[:, ::-1])
    distances = np.linalg.norm(mm[i] - mm[j], axis=1)
    naive = np.linalg.norm(PIXELS[i] - PIXELS[j], axis=1) * scale.mm_per_px
    return float(np.abs(distances / length - 1).max()), float(np.abs(naive / length - 1).max())


FOUR = [(-450.0, -300.0), (300.0, 200.0), (300.0, -300.0), (-450.0, 150.0)]


@pytest.mark.parametrize("axis", ["x", "y"])
@pytest.mark.parametrize(("markers", "bound"), [(FOUR, 0.005), ([(-75.0, -75.0)], 0.01)])
def test_markers_make_an_oblique_view_right(
    axis: str, markers: list[tuple[float, float]], bound: float
) -> None:
    view = camera(35.0, axis)
    pixels = render(view, markers, 150)
    scale, notices = find_scale(info(), ScaleOptions(marker_mm=150.0), lambda w: pixels[w.slices])
    assert notices == ()
    assert scale is not None
    assert scale.source == "marker"
    right, naive = errors(scale, view)
    assert right < bound
    assert naive > 0.25  # what one mm per px for the whole picture would give
    assert 0.5 * right / 3 < scale.sigma_rel < 0.015
    expected = 1600 / FOCAL / math.sqrt(math.cos(math.radians(35)))
    assert scale.mm_per_px == pytest.approx(expected, rel=0.005)


def test_a_picture_without_the_marker_says_so_and_another_source_serves() -> None:
    blank = np.full((HEIGHT, WIDTH, 3), 170, np.uint8)
    options = ScaleOptions(marker_mm=150.0, mm_per_px=0.7)
    scale, notices = find_scale(info(), options, lambda w: blank[w.slices])
    assert scale is not None
    assert scale.source == "given"
    assert [n.code for n in notices] == ["marker_not_found", "scale_not_found"]
    with pytest.raises(ConfigError, match="DICT_4X4_50"):
        find_scale(
            info(),
            ScaleOptions(marker_mm=9.0, marker_dictionary="DICT_4x4_50"),
            lambda w: blank[w.slices],
        )
    with pytest.raises(ScaleError, match="pixels are not at hand"):
        find_scale(info(), options)


def test_a_marker_that_stands_off_the_plane_is_an_error() -> None:
    view = camera(0.0, "x")
    pixels = render(view, FOUR[:1], 150)
    other = render(camera(0.0, "x", 2500.0), FOUR[1:2], 150)
    pixels[HEIGHT // 2 :, WIDTH // 2 :] = other[HEIGHT // 2 :, WIDTH // 2 :]
    table = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_4X4_50)
    assert len(cv2.aruco.ArucoDetector(table).detectMarkers(pixels[..., 0])[0]) == 2
    with pytest.raises(ScaleError, match="do not lie on one plane"):
        find_scale(info(), ScaleOptions(marker_mm=150.0), lambda w: pixels[w.slices])


def test_two_reference_points_give_one_scale() -> None:
    scale, _ = scale_of(info(), reference_points=((10, 20, 0, 0), (10, 420, 0, 1000)))
    assert scale.mm_per_px == pytest.approx(2.5)
    assert scale.homography is None
    assert scale.sigma_rel == pytest.approx(math.hypot(0.5 * math.sqrt(2) / 400, 0.002))


def test_three_reference_points_are_averaged() -> None:
    points = ((0, 0, 0, 0), (0, 300, 0, 600), (400, 0, 800, 0))
    scale, _ = scale_of(info(), reference_points=points)
    assert scale.mm_per_px == pytest.approx(2.0)
    bent, _ = scale_of(info(), reference_points=(*points[:2], (400, 0, 900, 0)))
    assert bent.sigma_rel > 0.02


@pytest.mark.parametrize("axis", ["x", "y"])
@pytest.mark.parametrize("count", [4, 6])
def test_four_reference_points_give_the_plane(axis: str, count: int) -> None:
    view = camera(35.0, axis)
    mm = planes.apply(np.linalg.inv(view), PIXELS)
    points = np.column_stack([PIXELS[:, ::-1], mm[:, ::-1]])[:count]
    scale, _ = scale_of(info(), reference_points=tuple(tuple(p) for p in points.tolist()))
    assert errors(scale, view)[0] < 1e-6
    assert scale.sigma_rel < 0.01


@pytest.mark.parametrize(
    ("points", "words"),
    [
        (((1, 2, 3, 4),), "two or more"),
        (((1, 2, 0, 0), (1, 2, 0, 9)), "must lie apart"),
        (((1, 2, 5, 5), (1, 90, 5, 5)), "must lie apart"),
        (((1, math.nan, 5, 5), (1, 90, 5, 5)), "two or more"),
        (tuple((k, 2 * k, k, 2 * k) for k in range(0, 400, 50)), "plane"),
        (((0, 0, 0, 0), (0, 800, 0, 1), (800, 800, 1, 1), (800, 0, 1, 0), (400, 400, 0, 0)), "px"),
    ],
)
def test_points_that_fix_nothing_are_refused(points: Any, words: str) -> None:
    with pytest.raises(ScaleError, match=words):
        find_scale(info(), ScaleOptions(reference_points=points))


@pytest.mark.parametrize(
    "spot", [(HEIGHT, 10), (10, WIDTH), (-1, 10), (10, -1), (5 * HEIGHT, 10), (WIDTH - 10, 10)]
)
@pytest.mark.parametrize("others", [1, 4])
def test_points_outside_of_the_picture_are_refused(spot: tuple[int, int], others: int) -> None:
    """The last is one whose row and column were exchanged."""
    corners = [(0, 0, 0, 0), (0, WIDTH - 1, 0, 9), (HEIGHT - 1, 0, 9, 0), (-0.4, 40, 0, 4)]
    points = (*corners[:others], (*spot, 5.0, 5.0))
    words = rf"picture of {HEIGHT} rows and {WIDTH} columns, got row {spot[0]}, col {spot[1]};"
    with pytest.raises(ScaleError, match=words):
        find_scale(info(), ScaleOptions(reference_points=points))


def test_a_horizon_in_the_picture_is_refused() -> None:
    view = camera(75.0, "x")
    near = np.array([[500, 300], [700, 300], [700, 350], [500, 350.0]])
    mm = planes.apply(np.linalg.inv(view), near)
    points = np.column_stack([near[:, ::-1], mm[:, ::-1]]).tolist()
    with pytest.raises(ScaleError, match="horizon"):
        find_scale(info(), ScaleOptions(reference_points=tuple(tuple(p) for p in points)))


UTM = {"crs": "EPSG:32632", "crs_kind": "projected", "map_unit_m": 1.0}


@pytest.mark.parametrize(
    ("facts", "options", "expected"),
    [
        (UTM, {}, 1.3),
        ({**UTM, "map_unit_m": 0.3048}, {}, 1.3 * 0.3048),
        ({**UTM, "map_unit_m": 1200 / 3937}, {}, 1.3 * 1200 / 3937),
        ({"crs_kind": "unknown"}, {"geotiff_unit_m": 1.0}, 1.3),
        ({"crs_kind": "unknown"}, {"geotiff_unit_m": 0.01}, 0.013),
        (UTM, {"geotiff_unit_m": 1.0}, 1.3),
        ({**UTM, "map_stretch": 1.3}, {}, 1.0),
    ],
)
def test_a_georeferenced_raster_has_its_scale(
    facts: dict[str, Any], options: dict[str, Any], expected: float
) -> None:
    raster = info(transform=(0.0013, 0.0, 5e5, 0.0, -0.0013, 5e6), **facts)
    scale, codes = scale_of(raster, **options)
    assert scale.source == "geotiff"
    assert scale.mm_per_px == pytest.approx(expected)
    assert scale.homography is None
    assert codes == []


def test_a_turned_raster_with_oblong_pixels_keeps_distances() -> None:
    turn = math.radians(30)
    a, b = 0.002 * math.cos(turn), 0.003 * math.sin(turn)
    d, e = 0.002 * math.sin(turn), -0.003 * math.cos(turn)
    scale, _ = scale_of(info(transform=(a, b, 7.0, d, e, 9.0), **UTM))
    mm = scale.to_mm(np.array([[0, 0], [0, 100], [100, 0.0]]))
    assert np.linalg.norm(mm[1] - mm[0]) == pytest.approx(200)
    assert np.linalg.norm(mm[2] - mm[0]) == pytest.approx(300)
    assert scale.mm_per_px == pytest.approx(math.sqrt(6))


@pytest.mark.parametrize(
    ("facts", "code", "words"),
    [
        ({"crs": "EPSG:4326", "crs_kind": "geographic"}, "geographic_crs", "degrees"),
        ({"crs": "EPSG:3857", "crs_kind": "mercator", "map_unit_m": 1.0}, "mercator_crs", "UTM"),
        ({"crs_kind": "unknown"}, "no_map_unit", "`geotiff_unit_m`"),
        ({"crs_kind": "projected", "crs": "EPSG:2056"}, "no_map_unit", "unit"),
    ],
)
def test_a_raster_without_a_length_unit_has_no_scale(
    facts: dict[str, Any], code: str, words: str
) -> None:
    (notice,) = nothing(info(transform=(1e-6, 0.0, 8.0, 0.0, -1e-6, 47.0), **facts))
    assert notice.code == code
    assert words in notice.message


def test_a_unit_that_contradicts_the_crs_is_an_error() -> None:
    raster = info(transform=(0.001, 0.0, 0.0, 0.0, -0.001, 0.0), **UTM)
    with pytest.raises(ScaleError, match=r"0\.3048.*EPSG:32632.*1 m"):
        find_scale(raster, ScaleOptions(geotiff_unit_m=0.3048))


def test_the_laser_distance_over_the_calibrated_focal_length() -> None:
    scale, codes = scale_of(info(**DRONE))
    assert scale.source == "lrf"
    assert scale.mm_per_px == pytest.approx(12.0)
    assert 0.02 < scale.sigma_rel < 0.03
    assert "laser distance 12 m" in scale.detail
    assert codes == []


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"lrf_status": "TooFar"}, "laser_not_normal"),
        ({"lrf_distance_m": 0.0}, "laser_not_normal"),
        ({"lrf_distance_m": -3.0}, "laser_not_normal"),
        ({"calibrated_focal_length_px": 3.0}, "absurd_focal_length"),
        ({"focal_length_35mm": 200.0}, "focal_lengths_disagree"),
        ({"exif_width_px": 4000.0, "exif_height_px": 2250.0}, "cropped_picture"),
    ],
)
def test_absurd_camera_facts_are_named_and_not_used(change: dict[str, Any], code: str) -> None:
    notices = nothing(info(**{**DRONE, **change}))
    assert code in [n.code for n in notices]


def test_a_picture_resized_whole_keeps_its_scale() -> None:
    taken = {"exif_width_px": 4800.0, "exif_height_px": 3600.0}
    scale, codes = scale_of(info(**{**DRONE, **taken, "calibrated_focal_length_px": 4000.0}))
    assert scale.mm_per_px == pytest.approx(12.0)
    assert codes == ["resized_picture"]
    turned = info(WIDTH, HEIGHT, **DRONE, exif_width_px=1200.0, exif_height_px=900.0)
    assert scale_of(turned)[1] == []


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"focal_length_35mm": 24.0}, 1500 / DIAGONAL_35MM * 24),
        ({"focal_length_35mm": 24.0, "digital_zoom": 2.0}, 1500 / DIAGONAL_35MM * 48),
        ({"focal_length_35mm": 24.0, "digital_zoom": 0.0}, 1500 / DIAGONAL_35MM * 24),
        (
            {
                "focal_length_mm": 8.0,
                "focal_plane_x_resolution": 2540.0,
                "focal_plane_resolution_unit": 2.0,
            },
            800.0,
        ),
        ({"dewarp_fx_px": 900.0, "focal_length_35mm": 25.0}, 900.0),
        ({}, None),
        ({"focal_length_mm": 8.0}, None),
    ],
)
def test_the_focal_length_in_pixels(facts: dict[str, Any], expected: float | None) -> None:
    notices: list[Notice] = []
    focal = focal_px(info(**facts), notices)
    assert (focal and focal[0]) == (expected and pytest.approx(expected))
    assert [n.code for n in notices] == (
        ["absurd_metadata"] if facts.get("digital_zoom") == 0 else []
    )


@pytest.mark.parametrize(
    ("camera", "factor"), [("Apple iPhone SE", 1.0), ("DJI FC2204", 1.951), (None, 1.951)]
)
def test_a_digital_zoom_that_is_in_the_equivalent_is_not_counted_twice(
    camera: str | None, factor: float
) -> None:
    phone = info(focal_length_35mm=55.0, digital_zoom=1.951)
    focal = focal_px(replace(phone, camera=camera), [])
    assert focal is not None
    assert focal[0] == pytest.approx(1500 / DIAGONAL_35MM * 55 * factor)


def test_the_35_mm_equivalent_goes_by_the_diagonal() -> None:
    """A 4:3 frame of a 24 mm equivalent: 36 mm over its width would be 4 % off."""
    focal = focal_px(info(3956, 5280, focal_length_35mm=24.0), [])
    assert focal is not None
    assert focal[0] == pytest.approx(math.hypot(3956, 5280) * 24 / 43.27)
    assert abs(focal[0] / (5280 * 24 / 36) - 1) > 0.03


def test_the_stand_off_distance_with_the_exif_focal_length() -> None:
    scale, _ = scale_of(info(focal_length_35mm=24.0), distance_m=5.0)
    assert scale.source == "exif"
    assert scale.mm_per_px == pytest.approx(5000 / (1500 / DIAGONAL_35MM * 24))
    assert scale.sigma_rel == pytest.approx(math.hypot(0.05, 0.025, 0.02), rel=0.01)
    missing = ["no_focal_length", "scale_not_found"]
    assert [n.code for n in nothing(info(), distance_m=5.0)] == missing
    notice, _ = nothing(info(focal_length_35mm=24.0), distance_m=5.0, use_metadata=False)
    assert "`use_metadata`" in notice.message


def face_view(yaw: float, pitch: float, roll: float, batter: float, azimuth: float) -> Array:
    """Return mm on the face -> px by tracing points of the face, independently of planes.py."""
    y, p, r = np.radians([yaw, pitch, roll])
    # NED camera axes from the rotation matrices Rz(yaw) Ry(pitch) Rx(roll), as DJI defines them
    rz = np.array([[np.cos(y), -np.sin(y), 0], [np.sin(y), np.cos(y), 0], [0, 0, 1]])
    ry = np.array([[np.cos(p), 0, np.sin(p)], [0, 1, 0], [-np.sin(p), 0, np.cos(p)]])
    rx = np.array([[1, 0, 0], [0, np.cos(r), -np.sin(r)], [0, np.sin(r), np.cos(r)]])
    forward, right, down = (rz @ ry @ rx).T
    a, slope = np.radians(azimuth), np.arctan(batter)
    normal = np.array([np.cos(a) * np.cos(slope), np.sin(a) * np.cos(slope), -np.sin(slope)])
    along = np.array([np.sin(a), -np.cos(a), 0.0])  # north, east: to the right seen from outside
    fall = np.cross(along, normal)
    fall *= np.sign(fall[2])  # downwards
    foot = 8000.0 * forward
    mm = np.array([[0, 0], [900, 0], [0, 900], [900, 900], [-700, 300.0]])
    points = foot + mm[:, :1] * along + mm[:, 1:] * fall
    px = np.column_stack([points @ right, points @ down]) / (points @ forward)[:, None] * FOCAL
    return planes.from_points(mm, px + np.array([(WIDTH - 1) / 2, (HEIGHT - 1) / 2]))


FACES = [
    (0.0, 0.0, 0.0, 0.0, 180.0),
    (10.0, -5.0, 3.0, 0.0, 200.0),
    (350.0, 0.0, 0.0, 0.75, 170.0),
    (90.0, -30.0, 0.0, 0.75, 300.0),
    (-120.0, 10.0, -2.0, 0.1, 40.0),
    (45.0, -90.0, 0.0, 5.0, 225.0),
]


@pytest.mark.parametrize("face", FACES)
def test_a_sloping_face_is_measured_by_its_angles(face: tuple[float, ...]) -> None:
    yaw, pitch, roll, batter, azimuth = face
    facts = {"gimbal_yaw_deg": yaw, "gimbal_pitch_deg": pitch, "gimbal_roll_deg": roll}
    facts |= {"calibrated_focal_length_px": FOCAL, "lrf_distance_m": 8.0}
    scale, codes = scale_of(info(**facts), face_batter=batter, face_azimuth_deg=azimuth)
    assert scale.source == "plane"
    assert codes == []
    assert errors(scale, face_view(*face))[0] < 1e-6


def test_a_face_leaning_back_is_longer_than_it_looks() -> None:
    """The share that field notes give for a 0.75:1 face seen horizontally: 25 %."""
    scale, _ = scale_of(
        info(**{**DRONE, "gimbal_yaw_deg": 0.0}), face_batter=0.75, face_azimuth_deg=180.0
    )
    centre = np.array([[449.5, 599.5], [450.5, 599.5], [449.5, 600.5]])
    mm = scale.to_mm(centre)
    assert np.linalg.norm(mm[1] - mm[0]) / 12.0 == pytest.approx(1.25, rel=1e-3)
    assert np.linalg.norm(mm[2] - mm[0]) / 12.0 == pytest.approx(1.0, rel=1e-3)
    assert scale.mm_per_px == pytest.approx(12.0 * math.sqrt(1.25), rel=1e-3)


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_turned_picture_measures_the_same_face(orientation: int) -> None:
    facts = {**DRONE, "gimbal_pitch_deg": -20.0, "calibrated_focal_length_px": FOCAL}
    options = {"face_batter": 0.4, "face_azimuth_deg": 200.0}
    stored, _ = scale_of(info(**facts), **options)
    swap = orientation in (6, 8)
    size = (WIDTH, HEIGHT) if swap else (HEIGHT, WIDTH)
    turned, _ = scale_of(info(*size, **facts, orientation=orientation), **options)
    points = np.array([[10.0, 20.0], [800.0, 50.0], [300.0, 1100.0]])
    row, col = points.T
    upright = {
        3: np.column_stack([HEIGHT - 1 - row, WIDTH - 1 - col]),
        6: np.column_stack([col, HEIGHT - 1 - row]),
        8: np.column_stack([WIDTH - 1 - col, row]),
    }[orientation]
    assert np.allclose(turned.to_mm(upright), stored.to_mm(points), rtol=1e-9, atol=1e-6)


def test_a_face_seen_from_behind_is_an_error() -> None:
    with pytest.raises(ScaleError, match="face_azimuth_deg"):
        scale_of(info(**DRONE), face_batter=0.0, face_azimuth_deg=10.0)


@pytest.mark.parametrize(
    ("drop", "options", "words"),
    [
        ((), {"face_batter": 0.0}, "`face_azimuth_deg` missing"),
        ((), {"face_azimuth_deg": 190.0}, "`face_batter` missing"),
        (("gimbal_yaw_deg",), {"face_azimuth_deg": 190.0, "face_batter": 0.0}, "gimbal angles"),
    ],
)
def test_a_face_plane_that_is_not_complete_is_said(
    drop: tuple[str, ...], options: dict[str, float], words: str
) -> None:
    facts = {k: v for k, v in DRONE.items() if k not in drop}
    scale, notices = find_scale(info(**facts), ScaleOptions(distance_m=12.0, **options))
    assert scale is not None
    assert scale.homography is None
    assert codes_of(notices) == ["face_plane_incomplete"]
    assert words in notices[0].message


def test_a_pitched_camera_without_a_face_is_warned_of() -> None:
    scale, notices = find_scale(info(**{**DRONE, "gimbal_pitch_deg": -35.0}), ScaleOptions())
    assert scale is not None
    assert codes_of(notices) == ["oblique_view"]
    assert "22 %" in notices[0].message
    square, _ = scale_of(info(**DRONE))
    assert 2 * scale.sigma_rel == pytest.approx(math.hypot(0.2208, 2 * square.sigma_rel), rel=1e-3)


def test_a_steep_view_of_an_unknown_face_has_no_scale() -> None:
    notices = nothing(info(**{**DRONE, "gimbal_pitch_deg": -65.0}), distance_m=12.0)
    assert codes_of(notices) == ["oblique_view", "scale_not_found"]
    assert "137 %" in notices[0].message
    assert "no scale is taken" in notices[0].message
    down, codes = scale_of(info(**{**DRONE, "gimbal_pitch_deg": -90.0}))  # at a crest or a slab
    assert codes == []
    assert down.mm_per_px == pytest.approx(12.0)
    back, codes = scale_of(info(**{**DRONE, "gimbal_pitch_deg": -145.0}))  # over its own back
    assert codes == ["oblique_view"]
    forward, _ = scale_of(info(**{**DRONE, "gimbal_pitch_deg": -35.0}))
    assert back.sigma_rel == forward.sigma_rel
    only_pitch = {k: v for k, v in DRONE.items() if k not in ("gimbal_yaw_deg", "gimbal_roll_deg")}
    assert scale_of(info(**{**only_pitch, "gimbal_pitch_deg": 45.0}))[1] == ["oblique_view"]


def test_the_height_above_take_off_is_refused_with_the_reason() -> None:
    (notice,) = nothing(info(focal_length_35mm=24.0, relative_altitude_m=39.9))
    assert notice.code == "relative_altitude_refused"
    assert "height above take-off" in notice.message
    assert nothing(info()) == ()


def test_the_most_trusted_source_wins_when_all_agree() -> None:
    facts = {**DRONE, **UTM, "transform": (0.0119, 0.0, 0.0, 0.0, -0.0119, 0.0)}
    points = ((0.0, 0.0, 0.0, 0.0), (0.0, 1000.0, 0.0, 12010.0))
    order = ["reference", "given", "geotiff", "lrf", "exif"]
    options: dict[str, Any] = {"reference_points": points, "mm_per_px": 12.1, "distance_m": 12.2}
    removals: list[tuple[dict[str, Any], tuple[str, ...]]] = [
        ({}, ()),
        ({"reference_points": ()}, ()),
        ({"mm_per_px": None}, ()),
        ({}, ("transform",)),
        ({}, ("lrf_distance_m",)),
    ]
    for source, (fewer, gone) in zip(order, removals, strict=True):
        options |= fewer
        facts = {k: v for k, v in facts.items() if k not in gone}
        assert scale_of(info(**facts), **options)[0].source == source


@pytest.mark.parametrize(
    ("facts", "options", "names"),
    [
        (DRONE, {"mm_per_px": 9.0}, ("`mm_per_px` = 9", "laser distance 12 m")),
        (
            {**UTM, "transform": (0.002, 0.0, 0.0, 0.0, -0.002, 0.0)},
            {"mm_per_px": 2.3},
            ("`mm_per_px` = 2.3", "GeoTIFF transform .EPSG:32632, unit 1 m. = 2"),
        ),
        (DRONE, {"distance_m": 20.0}, ("laser distance 12 m", "`distance_m` 20 m")),
        (
            DRONE,
            {"reference_points": ((0.0, 0.0, 0.0, 0.0), (0.0, 100.0, 0.0, 100.0))},
            ("2 reference points = 1 mm/px", "laser distance"),
        ),
    ],
)
def test_sources_that_contradict_are_both_named(
    facts: dict[str, Any], options: dict[str, Any], names: tuple[str, str]
) -> None:
    with pytest.raises(ScaleError, match=f"{names[0]}.*{names[1]}") as caught:
        find_scale(info(**facts), ScaleOptions(**options))
    assert "use_metadata" in str(caught.value)
    if "mm_per_px" in options:
        scale, _ = find_scale(info(**facts), ScaleOptions(**options, use_metadata=False))
        assert scale is not None
        assert scale.source == "given"


def test_an_oblique_plane_does_not_contradict_the_distance_across_its_tilt() -> None:
    view = camera(35.0, "y")
    mm = planes.apply(np.linalg.inv(view), PIXELS[:4])
    points = tuple(tuple(p) for p in np.column_stack([PIXELS[:4, ::-1], mm[:, ::-1]]).tolist())
    laser = info(calibrated_focal_length_px=FOCAL, lrf_distance_m=1.6)
    assert scale_of(laser, reference_points=points)[0].source == "reference"
    far = info(calibrated_focal_length_px=FOCAL, lrf_distance_m=2.9)
    with pytest.raises(ScaleError, match="contradict"):
        scale_of(far, reference_points=points)


NUMBER = st.one_of(st.floats(-1e6, 1e6), st.integers(-3, 3).map(float), st.just(math.nan))


@given(points=st.lists(st.tuples(NUMBER, NUMBER, NUMBER, NUMBER), min_size=1, max_size=6))
def test_wild_points_give_a_scale_or_a_scale_error(
    points: list[tuple[float, float, float, float]],
) -> None:
    try:
        scale, _ = find_scale(info(), ScaleOptions(reference_points=tuple(points)))
    except ScaleError:
        return
    assert scale is not None
    assert math.isfinite(scale.mm_per_px)


FRAME = {  # of a camera of 4000 x 3000 px with a calibrated lens, told by everything it writes
    "lrf_distance_m": 5.0,
    "calibrated_focal_length_px": 2800.0,
    "focal_length_35mm": 24.0,
    "optical_centre_x_px": 2010.0,
    "optical_centre_y_px": 1496.0,
}


def test_the_frame_as_the_camera_wrote_it_has_its_scale() -> None:
    scale, codes = scale_of(info(3000, 4000, **FRAME, exif_width_px=4000, exif_height_px=3000))
    assert scale.mm_per_px == pytest.approx(5000 / 2800)
    assert codes == []
    upright = info(4000, 3000, **FRAME, exif_width_px=4000, exif_height_px=3000)
    assert scale_of(upright)[0].mm_per_px == pytest.approx(5000 / 2800)


@pytest.mark.parametrize("size", [(900, 1200), (1500, 2000), (450, 600)])
@pytest.mark.parametrize("gone", [(), ("focal_length_35mm",)])
@pytest.mark.parametrize("written", [True, False])
def test_a_size_that_an_editor_rewrote_gives_no_scale_rather_than_a_wrong_one(
    size: tuple[int, int], gone: tuple[str, ...], written: bool
) -> None:
    """The whole made smaller and a part of the same shape look alike: they differ by the factor."""
    facts: dict[str, Any] = {k: v for k, v in FRAME.items() if k not in gone}
    if written:
        facts |= {"exif_height_px": size[0], "exif_width_px": size[1]}
    notices = nothing(info(*size, **facts))
    assert codes_of(notices) == ["cropped_picture", "no_focal_length"]
    assert "4020 x 2992 px by the optical centre" in notices[0].message
    assert "`mm_per_px`" in notices[0].message


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"has_crop": "False"}, 5000 / 2800 * 2.5),
        ({"has_crop": "True"}, None),
        ({}, None),
        ({"has_crop": "False", "software": "GIMP 2.10"}, None),
    ],
)
def test_an_editor_that_says_whether_it_cropped_is_believed(
    facts: dict[str, Any], expected: float | None
) -> None:
    facts = {"software": "Adobe Photoshop Lightroom Classic 13.2", **facts}
    picture = info(1200, 1600, **FRAME, **facts, exif_width_px=1600, exif_height_px=1200)
    scale, notices = find_scale(picture, ScaleOptions())
    if expected is None:
        assert scale is None
        assert notices[0].code == "cropped_picture"
    else:
        assert scale is not None
        assert scale.mm_per_px == pytest.approx(expected, rel=0.01)
        assert scale.sigma_rel > 0.033  # the optical centre tells the size less surely than EXIF
        assert codes_of(notices) == ["resized_picture"]


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({"xmp_width_px": 4000.0, "xmp_height_px": 3000.0}, "cropped_picture"),
        ({"header_width_px": 4000.0, "header_height_px": 3000.0}, "cropped_picture"),
        (
            {
                "principal_point_x_mm": 6.58,
                "principal_point_y_mm": 4.93,
                "focal_plane_x_resolution": 7722.0,
            },
            "cropped_picture",
        ),
        ({"focal_length_35mm": 24.0}, "focal_lengths_disagree"),
        ({"projection": "equirectangular"}, "panorama"),
        ({"has_crop": "True"}, "cropped_picture"),
        ({"optical_centre_x_px": 900.0, "optical_centre_y_px": 1900.0}, "cropped_picture"),
    ],
)
def test_every_fact_that_tells_the_frame_is_used(facts: dict[str, Any], code: str) -> None:
    picture = info(
        900,
        1200,
        lrf_distance_m=5.0,
        calibrated_focal_length_px=2800.0,
        exif_width_px=1200.0,
        exif_height_px=900.0,
        **facts,
    )
    assert codes_of(nothing(picture))[0] == code


def test_a_frame_cut_along_one_side_keeps_its_focal_length() -> None:
    """Many drones write 16:9 out of a 4:3 sensor."""
    scale, codes = scale_of(info(2250, 4000, **FRAME, exif_width_px=4000, exif_height_px=2250))
    assert scale.mm_per_px == pytest.approx(5000 / 2800)
    assert codes == ["cut_picture"]


def test_facts_that_contradict_each_other_give_no_scale() -> None:
    facts = {**FRAME, "xmp_width_px": 3000.0, "xmp_height_px": 2000.0}
    notices = nothing(info(900, 1200, **facts, exif_width_px=1200, exif_height_px=900))
    assert "contradict" in notices[0].message


@pytest.mark.parametrize(
    ("facts", "code", "words"),
    [
        ({**DRONE, "lrf_distance_m": 1200.0}, "absurd_scale", "got 1200"),
        ({**DRONE, "lrf_distance_m": 0.1}, "absurd_scale", "known to"),
        ({**UTM, "transform": (0.6, 0.0, 5e5, 0.0, -0.6, 5e6)}, "absurd_scale", "got 600"),
    ],
)
def test_what_a_file_says_by_itself_may_be_absurd(
    facts: dict[str, Any], code: str, words: str
) -> None:
    notices = nothing(info(**facts))
    assert notices[0].code == code
    assert words in notices[0].message


@pytest.mark.parametrize(
    ("suffix", "ending", "text", "words"),
    [
        (".jpg", "jgw", "0.002\n0\n0\n-0.002\n600000\n5100000\n", "(2 where the unit is a metre)"),
        (".tif", "tfw", "0,002\n0\n0\n-0,002\n600000\n5100000\n", "being 0.002 of a unit"),
        (".png", "WLD", "0.002\n0\n0\n-0.002\n600000\n5100000\n", "being 0.002 of a unit"),
        (".jpg", "jpgw", "nan\n0\n0\n-0.002\n0\n0\n", "holds no six numbers"),
        (".jpg", "jgw", "0.002\n0\n0\ninf\n0\n0\n", "holds no six numbers"),
        (".jpg", "wld", "0\n0\n0\n0\n0\n0\n", "holds no six numbers"),
        (".jpg", "wld", "0.002\n", "holds no six numbers"),
    ],
)
def test_a_world_file_that_gives_no_scale_is_said(
    suffix: str, ending: str, text: str, words: str, tmp_path: Path
) -> None:
    (tmp_path / f"face.{ending}").write_text(text)
    picture = replace(info(), path=tmp_path / f"face{suffix}")
    scale, notices = find_scale(picture, ScaleOptions())
    assert scale is None
    assert [notice.code for notice in notices] == ["world_file"]
    assert words in notices[0].message
    for silent in (ScaleOptions(mm_per_px=2.0), ScaleOptions(use_metadata=False)):
        assert "world_file" not in codes_of(find_scale(picture, silent)[1])
    (tmp_path / ".crackseg").write_text("{}")  # beside a mask or overlay of our own
    assert find_scale(picture, ScaleOptions())[1] == ()


@pytest.mark.parametrize("name", ["distance_m", "marker_mm", "geotiff_unit_m"])
def test_what_is_larger_than_the_earth_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"`{name}` must be a .* got 1e\+300; at most 1e\+06"):
        read_options(ScaleOptions, {name: 1e300})


@pytest.mark.parametrize("mm_per_px", [1e4, 101.0, 1e-4, 0.0, -1.0, math.inf, math.nan])
def test_a_scale_with_which_no_crack_can_be_measured_is_refused(mm_per_px: float) -> None:
    with pytest.raises(ConfigError, match="`mm_per_px` must"):
        ScaleOptions(mm_per_px=mm_per_px)
    with pytest.raises(ScaleError, match="`mm_per_px` must lie between"):
        Scale(mm_per_px=mm_per_px, sigma_rel=0.02, source="given")


@pytest.mark.parametrize("name", ["mm_per_px", "distance_m", "marker_mm", "geotiff_unit_m"])
@pytest.mark.parametrize("value", [math.inf, math.nan, -math.inf])
def test_no_option_may_be_infinite(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"`{name}` must"):
        ScaleOptions(**{name: value})
    with pytest.raises(ConfigError, match=rf"`scale\.{name}` must be a finite number"):
        read_options(ScaleOptions, {name: value}, where="scale")


def test_an_orthophoto_of_five_centimetres_is_measured_and_warned_of() -> None:
    scale, notices = find_scale(
        info(transform=(0.05, 0.0, 5e5, 0.0, -0.05, 5e6), **UTM), ScaleOptions()
    )
    assert scale is not None
    assert scale.mm_per_px == pytest.approx(50)
    assert [n.code for n in notices] == ["coarse_scale"]
    assert "17 mm cannot be seen" in notices[0].message


def test_a_marker_of_a_few_pixels_is_too_small() -> None:
    pixels = render(camera(0.0, "x", 12000.0), [(-75.0, -75.0)], 150)
    scale, notices = find_scale(info(), ScaleOptions(marker_mm=150.0), lambda w: pixels[w.slices])
    assert scale is None
    assert [n.code for n in notices] == ["marker_too_small", "scale_not_found"]
    assert "go nearer" in notices[0].message
