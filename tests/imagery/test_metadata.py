"""Metadata is read as it comes from cameras, and no damage in it stops an analysis."""

from __future__ import annotations

import io
import math
import struct
import zlib
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from pictures import encoded, grey, picture, pillow, png_chunk
from PIL import Image, TiffImagePlugin

from crackseg.imagery.files import open_image
from crackseg.imagery.georeference import read_georeference
from crackseg.imagery.metadata import MAX_BYTES, Facts, pillow_tags, read_facts
from crackseg.records import ImageInfo

EXIF, GPS = 0x8769, 0x8825


def exif_bytes(
    base: dict[int, Any], exif: dict[int, Any] | None = None, gps: dict[int, Any] | None = None
) -> bytes:
    block = Image.Exif()
    block.update(base)
    block.get_ifd(EXIF).update(exif or {})
    block.get_ifd(GPS).update(gps or {})
    return block.tobytes()


def facts_of(exif: bytes | None = None, xmp: bytes | None = None) -> Facts:
    tags, notices = pillow_tags(exif)
    facts = read_facts(tags, xmp)
    return replace(facts, notices=(*notices, *facts.notices))


def codes(facts: Facts) -> list[str]:
    return [n.code for n in facts.notices]


def xmp(attributes: str, elements: str = "") -> bytes:
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="DJI" '
        f'xmlns:drone-dji="http://www.dji.com/drone-dji/1.0/" {attributes}>{elements}'
        '</rdf:Description></rdf:RDF></x:xmpmeta>\n<?xpacket end="w"?>\0\0'
    ).encode()


def dji(**values: str) -> bytes:
    return xmp(" ".join(f'drone-dji:{name}="{value}"' for name, value in values.items()))


FLIGHT = {
    "LRFTargetDistance": "7.403",
    "LRFStatus": "Normal",
    "CalibratedFocalLength": "3666.666504",
    "DewarpData": "2022-06-08;3713.29,3713.29,7.02,-8.72,-0.11,0.01,0.0,0.0,-0.03",
    "GimbalPitchDegree": "-12.30",
    "GimbalYawDegree": "+102.50",
    "GimbalRollDegree": "+180.00",
    "RelativeAltitude": "+39.90",
    "GpsLatitude": "46.5",
    "GpsLongtitude": "-8.25",
}


def test_flight_facts_come_from_signed_strings() -> None:
    facts = facts_of(xmp=dji(**FLIGHT))
    assert facts.values == {
        "lrf_distance_m": 7.403,
        "lrf_status": "Normal",
        "calibrated_focal_length_px": 3666.666504,
        "dewarp_fx_px": 3713.29,
        "dewarp_fy_px": 3713.29,
        "dewarp_cx_px": 7.02,
        "dewarp_cy_px": -8.72,
        "gimbal_pitch_deg": -12.3,
        "gimbal_yaw_deg": 102.5,
        "gimbal_roll_deg": 180.0,
        "relative_altitude_m": 39.9,
        "gps_lat_deg": 46.5,
        "gps_lon_deg": -8.25,
    }
    assert facts.gps is not None
    assert (facts.gps.lat_deg, facts.gps.lon_deg) == (46.5, -8.25)
    assert facts.notices == ()


def test_facts_may_be_elements_and_the_right_spelling_counts_too() -> None:
    elements = "".join(f"<drone-dji:{k}>{v}</drone-dji:{k}>" for k, v in FLIGHT.items())
    assert facts_of(xmp=xmp("", elements)).values == facts_of(xmp=dji(**FLIGHT)).values
    right = dji(**{("GpsLongitude" if k == "GpsLongtitude" else k): v for k, v in FLIGHT.items()})
    assert facts_of(xmp=right).gps == facts_of(xmp=dji(**FLIGHT)).gps


def drone(name: str, address: str, attributes: str = "", elements: str = "") -> bytes:
    """Return the XMP packet of another maker."""
    return xmp(f'xmlns:{name}="{address}" {attributes}', elements)


SKYDIO = "https://www.skydio.com/drone-skydio/1.0/"
PARSED = 'rdf:parseType="Resource" xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'
ANGLES = "<s:Pitch>{0}</s:Pitch><s:Yaw>{1}</s:Yaw><s:Roll>{2}</s:Roll>"
POSES = {
    "autel": drone(
        "drone", "http://ns.autel.com/drone/1.0/",
        'drone:GimbalPitchDegree="-12.5" drone:GimbalYawDegree="301" drone:GimbalRollDegree="0.5" '
        'drone:AboveGroundAltitude="40"',
    ),
    "autel of old, by Pix4D": drone(
        "Camera", "http://pix4d.com/camera/1.0",
        'Camera:Pitch="77.5" Camera:Yaw="301" Camera:Roll="0.5"',
    ),
    "parrot": drone(
        "p", "http://www.parrot.com/drone-parrot/1.0/",
        'p:CameraPitchDegree="-12.5" p:CameraYawDegree="301" p:CameraRollDegree="0.5" '
        'p:DroneYawDegree="11" p:DronePitchDegree="3"',
    ),
    "parrot with Pix4D": drone(
        "p", "http://www.parrot.com/drone-parrot/1.0/",
        'xmlns:Camera="http://pix4d.com/camera/1.0" p:CameraPitchDegree="-12.5" '
        'p:CameraYawDegree="301" p:CameraRollDegree="0.5" Camera:Pitch="1" Camera:Yaw="2"',
    ),
    "skydio, elements": drone(
        "s", SKYDIO, "",
        f"<s:VehicleOrientationNED {PARSED}>{ANGLES.format(4, 5, 6)}</s:VehicleOrientationNED>"
        f"<s:CameraOrientationFLU {PARSED}>{ANGLES.format(7, 8, 9)}</s:CameraOrientationFLU>"
        f"<s:CameraOrientationNED {PARSED}>{ANGLES.format(-12.5, 301, 0.5)}"
        "</s:CameraOrientationNED>",
    ),
    "skydio, attributes": drone(
        "s", SKYDIO, "",
        '<s:CameraOrientationFLU s:Pitch="7" s:Yaw="8" s:Roll="9"/>'
        '<s:CameraOrientationNED s:Pitch="-12.5" s:Yaw="301" s:Roll="0.5"/>',
    ),
    "dji before others": dji(
        GimbalPitchDegree="-12.5", GimbalYawDegree="301", GimbalRollDegree=".5"
    ),
}  # fmt: skip


@pytest.mark.parametrize("maker", POSES)
def test_the_angles_of_the_camera_are_read_of_any_maker(maker: str) -> None:
    facts = facts_of(xmp=POSES[maker])
    angles = {name: value for name, value in facts.values.items() if name.startswith("gimbal")}
    assert angles == {"gimbal_pitch_deg": -12.5, "gimbal_yaw_deg": 301.0, "gimbal_roll_deg": 0.5}
    assert codes(facts) == []


@pytest.mark.parametrize("pitch", ["nan", "inf", "1000", "down", ""])
def test_angles_that_are_none_are_left_out_and_named(pitch: str) -> None:
    packet = drone("p", "http://www.parrot.com/drone-parrot/1.0/", f'p:CameraPitchDegree="{pitch}"')
    facts = facts_of(xmp=packet)
    assert "gimbal_pitch_deg" not in facts.values
    assert codes(facts) == (["absurd_metadata"] if pitch else [])


@pytest.mark.parametrize("point", ["nan,4.4", "inf,1", "-1,2", "7"])
def test_a_principal_point_that_is_none_is_named(point: str) -> None:
    space = "http://pix4d.com/camera/1.0"
    facts = facts_of(xmp=drone("c", space, f'c:PrincipalPoint="{point}"'))
    assert "principal_point_x_mm" not in facts.values
    assert codes(facts) == ["absurd_metadata"]


@pytest.mark.parametrize("altitude", [math.inf, (1, 0), 1e9])
def test_a_height_that_is_none_is_named_and_the_place_stays(altitude: Any) -> None:
    place = {"GPSLatitude": (47, 0, 0), "GPSLongitude": (8, 0, 0)}
    facts = read_facts({**place, "GPSAltitude": altitude}, None)
    assert codes(facts) == ["absurd_metadata"]
    assert facts.gps is not None
    assert facts.gps.alt_m is None


def test_a_packet_nested_without_end_is_damaged() -> None:
    deep = "<a>" * 5000 + "</a>" * 5000
    assert codes(facts_of(xmp=xmp("", deep))) in (["damaged_xmp"], [])


def test_camera_time_place_and_focal_length() -> None:
    data = exif_bytes(
        {0x010F: "Hasselblad\0\0", 0x0110: "L2D-20c\0\0\0", 0x0112: 6},
        {
            0x9003: "2026:05:04 10:11:12",
            0x9011: "+02:00",
            0x920A: 12.29,
            0xA405: 24,
            0xA404: 1.5,
            0xA002: 5280,
            0xA003: 3956,
        },
        {1: "S", 2: (8.0, 18.0, 14.22), 3: "W", 4: (115.0, 29.0, 2.94), 5: b"\x01", 6: 12.5},
    )
    facts = facts_of(data)
    assert facts.camera == "Hasselblad L2D-20c"
    assert facts.orientation == 6
    assert facts.taken_at == datetime(2026, 5, 4, 10, 11, 12, tzinfo=timezone(timedelta(hours=2)))
    assert facts.gps is not None
    assert facts.gps.lat_deg == pytest.approx(-8.30395)
    assert facts.gps.lon_deg == pytest.approx(-115.48415)
    assert facts.gps.alt_m == pytest.approx(-12.5)
    expected = {"focal_length_35mm": 24, "digital_zoom": 1.5, "exif_width_px": 5280}
    assert expected.items() <= facts.values.items()
    assert facts.values["focal_length_mm"] == pytest.approx(12.29)
    assert facts.notices == ()


def test_a_maker_named_twice_is_written_once() -> None:
    assert facts_of(exif_bytes({0x010F: "Canon", 0x0110: "Canon EOS R5"})).camera == "Canon EOS R5"
    assert facts_of(exif_bytes({0x010F: "DJI"})).camera == "DJI"
    assert facts_of(None).camera is None


@pytest.mark.parametrize(
    ("tags", "code"),
    [
        ({"Orientation": 9}, "absurd_metadata"),
        ({"Orientation": "up"}, "absurd_metadata"),
        ({"FocalLength": 0.0}, "absurd_metadata"),
        ({"FocalLengthIn35mmFilm": 99999}, "absurd_metadata"),
        ({"GPSLatitude": (91, 0, 0), "GPSLongitude": (8, 0, 0)}, "absurd_metadata"),
        (
            {"GPSLatitude": (1, 0, 1, 0, 1, 0), "GPSLongitude": (8, 1, 0, 1, 0, 1)},
            "absurd_metadata",
        ),
        ({"FocalLength": math.inf}, "absurd_metadata"),
        ({"FocalLength": (5, 0)}, "absurd_metadata"),
        ({"FocalLength": TiffImagePlugin.IFDRational(5, 0)}, "absurd_metadata"),
        ({"FocalLength": -12.0}, "absurd_metadata"),
    ],
)
def test_absurd_values_are_left_out_and_named(tags: dict[str, Any], code: str) -> None:
    facts = read_facts(tags, None)
    assert codes(facts) == [code]
    assert facts.orientation == 1
    assert facts.gps is None
    assert facts.values == {}


@pytest.mark.parametrize(
    "tags",
    [
        {"FocalLength": math.nan, "DigitalZoomRatio": (0, 0), "Orientation": 0},
        {"FocalLength": "", "FocalLengthIn35mmFilm": None, "DigitalZoomRatio": b"\xff"},
        {"DateTime": "0000:00:00 00:00:00", "Make": b"\0\0", "Model": "\0"},
        {"DateTime": 7, "GPSLatitude": 5, "GPSLongitude": (1, 2)},
        {"GPSLatitude": (math.nan, 0, 0), "GPSLongitude": (8, 0, 0)},
        {"GPSLatitude": (0, 0, 0, 0, 0, 0), "GPSLongitude": (8, 1, 0, 1, 0, 1)},
    ],
)
def test_what_cameras_write_for_unknown_is_unknown(tags: dict[str, Any]) -> None:
    assert read_facts(tags, None) == Facts()


@pytest.mark.parametrize(
    ("packet", "code"),
    [
        (b"<x:xmpmeta", "damaged_xmp"),
        (b"\xff\xfe\x00garbage", "damaged_xmp"),
        (xmp('drone-dji:A="1" drone-dji:A="2"'), "damaged_xmp"),
        (dji(DewarpData="2022;1,2"), "damaged_xmp"),
        (dji(DewarpData="2022;a,b,c,d"), "damaged_xmp"),
        (dji(LRFTargetDistance="-5"), "absurd_metadata"),
        (dji(GimbalPitchDegree="900"), "absurd_metadata"),
        (dji(LRFTargetDistance="nan"), "absurd_metadata"),
        (dji(LRFTargetDistance="inf"), "absurd_metadata"),
        (dji(CalibratedFocalLength="-nan(ind)"), "absurd_metadata"),
        (b"x" * (MAX_BYTES + 1), "xmp_too_large"),
        (
            b'<!DOCTYPE a [<!ENTITY b "bbbbbbbb"><!ENTITY c "&b;&b;">]><x:xmpmeta '
            b'xmlns:x="adobe:ns:meta/">&c;</x:xmpmeta>',
            "damaged_xmp",
        ),
        (b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>', "damaged_xmp"),
    ],
)
def test_damaged_xmp_is_named(packet: bytes, code: str) -> None:
    assert codes(facts_of(xmp=packet)) == [code]


def test_what_editors_and_survey_software_write_is_read() -> None:
    spaces = (
        'xmlns:exif="http://ns.adobe.com/exif/1.0/" '
        'xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/" '
        'xmlns:GPano="http://ns.google.com/photos/1.0/panorama/" '
        'xmlns:Camera="http://pix4d.com/camera/1.0" xmlns:other="http://example.org/" '
    )
    values = (
        'exif:PixelXDimension="5280" exif:PixelYDimension="3956" crs:HasCrop="False" '
        'Camera:PrincipalPoint="6.5664,4.3776" GPano:ProjectionType="cylindrical" '
        'drone-dji:CalibratedOpticalCenterX="2640.0" drone-dji:CalibratedOpticalCenterY="1978.0" '
        'other:LRFTargetDistance="3"'
    )
    facts = read_facts({"Software": "Adobe Lightroom\0"}, xmp(spaces + values))
    assert facts.notices == ()
    assert facts.values == {
        "xmp_width_px": 5280,
        "xmp_height_px": 3956,
        "has_crop": "False",
        "principal_point_x_mm": 6.5664,
        "principal_point_y_mm": 4.3776,
        "projection": "cylindrical",
        "optical_centre_x_px": 2640,
        "optical_centre_y_px": 1978,
        "software": "Adobe Lightroom",
    }


def test_damaged_exif_keeps_what_could_be_read() -> None:
    whole = exif_bytes({0x010F: "DJI", 0x0112: 3}, {0x920A: 12.0})
    for end in range(8, len(whole)):
        facts = facts_of(whole[:end])
        assert facts.orientation in (1, 3)
    assert codes(facts_of(b"Exif\0\0II*\0\xff\xff\xff\x7f")) == ["damaged_exif"]
    assert codes(facts_of(b"\0" * (MAX_BYTES + 1))) == ["exif_too_large"]


@given(st.binary(max_size=400), st.binary(max_size=400))
def test_garbage_never_raises(exif: bytes, packet: bytes) -> None:
    assert isinstance(facts_of(b"Exif\0\0II*\0\x08\0\0\0" + exif, packet), Facts)


VALID = exif_bytes(
    {0x010F: "DJI", 0x0112: 6},
    {0x9003: "2026:05:04 10:11:12", 0x920A: 12.29, 0xA404: 1.0},
    {1: "N", 2: (46.0, 30.0, 15.5), 3: "E", 4: (8.0, 1.0, 2.0)},
)


@given(st.lists(st.tuples(st.integers(6, len(VALID) - 1), st.integers(0, 255)), max_size=8))
def test_flipped_bytes_of_a_valid_block_never_raise(changes: list[tuple[int, int]]) -> None:
    damaged = bytearray(VALID)
    for at, value in changes:
        damaged[at] = value
    facts = facts_of(bytes(damaged))
    assert facts.orientation in range(1, 9)
    assert all(not isinstance(v, float) or math.isfinite(v) for v in facts.values.values())


ANY = st.one_of(
    st.none(),
    st.text(max_size=20),
    st.binary(max_size=20),
    st.floats(),
    st.integers(),
    st.lists(st.floats() | st.integers(), max_size=7).map(tuple),
)
NAMES = ["Orientation", "FocalLength", "DateTime", "Make", "Model", "GPSLatitude", "GPSLongitude"]


@given(st.dictionaries(st.sampled_from([*NAMES, "GPSAltitude", "GPSLatitudeRef"]), ANY))
def test_any_value_under_any_tag_never_raises(tags: dict[str, Any]) -> None:
    facts = read_facts(tags, None)
    assert facts.gps is None or abs(facts.gps.lat_deg) <= 90


@given(st.dictionaries(st.sampled_from(sorted(FLIGHT)), st.text(max_size=30)))
def test_any_text_under_any_flight_name_never_raises(values: dict[str, str]) -> None:
    assert isinstance(facts_of(xmp=dji(**values)), Facts)


def info_of(path: Path) -> ImageInfo:
    with open_image(path) as image:
        assert image.read().size
        return image.info


def test_a_jpeg_with_garbage_for_metadata_is_still_analyzed(tmp_path: Path) -> None:
    path = tmp_path / "p.jpg"
    path.write_bytes(encoded("JPEG", exif=b"Exif\0\0MM\0*" + b"\xff" * 50, xmp=b"<x:xmpmeta>"))
    picture = info_of(path)
    assert {n.code for n in picture.notices} == {"damaged_exif", "damaged_xmp"}


def test_an_editor_adds_a_packet_to_that_of_the_drone(tmp_path: Path) -> None:
    crop = 'xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/" crs:HasCrop='
    drone = dji(**FLIGHT).replace(b"<rdf:Description", f'<rdf:Description {crop}"False"'.encode())
    edited = xmp(f'{crop}"True" drone-dji:LRFTargetDistance="9" drone-dji:GpsLatitude=""')
    known = {}
    for name, packets in (("first", (drone, edited)), ("second", (edited, drone))):
        path, data = tmp_path / f"{name}.jpg", encoded("JPEG", exif=VALID)
        parts = (b"http://ns.adobe.com/xap/1.0/\0" + packet for packet in packets)
        added = (b"\xff\xe1" + (len(part) + 2).to_bytes(2, "big") + part for part in parts)
        path.write_bytes(data[:2] + b"".join(added) + data[2:])
        picture = info_of(path)
        assert picture.notices == ()
        assert picture.metadata["gimbal_pitch_deg"] == -12.3
        assert picture.metadata["has_crop"] == "True"
        known[name] = picture.metadata["lrf_distance_m"]
    assert known == {"first": 7.403, "second": 9.0}


def test_a_png_carries_exif_and_xmp(tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    data = encoded("PNG", exif=VALID)
    text = b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(dji(**FLIGHT))
    path.write_bytes(data[:33] + png_chunk(b"iTXt", text) + data[33:])
    picture = info_of(path)
    assert picture.camera == "DJI"
    assert picture.metadata["lrf_distance_m"] == 7.403
    assert picture.notices == ()


def test_a_tiff_carries_exif_gps_and_xmp(tmp_path: Path) -> None:
    block = Image.Exif()
    block.load(VALID)
    path = tmp_path / "p.tif"
    buffer = io.BytesIO()
    Image.fromarray(picture()).save(
        buffer, format="TIFF", exif=block, tiffinfo={700: dji(**FLIGHT), **dict(block)}
    )
    path.write_bytes(buffer.getvalue())
    facts = info_of(path)
    assert facts.camera == "DJI"
    assert facts.metadata["lrf_distance_m"] == 7.403
    assert facts.metadata["orientation"] == 6


EPSG = {"projected": (1, 3072, 32632), "geographic": (2, 2048, 4326), "mercator": (1, 3072, 3857)}


def geotiff(path: Path, keys: list[tuple[int, int]], *extra: Any) -> Path:
    """Write a GeoTIFF with short geo keys."""
    directory = [1, 1, 0, len(keys)]
    for key, value in sorted(keys):
        directory += [key, 0, 1, value]
    tags = [(34735, "H", len(directory), directory, True), *extra]
    tifffile.imwrite(path, grey(), photometric="minisblack", extratags=tags)
    return path


SCALE = (33550, "d", 3, (0.002, 0.003, 0.0), True)
TIE = (33922, "d", 6, (10.0, 20.0, 0.0, 500000.0, 5000000.0, 0.0), True)
MATRIX = (
    34264,
    "d",
    16,
    (0.1, 0.2, 0, 7.0, 0.3, -0.4, 0, 8.0, 0, 0, 0, 0, 0, 0, 0, 1.0),
    True,
)


@pytest.mark.parametrize(
    ("kind", "unit", "metres"),
    [
        ("projected", 9001, 1.0),
        ("projected", 9002, 0.3048),
        ("projected", 9003, 1200 / 3937),
        ("projected", None, 1.0),
        ("geographic", None, None),
        ("mercator", 9001, 1.0),
    ],
)
def test_geo_keys_give_crs_and_unit(
    kind: str, unit: int | None, metres: float | None, tmp_path: Path
) -> None:
    model, key, code = EPSG[kind]
    keys = [(1024, model), (1025, 1), (key, code), *([(3076, unit)] if unit else [])]
    picture = info_of(geotiff(tmp_path / "p.tif", keys, SCALE, TIE))
    assert picture.crs == f"EPSG:{code}"
    assert picture.metadata["crs_kind"] == kind
    assert picture.metadata.get("map_unit_m") == metres
    assert picture.transform == pytest.approx((0.002, 0, 499999.98, 0, -0.003, 5000000.06))


def test_tie_points_at_pixel_centres_are_moved_to_the_corner(tmp_path: Path) -> None:
    picture = info_of(geotiff(tmp_path / "p.tif", [(1024, 1), (1025, 2)], SCALE, TIE))
    assert picture.transform is not None
    assert picture.transform[2] == pytest.approx(499999.979)
    assert picture.transform[5] == pytest.approx(5000000.0615)


def test_a_full_matrix_and_a_raster_without_crs(tmp_path: Path) -> None:
    picture = info_of(geotiff(tmp_path / "p.tif", [(1024, 32767)], MATRIX))
    assert picture.transform == (0.1, 0.2, 7.0, 0.3, -0.4, 8.0)
    assert picture.crs is None
    assert picture.metadata["crs_kind"] == "unknown"
    tifffile.imwrite(tmp_path / "q.tif", grey(), photometric="minisblack", extratags=[SCALE, TIE])
    assert info_of(tmp_path / "q.tif").transform is not None
    tifffile.imwrite(tmp_path / "r.tif", grey(), photometric="minisblack")
    assert info_of(tmp_path / "r.tif").transform is None


@pytest.mark.parametrize(
    "tags",
    [
        [(33550, "d", 2, (0.1, 0.1), True), (33922, "d", 3, (0.0, 0.0, 0.0), True)],
        [(33550, "d", 3, (math.nan, 0.1, 0.0), True), TIE],
        [(34735, "H", 5, (1, 1, 0, 900, 7), True), SCALE, TIE],
        [(34735, "H", 1, (9,), True), SCALE, TIE],
    ],
)
def test_damaged_geo_tags_never_stop_the_picture(tags: list[Any], tmp_path: Path) -> None:
    path = tmp_path / "p.tif"
    tifffile.imwrite(path, grey(), photometric="minisblack", extratags=tags)
    picture = info_of(path)
    assert picture.transform is None or np.isfinite(picture.transform).all()


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ([(33550, "d", 3, (math.nan, 0.1, 0.0), True), TIE], "must have a size and a place"),
        ([(33550, "d", 3, (math.inf, 0.1, 0.0), True), TIE], "got the transform (inf"),
        ([(33550, "d", 3, (0.0, 0.0, 0.0), True), TIE], "must have a size and a place"),
        ([SCALE, (33922, "d", 6, (0, 0, 0, math.inf, 1.0, 0), True)], "inf"),
        ([SCALE, (33922, "d", 6, (0, 0, 0, 1e300, 1.0, 0), True)], "1e+300"),
        ([(34264, "d", 16, (math.nan,) * 16, True)], "must have a size and a place"),
        ([SCALE], "ModelPixelScale without ModelTiepoint"),
        ([TIE], "ModelTiepoint without ModelPixelScale"),
    ],
)
def test_a_place_that_is_none_is_named(tags: list[Any], words: str, tmp_path: Path) -> None:
    path = tmp_path / "p.tif"
    tifffile.imwrite(path, grey(), photometric="minisblack", extratags=tags)
    picture = info_of(path)
    assert picture.transform is None
    (notice,) = picture.notices
    assert notice.code == "damaged_geotiff"
    assert words in notice.message


@pytest.mark.parametrize("size", [math.nan, math.inf, -1.0, 0.0, 1e300])
def test_a_map_unit_that_is_none_is_named(size: float) -> None:
    tags = {"ModelPixelScale": (0.1, 0.1, 0), "ModelTiepoint": (0, 0, 0, 1.0, 2.0, 0)}
    tags |= {"ProjLinearUnitSizeGeoKey": size, "ProjectedCSTypeGeoKey": 9999}
    place = read_georeference(SimpleNamespace(geotiff_tags=tags))
    assert place.transform is None
    assert "ProjLinearUnitSizeGeoKey must lie between" in place.notices[0].message


def test_xmp_in_the_exif_directory_is_read(tmp_path: Path) -> None:
    """Some writers put tag 700 beside the exposure, in JPEG, PNG and TIFF alike."""
    packet, path = dji(**FLIGHT), tmp_path / "p"
    grey_square = Image.new("RGB", (32, 32), (90, 90, 90))
    for directory in (EXIF, None):
        exif = Image.Exif()
        exif[0x010F] = "DJI"
        where = exif if directory is None else exif.get_ifd(directory)
        where[700] = packet
        for kind in ("JPEG", "PNG"):
            facts = info_of(pillow(path, grey_square, kind, exif=exif))
            assert facts.metadata["lrf_distance_m"] == 7.403, (directory, kind)
    path.write_bytes(tiff_with_exif_directory(packet))
    assert info_of(path).metadata["lrf_distance_m"] == 7.403


def tiff_with_exif_directory(packet: bytes) -> bytes:
    """Return a grey TIFF of 4 x 4 px whose Exif directory holds an XMP packet."""
    packet += b" " * (len(packet) % 2)
    inner_at = 24 + len(packet)
    inner = struct.pack("<HHHIII", 1, 700, 1, len(packet), 24, 0)
    sizes = {256: 4, 257: 4, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 4, 279: 16}
    tags = {**sizes, 0x8769: inner_at}
    rows = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    head = b"II*\0" + struct.pack("<I", inner_at + len(inner)) + bytes(range(90, 106)) + packet
    return head + inner + struct.pack("<H", len(tags)) + rows + bytes(4)


def test_a_png_of_imagemagick_and_one_with_its_facts_behind_the_pixels(tmp_path: Path) -> None:
    plain = pillow(tmp_path / "p", Image.new("RGB", (32, 32), (90, 90, 90)), "PNG").read_bytes()
    exif = exif_bytes({0x010F: "DJI", 0x0112: 3}, {})
    hexed = "\n".join(exif.hex()[i : i + 72] for i in range(0, 2 * len(exif), 72))
    text = b"Raw profile type exif\0\0" + zlib.compress(f"\nexif\n{len(exif):8}\n{hexed}".encode())
    xmp_text = b"XML:com.adobe.xmp\0\0\0\0\0" + dji(**FLIGHT)
    chunks = png_chunk(b"zTXt", text) + png_chunk(b"iTXt", xmp_text)
    late = png_chunk(b"iTXt", xmp_text) + png_chunk(b"eXIf", exif.removeprefix(b"Exif\0\0"))
    for data in (plain[:33] + chunks + plain[33:], plain[:-12] + late + plain[-12:]):
        (tmp_path / "p").write_bytes(data)
        picture = info_of(tmp_path / "p")
        assert picture.camera == "DJI"
        assert picture.metadata["orientation"] == 3
        assert picture.metadata["lrf_distance_m"] == 7.403


WEB = "WGS_1984_Web_Mercator_Auxiliary_Sphere|"
PE = (
    'ESRI PE String = PROJCS["x",GEOGCS["GCS"],PROJECTION["Lambert_Conformal_Conic"],'
    'PARAMETER["False_Easting",0.0],PARAMETER["False_Northing",0.0],'
    'PARAMETER["Standard_Parallel_1",44.0],PARAMETER["Standard_Parallel_2",49.0],'
    'PARAMETER["Latitude_Of_Origin",10.0],UNIT["Meter",1.0]]|'
)


@pytest.mark.parametrize(
    "tags",
    [
        *({"ProjectedCSTypeGeoKey": code} for code in (3857, 3832, 3994, 3413, 4087, 3035, 54004)),
        *({"ProjCoordTransGeoKey": kind} for kind in (7, 11, 15, 17, 24)),
        {"PCSCitationGeoKey": WEB},
        {"GTCitationGeoKey": "WGS 84 / World Equidistant Cylindrical"},
        {"GTCitationGeoKey": WEB, "PCSCitationGeoKey": "mine"},
        {"ProjectedCSTypeGeoKey": 9999, "GTCitationGeoKey": "Mars / World Mercator"},
        {"ProjCoordTransGeoKey": 10, "ProjFalseEastingGeoKey": 0, "ProjFalseNorthingGeoKey": 0},
    ],
)
def test_a_map_of_the_world_is_known_by_its_projection(tags: dict[str, Any]) -> None:
    assert placed(tags).metadata["crs_kind"] == "mercator"


@pytest.mark.parametrize(
    ("tags", "stretch"),
    [
        ({"ProjectedCSTypeGeoKey": 2154}, 1.0029),  # Lambert-93 in the south of Corsica, PROJ's
        ({"PCSCitationGeoKey": PE}, 1.0333),
        ({"ProjectedCSTypeGeoKey": 32632}, None),
        ({"ProjectedCSTypeGeoKey": 31467}, None),
        ({"PCSCitationGeoKey": "Universal Transverse Mercator zone 32"}, None),
        ({"PCSCitationGeoKey": "Hotine Oblique Mercator"}, None),
        ({"ProjCoordTransGeoKey": 1, "ProjFalseEastingGeoKey": 500000.0}, None),
        ({"ProjCoordTransGeoKey": 1, "ProjFalseEastingGeoKey": -500000.0}, 1.0358),
    ],
)
def test_a_map_that_is_drawn_too_large_says_by_how_much(
    tags: dict[str, Any], stretch: float | None
) -> None:
    place = placed(tags)
    assert place.metadata["crs_kind"] == "projected"
    assert place.metadata.get("map_stretch") == pytest.approx(stretch, abs=1e-4)


def placed(tags: dict[str, Any]) -> Any:
    """Return the place of a raster in metres, at 9.2 degrees east and 41.4 north in Lambert-93."""
    where = {"ModelPixelScale": (0.01, 0.01, 0), "ModelTiepoint": (0, 0, 0, 1209000, 6051000, 0)}
    if tags.get("ProjectedCSTypeGeoKey") in (32632, 31467):
        where["ModelTiepoint"] = (0, 0, 0, 690000, 5.2e6, 0)
    if tags.get("ProjFalseEastingGeoKey") == 500000.0:
        where["ModelTiepoint"] = (0, 0, 0, 690000, 5.2e6, 0)
    keys = {"GTModelTypeGeoKey": 1, "ProjLinearUnitsGeoKey": 9001}
    return read_georeference(SimpleNamespace(geotiff_tags={**where, **keys, **tags}))
