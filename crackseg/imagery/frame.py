"""How large the frame was when the picture was taken, and what was done to it since.

A focal length in pixels belongs to the frame that the camera wrote. An editor that makes the
picture smaller often writes its own size over the camera's; other facts then still tell: twice the
calibrated optical centre, the sizes in XMP, the sensor's size by its resolution.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from crackseg.records import ImageInfo, Notice

_MM_PER_UNIT = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}  # EXIF FocalPlaneResolutionUnit
_ROUNDED = 0.001  # relative; a size in whole pixels
_OFF_CENTRE = 0.06  # an optical centre lies up to 3 % of the frame from its middle
_SENSOR = 0.02  # sensor sizes and resolutions are rounded
_ADOBE = ("lightroom", "camera raw")  # their exports say truly whether they were cropped


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The camera's frame at the pixel size of the picture as it is."""

    diagonal_px: float
    resized: float  # pixels now over pixels when taken
    sigma_rel: float = 0.0  # of ``resized``


@dataclass(frozen=True, slots=True, kw_only=True)
class _Size:
    """The frame's sides as one fact tells them, the shorter first."""

    short: float
    long: float
    name: str
    slack: float
    written: bool = True  # by whoever saved the file last, who may have put in a new size

    def ratios(self, info: ImageInfo) -> tuple[float, float]:
        short, long = sorted([info.width_px, info.height_px])
        return short / self.short, long / self.long

    def is_now(self, info: ImageInfo) -> bool:
        return all(abs(ratio - 1) <= self.slack for ratio in self.ratios(info))


def find_frame(info: ImageInfo, values: Mapping[str, float], notices: list[Notice]) -> Frame | None:
    """Return the frame, or None and a notice where the picture was cropped or nobody can tell.

    Args:
        info: of the upright picture.
        values: the numbers among its metadata.
        notices: what was found out is added.
    """
    if "projection" in info.metadata:
        text = "the picture is a stitched panorama: it has no focal length."
        notices.append(Notice(code="panorama", message=text))
        return None
    sizes = list(_sizes(values))
    changed = sorted((s for s in sizes if not s.is_now(info)), key=lambda s: s.slack)
    if str(info.metadata.get("has_crop", "")).lower() == "true":
        return _refused(info, changed[:1], "its editor says that it was cropped", notices)
    if not changed:
        return Frame(diagonal_px=math.hypot(info.height_px, info.width_px), resized=1.0)
    if any(not _agree(changed[0], other) for other in changed[1:]):
        return _refused(info, changed, "these facts contradict each other", notices)
    rewritten = any(s.written and s.is_now(info) for s in sizes) or not changed[0].written
    return _changed(info, changed[0], rewritten, notices)


def _changed(info: ImageInfo, size: _Size, rewritten: bool, notices: list[Notice]) -> Frame | None:
    """Return the frame of a picture whose size is not that of the camera."""
    short, long = size.ratios(info)
    if abs(short / long - 1) > max(0.01, size.slack):
        uncut = next((r for r in (short, long) if abs(r - 1) <= max(0.002, size.slack / 3)), None)
        if uncut is None or max(short, long) > 1 + size.slack:
            return _refused(info, [size], "it was cropped", notices)
        text = f"the picture had {_sentence(info, size)}: taken as cut along one side only."
        notices.append(Notice(code="cut_picture", message=text))
        return Frame(diagonal_px=math.hypot(size.short, size.long), resized=1.0)
    software = str(info.metadata.get("software", "")).lower()
    whole = any(name in software for name in _ADOBE) and "has_crop" in info.metadata
    if rewritten and not whole:
        return _refused(info, [size], "whether it was made smaller or cropped is unknown", notices)
    text = (
        f"the picture had {_sentence(info, size)}: taken as resized whole. If it was cut out of "
        "the photograph instead, the scale is wrong: give `mm_per_px`."
    )
    notices.append(Notice(code="resized_picture", message=text))
    return Frame(
        diagonal_px=math.hypot(info.height_px, info.width_px),
        resized=math.sqrt(short * long),
        sigma_rel=size.slack / 3,
    )


def _refused(info: ImageInfo, sizes: list[_Size], why: str, notices: list[Notice]) -> Frame | None:
    """Add the notice of a picture whose frame is not known and return None."""
    facts = "; ".join(_sentence(info, size) for size in sizes)
    text = (
        f"the picture is not as the camera wrote it ({facts + ': ' if facts else ''}{why}), so its "
        "focal length is not used; give the camera's own file, or `mm_per_px`."
    )
    notices.append(Notice(code="cropped_picture", message=text))
    return None


def _sentence(info: ImageInfo, size: _Size) -> str:
    short, long = sorted([info.width_px, info.height_px])
    return f"{size.long:.0f} x {size.short:.0f} px by {size.name} and {long} x {short} px now"


def _agree(one: _Size, other: _Size) -> bool:
    slack = one.slack + other.slack
    return max(abs(one.short / other.short - 1), abs(one.long / other.long - 1)) <= slack


def _sizes(values: Mapping[str, float]) -> list[_Size]:
    """Return every size of the frame that the metadata tells."""
    per_mm = sensor_px_per_mm(values) or 0.0
    facts = [
        ("EXIF", "exif_width_px", "exif_height_px", 1.0, _ROUNDED),
        ("the EXIF header", "header_width_px", "header_height_px", 1.0, _ROUNDED),
        ("XMP", "xmp_width_px", "xmp_height_px", 1.0, _ROUNDED),
        ("the optical centre", "optical_centre_x_px", "optical_centre_y_px", 2.0, _OFF_CENTRE),
        ("the sensor", "principal_point_x_mm", "principal_point_y_mm", 2 * per_mm, _SENSOR),
    ]
    sizes = []
    for name, across, down, factor, slack in facts:
        short, long = sorted(factor * values.get(key, 0.0) for key in (across, down))
        if short >= 1:
            written = slack == _ROUNDED
            sizes.append(_Size(short=short, long=long, name=name, slack=slack, written=written))
    return sizes


def sensor_px_per_mm(values: Mapping[str, float]) -> float | None:
    """Return the pixels per mm on the sensor, of the frame as the camera wrote it."""
    unit = _MM_PER_UNIT.get(int(values.get("focal_plane_resolution_unit", 2)))
    resolution = values.get("focal_plane_x_resolution")
    return resolution / unit if resolution and unit else None
