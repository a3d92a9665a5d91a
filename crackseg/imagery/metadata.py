"""EXIF and XMP become plain facts; damaged or absurd metadata never stops an analysis.

Whatever cannot be understood is left out, with a coded notice where that matters. Values keep
plain names with their unit: ``focal_length_mm``, ``lrf_distance_m``, ``gimbal_pitch_deg`` ...
"""

from __future__ import annotations

import math
import re
import struct
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring
from PIL import ExifTags, Image

from crackseg.records import Gps, Notice

MAX_BYTES = 4_000_000  # of EXIF or XMP; cameras write below 64 kB, panoramas some hundred kB

# What parsers raise on damaged bytes: Pillow's and the XML reader's are of all these kinds.
PARSE_ERRORS = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
)
# EXIF tag -> (our name, smallest, largest): outside it the value is absurd and left out
_EXIF_NUMBERS = {
    "FocalLength": ("focal_length_mm", 0.5, 5000.0),
    "FocalLengthIn35mmFilm": ("focal_length_35mm", 2.0, 10000.0),
    "DigitalZoomRatio": ("digital_zoom", 0.0, 1000.0),
    "ExifImageWidth": ("exif_width_px", 1.0, 1e6),
    "ExifImageHeight": ("exif_height_px", 1.0, 1e6),
    "ImageWidth": ("header_width_px", 1.0, 1e6),
    "ImageLength": ("header_height_px", 1.0, 1e6),
    "FocalPlaneXResolution": ("focal_plane_x_resolution", 1e-3, 1e6),
    "FocalPlaneResolutionUnit": ("focal_plane_resolution_unit", 1.0, 5.0),
}
# drone-dji XMP name -> (our name, smallest, largest)
_DJI_NUMBERS = {
    "LRFTargetDistance": ("lrf_distance_m", 0.0, 5000.0),
    "CalibratedFocalLength": ("calibrated_focal_length_px", 0.0, 1e6),
    "CalibratedOpticalCenterX": ("optical_centre_x_px", 0.0, 1e6),
    "CalibratedOpticalCenterY": ("optical_centre_y_px", 0.0, 1e6),
    "GimbalPitchDegree": ("gimbal_pitch_deg", -180.0, 180.0),
    "GimbalYawDegree": ("gimbal_yaw_deg", -360.0, 360.0),
    "GimbalRollDegree": ("gimbal_roll_deg", -360.0, 360.0),
    "FlightYawDegree": ("flight_yaw_deg", -360.0, 360.0),
    "RelativeAltitude": ("relative_altitude_m", -1000.0, 20000.0),
    "AbsoluteAltitude": ("absolute_altitude_m", -1000.0, 20000.0),
    "DewarpFlag": ("dewarp_flag", 0.0, 10.0),
    "RtkStdLon": ("rtk_sigma_lon_m", 0.0, 1000.0),
    "RtkStdLat": ("rtk_sigma_lat_m", 0.0, 1000.0),
    "RtkStdHgt": ("rtk_sigma_height_m", 0.0, 1000.0),
    "GpsLatitude": ("gps_lat_deg", -90.0, 90.0),
    "GpsLongitude": ("gps_lon_deg", -180.0, 180.0),
    "GpsLongtitude": ("gps_lon_deg", -180.0, 180.0),  # so spelt by older aircraft
}
_GPS_NUMBERS = {"GPSAltitude": ("gps_altitude_m", -1000.0, 20000.0)}
_LRF_STATUS, _CROP = "LRFStatus", "HasCrop"
# other XMP name -> (our name, smallest, largest)
_XMP_NUMBERS = {
    "PixelXDimension": ("xmp_width_px", 1.0, 1e6),
    "PixelYDimension": ("xmp_height_px", 1.0, 1e6),
}
_XMP_SPACES = (
    "drone-dji",
    "drone-skydio",
    "drone-parrot",
    "ns.autel.com",  # names as DJI's
    "ns.adobe.com/exif/1.0",  # PixelXDimension, PixelYDimension
    "camera-raw-settings",  # HasCrop
    "photos/1.0/panorama",  # ProjectionType
    "pix4d.com/camera",  # PrincipalPoint, Pitch
)
# pitch, yaw, roll of the camera as makers other than DJI write them, and the pitch of the horizon
_POSES = (
    ("CameraPitchDegree", "CameraYawDegree", "CameraRollDegree", 0.0),  # Parrot
    ("CameraOrientationNED/Pitch", "CameraOrientationNED/Yaw", "CameraOrientationNED/Roll", 0.0),
    ("Pitch", "Yaw", "Roll", 90.0),  # by Pix4D 0 looks straight down: Autel of old, senseFly
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a file's metadata says."""

    orientation: int = 1
    taken_at: datetime | None = None
    camera: str | None = None
    gps: Gps | None = None
    values: Mapping[str, float | str] = field(default_factory=dict)
    notices: tuple[Notice, ...] = ()


def pillow_tags(exif: bytes | None) -> tuple[dict[str, Any], list[Notice]]:
    """Return EXIF bytes as tag names and raw values, and notices of what could not be read."""
    if not exif:
        return {}, []
    if len(exif) > MAX_BYTES:
        return {}, [_notice("exif_too_large", f"EXIF of {len(exif)} bytes was ignored.")]
    tags: dict[str, Any] = {}
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            block = Image.Exif()
            block.load(exif)
            tags |= {ExifTags.TAGS.get(key, str(key)): value for key, value in block.items()}
            for pointer, names in ((0x8769, ExifTags.TAGS), (0x8825, ExifTags.GPSTAGS)):
                ifd = block.get_ifd(pointer)
                tags |= {names.get(key, str(key)): value for key, value in ifd.items()}
    except PARSE_ERRORS as error:
        return tags, [_notice("damaged_exif", f"EXIF is damaged: {_short(error)}")]
    if caught:
        return tags, [_notice("damaged_exif", f"EXIF is damaged: {_short(caught[0].message)}")]
    return tags, []


def read_facts(tags: Mapping[str, Any], *packets: Any) -> Facts:
    """Return the facts of EXIF tags and of XMP.

    Args:
        tags: EXIF, Exif-IFD and GPS tags by name, values as a reader gave them.
        packets: XMP as bytes, text or numbers, or None; the first that has a value counts.
    """
    flight, notices = _read_all(packets)
    values: dict[str, float | str] = {}
    values |= _numbers(tags, _EXIF_NUMBERS, notices)
    values |= _numbers(flight, {**_DJI_NUMBERS, **_XMP_NUMBERS}, notices, is_text=True)
    if "gimbal_pitch_deg" not in values:
        values |= _pose(flight, notices)
    values |= _dewarp(flight.get("DewarpData"), notices)
    values |= _principal_point(flight.get("PrincipalPoint"), notices)
    texts = {"lrf_status": flight.get(_LRF_STATUS), "has_crop": flight.get(_CROP)}
    texts |= {"projection": flight.get("ProjectionType"), "software": tags.get("Software")}
    values |= {name: _text(text) for name, text in texts.items() if text and _text(text)}
    return Facts(
        orientation=_orientation(tags.get("Orientation"), notices),
        taken_at=_taken_at(tags),
        camera=_camera(tags),
        gps=_gps(tags, values, notices),
        values=values,
        notices=tuple(notices),
    )


def _read_all(packets: Iterable[Any]) -> tuple[dict[str, str], list[Notice]]:
    """Return the properties of XMP packets: the camera's stand before those an editor added.

    Only whoever cropped the picture, later than its camera, knows that it was.
    """
    properties: dict[str, str] = {}
    notices: list[Notice] = []
    for packet in packets:
        found, troubles = _read_xmp(_packet(packet))
        later = {_CROP: found[_CROP]} if found.get(_CROP, "").lower() == "true" else {}
        properties = found | {name: text for name, text in properties.items() if text} | later
        notices += troubles
    return properties, notices


def _packet(xmp: Any) -> bytes | str | None:
    """Return an XMP packet of whatever type its directory gave it, or None."""
    if isinstance(xmp, tuple | list) and all(isinstance(n, int) and 0 <= n < 256 for n in xmp):
        return bytes(xmp)
    if hasattr(xmp, "tobytes"):
        return bytes(xmp.tobytes())
    return xmp if isinstance(xmp, bytes | str) else None


def _read_xmp(xmp: bytes | str | None) -> tuple[dict[str, str], list[Notice]]:
    """Return the properties of an XMP packet that we know, as attributes or as elements."""
    if not xmp:
        return {}, []
    raw = xmp.encode("utf-8", "replace") if isinstance(xmp, str) else bytes(xmp)
    if len(raw) > MAX_BYTES:
        return {}, [_notice("xmp_too_large", f"XMP of {len(raw)} bytes was ignored.")]
    packet = re.search(rb"<x:xmpmeta.*</x:xmpmeta>", raw, re.DOTALL)
    properties: dict[str, str] = {}
    try:
        root = fromstring(packet.group() if packet else raw.strip(b"\0 \r\n\t"))
        _collect(root, "", properties)
    except (ParseError, DefusedXmlException, ValueError, LookupError, RecursionError) as error:
        return {}, [_notice("damaged_xmp", f"XMP is damaged: {_short(error)}")]
    return properties, []


def _collect(element: Element, above: str, properties: dict[str, str]) -> None:
    """Add the properties of an element and of those in it; of a structure as ``NAME/FIELD``."""
    own = _known(element.tag)
    inside = own or above
    pairs = [(above, own, element.text or "")]
    pairs += [(inside, _known(name), value) for name, value in element.attrib.items()]
    for structure, name, value in pairs:
        if name:
            properties.setdefault(f"{structure}/{name}" if structure else name, value.strip())
    for each in element:
        _collect(each, inside, properties)


def _known(name: str) -> str:
    """Return a name without its space, empty where that is none of ours."""
    space, _, local = str(name).rpartition("}")
    return local if any(prefix in space for prefix in _XMP_SPACES) else ""


def _numbers(
    raw: Mapping[str, Any],
    table: Mapping[str, tuple[str, float, float]],
    notices: list[Notice],
    *,
    is_text: bool = False,
) -> dict[str, float]:
    """Return the values of a table that are numbers within their bounds.

    Cameras write nan or 0/0 into EXIF where they know nothing, which is passed over in silence; an
    endless number, such as 1/0, is named, and in XMP, which is text, all that is no number.
    """
    numbers: dict[str, float] = {}
    for tag, (name, low, high) in table.items():
        if tag not in raw or name in numbers:
            continue
        value = _as_float(raw[tag])
        if low <= value <= high:
            numbers[name] = value
        elif not math.isnan(value) or (is_text and _text(raw[tag])):
            text = _text(raw[tag]) if math.isnan(value) else f"{value:g}"
            notices.append(_absurd(tag, low, high, text))
    return numbers


def _absurd(tag: str, low: float, high: float, got: str) -> Notice:
    text = f"`{tag}` must lie between {low:g} and {high:g}, got {got}: ignored."
    return _notice("absurd_metadata", text)


def _number(value: Any) -> float | None:
    """Return a finite number of whatever form EXIF and XMP give it, or None."""
    number = _as_float(value)
    return number if math.isfinite(number) else None


def _as_float(value: Any) -> float:
    """Return a number of whatever form EXIF and XMP give it, also inf; nan where it is none."""
    try:
        if isinstance(value, bytes):
            value = value.decode("ascii").strip("\0 ")
        if isinstance(value, tuple | list) and len(value) != 2:
            value = value[0]
        if isinstance(value, tuple | list):
            over, under = value
        else:  # of Pillow's rationals, which are nan where they divide by 0
            over, under = getattr(value, "numerator", value), getattr(value, "denominator", 1)
        if under == 0:
            return math.copysign(math.inf, over) if over else math.nan
        return float(over / under if isinstance(value, tuple | list) else value)
    except PARSE_ERRORS:
        return math.nan


def _text(value: Any) -> str:
    raw = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    printable = "".join(c for c in raw.split("\0", 1)[0] if c.isprintable())
    return " ".join(printable.split())[:120]


def _orientation(value: Any, notices: list[Notice]) -> int:
    if value is None:
        return 1
    number = _number(value)
    if number in (1, 2, 3, 4, 5, 6, 7, 8):
        return int(number)
    if number != 0:  # 0 is what many programs write for "not known"
        text = f"`Orientation` must be 1 to 8, got {_text(value)}: taken as upright."
        notices.append(_notice("absurd_metadata", text))
    return 1


def _taken_at(tags: Mapping[str, Any]) -> datetime | None:
    for name in ("DateTimeOriginal", "DateTimeDigitized", "DateTime"):
        if name not in tags:
            continue
        zone = _text(tags.get(name.replace("DateTime", "OffsetTime"), ""))
        try:
            naive = datetime.strptime(_text(tags[name]), "%Y:%m:%d %H:%M:%S")
        except ValueError:
            continue
        try:
            return datetime.fromisoformat(f"{naive.isoformat()}{zone}")
        except ValueError:
            return naive
    return None


def _camera(tags: Mapping[str, Any]) -> str | None:
    make, model = _text(tags.get("Make", "")), _text(tags.get("Model", ""))
    name = model if model.lower().startswith(make.lower()) else f"{make} {model}"
    return name.strip() or None


def _gps(
    tags: Mapping[str, Any], values: Mapping[str, float | str], notices: list[Notice]
) -> Gps | None:
    """Return the position by EXIF, else by the drone's XMP."""
    for name in ("GPSLatitude", "GPSLongitude"):
        parts = _parts(tags.get(name))
        if any(map(math.isinf, map(_as_float, parts))):
            text = f"`{name}` must be three finite numbers, got {_text(tags[name])}: ignored."
            notices.append(_notice("absurd_metadata", text))
    lat = _degrees(tags.get("GPSLatitude"), _text(tags.get("GPSLatitudeRef", "")))
    lon = _degrees(tags.get("GPSLongitude"), _text(tags.get("GPSLongitudeRef", "")))
    if lat is None or lon is None:
        lat, lon = _number(values.get("gps_lat_deg")), _number(values.get("gps_lon_deg"))
    if lat is None or lon is None:
        return None
    if not (abs(lat) <= 90 and abs(lon) <= 180):
        text = f"GPS position {lat:g}, {lon:g} is not on Earth: ignored."
        notices.append(_notice("absurd_metadata", text))
        return None
    altitude = _numbers(tags, _GPS_NUMBERS, notices).get("gps_altitude_m")
    if altitude is not None and _below_sea(tags.get("GPSAltitudeRef")):
        altitude = -altitude
    return Gps(lat_deg=lat, lon_deg=lon, alt_m=altitude)


def _below_sea(reference: Any) -> bool:
    return reference in (1, b"\x01", "1")


def _parts(value: Any) -> list[Any]:
    """Return degrees, minutes and seconds as they are written; nothing where they are no list."""
    flat = list(value) if isinstance(value, tuple | list) else []
    return [tuple(flat[i : i + 2]) for i in (0, 2, 4)] if len(flat) == 6 else flat


def _degrees(value: Any, hemisphere: str) -> float | None:
    """Return degrees of (degrees, minutes, seconds), given as numbers or as six integers."""
    parts = [_number(part) for part in _parts(value)]
    numbers = [part for part in parts if part is not None]
    if len(parts) != 3 or len(numbers) != 3:
        return None
    degrees = numbers[0] + numbers[1] / 60 + numbers[2] / 3600
    return -degrees if hemisphere.upper().startswith(("S", "W")) else degrees


def _pose(flight: Mapping[str, str], notices: list[Notice]) -> dict[str, float]:
    """Return the angles of the camera as DJI counts them: 0 is the horizon, -90 straight down."""
    for pitch_name, yaw_name, roll_name, horizon_deg in _POSES:
        limits = {
            pitch_name: ("gimbal_pitch_deg", horizon_deg - 180, horizon_deg + 180),
            yaw_name: ("gimbal_yaw_deg", -360.0, 360.0),
            roll_name: ("gimbal_roll_deg", -360.0, 360.0),
        }
        angles = _numbers(flight, limits, notices, is_text=True)
        if "gimbal_pitch_deg" in angles:
            return angles | {"gimbal_pitch_deg": angles["gimbal_pitch_deg"] - horizon_deg}
    return {}


def _dewarp(text: str | None, notices: list[Notice]) -> dict[str, float]:
    """Return focal lengths and principal point (offset from the centre) of DJI's calibration.

    The text is ``date;fx,fy,cx,cy,k1,k2,p1,p2,k3`` in pixels of the full frame.
    """
    if not text:
        return {}
    numbers = [_number(part) for part in text.rpartition(";")[2].split(",")[:4]]
    if len(numbers) < 4 or any(n is None for n in numbers):
        notices.append(_notice("damaged_xmp", f"`DewarpData` is not understood: {_text(text)}"))
        return {}
    names = ("dewarp_fx_px", "dewarp_fy_px", "dewarp_cx_px", "dewarp_cy_px")
    return {name: n for name, n in zip(names, numbers, strict=True) if n is not None}


def _principal_point(text: str | None, notices: list[Notice]) -> dict[str, float]:
    """Return the point in mm from the sensor's corner, as survey software writes it: ``x,y``."""
    if not text:
        return {}
    numbers = [_number(part) for part in text.split(",")]
    if len(numbers) != 2 or not all(n is not None and 0 < n < 200 for n in numbers):
        notices.append(
            _notice(
                "absurd_metadata",
                f"`PrincipalPoint` must be two numbers of mm from 0 to 200, got {_text(text)}: "
                "ignored.",
            )
        )
        return {}
    names = ("principal_point_x_mm", "principal_point_y_mm")
    return {name: n for name, n in zip(names, numbers, strict=True) if n is not None}


def _short(error: object) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__


def _notice(code: str, message: str) -> Notice:
    return Notice(code=code, message=message)
