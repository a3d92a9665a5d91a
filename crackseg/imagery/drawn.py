"""A mask that was drawn elsewhere and its photograph: what of them can be measured.

No network has looked at such a photograph, so what it shows and hides is looked at here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from crackseg.config import AnalyzeOptions
from crackseg.errors import ImageError
from crackseg.imagery.blank import BlankCounter
from crackseg.imagery.clarity import ClarityCounter, impaired, spoilt, unsteady
from crackseg.imagery.files import OpenImage
from crackseg.imagery.regions import Region
from crackseg.imagery.structure import with_noise
from crackseg.records import Array, Crack, Notice, Unjudged, Window
from crackseg.runs import Runs

_BAND_ROWS = 1024
_MOST = 0.5  # of the marked length: more without a dark line is no matter of single marks


def check_sizes(mask_image: OpenImage, image: OpenImage) -> None:
    """Refuse a mask of another size than its photograph.

    Raises:
        ImageError: they differ.
    """
    size = (mask_image.info.height_px, mask_image.info.width_px)
    expected = (image.info.height_px, image.info.width_px)
    if size != expected:
        raise ImageError(
            f"`{mask_image.info.path.name}` must be as large as the image, {expected[1]} x "
            f"{expected[0]} px, got {size[1]} x {size[0]}; resize it without interpolation."
        )


def within(
    mask: Array, valid: Array | None, region: Region | None
) -> tuple[Array, Array | None, float]:
    """Return mask and valid pixels within a region, and the area in px that it leaves out."""
    if region is None or region.inside is None:
        return mask, valid, 0.0
    inside = region.inside
    outside_px2 = float(np.count_nonzero(~inside))
    return mask & inside, inside if valid is None else valid & inside, outside_px2


def mask_notices(
    drawn: Array, mask: Runs, small_px: int, empty: bool, options: AnalyzeOptions
) -> Iterator[Notice]:
    """Yield what of a mask is in no crack that is reported.

    Args:
        drawn: (H, W) bool, the mask as it was read.
        mask: what of it was measured.
        small_px: how much of it was left out as specks.
        empty: whether nothing is reported.
        options: name the limits.
    """
    if small_px:
        text = (
            f"{small_px} px of the mask lie in specks smaller than `min_area_px`, "
            f"{options.mask.min_area_px} px, and are left out."
        )
        yield Notice(code="mask_specks", message=text)
    if mask.any() and empty:
        text = (
            f"The mask marks {mask.sum()} px, and no piece of it is as long as "
            f"`min_length_px`, {options.measure.min_length_px:g} px: nothing is reported."
        )
        yield Notice(code="mask_too_short", message=text)
    elif drawn.any() and not mask.any() and not small_px:
        text = (
            f"The mask marks {int(drawn.sum())} px, and all of them lie where nothing is looked "
            "at, by the region or the ignored border, or where the picture shows nothing: nothing "
            "is reported."
        )
        yield Notice(code="mask_left_out", message=text)


def not_dark_notice(cracks: Sequence[Crack], elsewhere: float) -> Iterator[Notice]:
    """Yield the notice of marks that do not seem to lie on the dark lines of their photograph.

    Args:
        cracks: all that the mask marks, measured in the photograph.
        elsewhere: share of other places where the same marks would lie as dark.
    """
    total_px = sum(crack.length.px or 0.0 for crack in cracks)
    pale_px = sum(crack.length.px or 0.0 for crack in cracks if "not_dark" in crack.flags)
    if pale_px > _MOST * total_px:
        what = (
            f"Along {pale_px / total_px:.0%} of the length that the mask marks, the photograph "
            "shows no dark line."
        )
    elif elsewhere:
        what = (
            "What the mask marks is no darker than the same marks are when they are laid elsewhere "
            f"on the photograph, in {elsewhere:.0%} of the places tried."
        )
    else:
        return
    text = (
        f"{what} The mask may not belong to this photograph, or be mirrored, turned or shifted "
        "against it; or the marks are bright, filled, faint or blurred. Look at them on the "
        "photograph, as in overlay.jpg: if they lie beside the cracks, no figure of them holds."
    )
    yield Notice(code="mask_not_dark", message=text)


@dataclass(frozen=True, slots=True)
class Look:
    """What a photograph lets one see, of a picture that no network read."""

    valid: Array | None  # (H, W) bool, True = holds data; None: all of it
    blank_px2: dict[str, float]  # areas that show nothing, by kind
    spoilt: tuple[Unjudged, ...] = ()
    impaired: tuple[Unjudged, ...] = ()
    unsteady: tuple[Unjudged, ...] = ()


def look_at(image: OpenImage, region: Region | None) -> Look:
    """Look at a photograph in bands. What lies outside of the region counts for nothing."""
    height, width = image.info.height_px, image.info.width_px
    valid: Array | None = None
    blank, clarity = BlankCounter(height, width), ClarityCounter(height, width)
    for top in range(0, height, _BAND_ROWS):
        band = Window(row=top, col=0, height=min(_BAND_ROWS, height - top), width=width)
        pixels, counts = image.load(band)
        if counts is not None:
            valid = np.ones((height, width), dtype=bool) if valid is None else valid
            valid[band.slices] = counts
        if region is not None and region.inside is not None:
            inside = region.inside[band.slices]
            counts = inside if counts is None else counts & inside
        for counter in (blank, clarity):
            counter.add(top, pixels, counts)
    measures = clarity.measures()
    blank_px2 = with_noise(blank.areas_px2(), measures)
    return Look(valid, blank_px2, spoilt(measures), impaired(measures), unsteady(measures))
