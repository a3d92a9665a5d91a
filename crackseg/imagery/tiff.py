"""TIFF, BigTIFF and GeoTIFF read by window: only the strips or tiles that a window needs.

Memory does not grow with the picture, except for a compressed TIFF that is one single strip. Of
several pages the first is read; a reduced page is an overview, a mask page (GDAL) says which pixels
count, as do no-data values, an alpha band, nan and segments that were never written.
"""

from __future__ import annotations

import io
import logging
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tifffile import TiffFile

from crackseg.errors import UnsupportedImage
from crackseg.imagery.colour import inks_to_srgb, read_profile, to_srgb
from crackseg.imagery.georeference import read_georeference
from crackseg.imagery.headers import check_directories
from crackseg.imagery.levels import (
    Levels,
    find_levels,
    levels_of_bits,
    range_notice,
    to_16_bits,
    to_uint8,
)
from crackseg.imagery.metadata import Facts, read_facts
from crackseg.imagery.nodata import believable, smeared, widen
from crackseg.imagery.segments import JPEG, Segments
from crackseg.imagery.source import DECODE_ERRORS, Limits, Pixels, Source, check_header, multi_page
from crackseg.records import Array, Notice, Window

logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what matters is raised or noticed
_PART_PX = 2048  # of a picture that declares what is missing: what tells it takes 24 bytes a pixel
_PAGES_SEEN = 64  # overviews and masks are looked for among the first pages only

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6
_RAW_TAGS = (50706, 33421)  # DNGVersion, CFARepeatPatternDim
_LOSSY = (*JPEG, 33003, 33004, 33005, 34712, 34927, 50001, 50002)  # JPEG 2000, WebP, JPEG XL


def open_tiff(path: Path, file: io.BufferedReader, limits: Limits) -> Source:
    """Return a source for a TIFF file, which it reads from and closes.

    Raises:
        ImageError: camera raw, a kind of pixel that is not known, too large, or cut.
    """
    check_directories(path, file)
    tiff = TiffFile(file, name=path.name, offset=0)
    page = tiff.pages[0]
    _refuse_unknown(path, page)
    size = file.seek(0, os.SEEK_END)
    stored = _claimed_bytes(page) / size
    check_header(path, page.imagelength, page.imagewidth, stored=stored, limits=limits)
    segments = Segments(page, size)
    mask, several = _other_pages(tiff, page, size)
    nodata = _nodata(page)
    notices = [multi_page(path)] if several else []
    profile, noticed = _profile(page, path.name)
    picture = _Picture(
        page=page, segments=segments, mask=mask, nodata=nodata, profile=profile, name=path.name
    )
    place = read_georeference(page)
    facts, trouble = read_tags(page)
    return Source(
        height_px=page.imagelength,
        width_px=page.imagewidth,
        format="BigTIFF" if tiff.is_bigtiff else "TIFF",
        facts=facts,
        decode=picture.decode,
        load=picture.load,
        close=file.close,
        crs=place.crs,
        transform=place.transform,
        metadata=place.metadata,
        notices=(*notices, *noticed, *place.notices, *trouble),
    )


@dataclass(slots=True, kw_only=True)
class _Picture:
    """From samples of one page to RGB and validity."""

    page: Any
    segments: Segments
    mask: Segments | None
    nodata: float | None
    profile: bytes | None
    name: str
    levels: Levels | None = None  # of other values than 8 bits, found at the first read

    def decode(self) -> tuple[Notice, ...]:
        bits = _bits(self.page)
        if self.page.dtype == np.uint8 and bits == 8:
            return ()
        if self.levels is None:
            self.levels = self._find_levels()
        if bits <= 8 or self.page.photometric == _CMYK:
            return ()
        kind = "float" if self.page.dtype.kind == "f" else f"{bits}-bit"
        declared = self.page.dtype == np.uint16 and bits < 16
        levels = levels_of_bits(bits) if declared else self.levels
        return (range_notice(self.name, kind, levels),)

    def load(self, window: Window) -> Pixels:
        self.decode()
        if self.mask is None and self.nodata is None and _alpha_sample(self.page) is None:
            values, valid = self.segments.read(window)
            colours, counts = _split(self.page, values, None)
            valid = _both(valid, counts)
            return self._rgb(colours), None if valid is None or valid.all() else valid
        rgb = np.empty((window.height, window.width, 3), np.uint8)
        valid = np.ones(rgb.shape[:2], bool)
        for part in window.parts(_PART_PX):
            place = part.slices_in(window)
            rgb[place], counts = self._load_declared(part)
            if counts is not None:
                valid[place] = counts
        return rgb, None if valid.all() else valid

    def _load_declared(self, window: Window) -> Pixels:
        """Return a window of a picture that declares what is missing: its surroundings tell."""
        height, width = self.page.imagelength, self.page.imagewidth
        wide = widen(window, height, width)
        values, written = self.segments.read(wide)
        colours, counts = _split(self.page, values, self.nodata)
        if self.mask is not None:
            counts = _both(counts, self.mask.read(wide)[0][..., 0] > 0)
        rgb = self._rgb(colours)
        missing = np.zeros(rgb.shape[:2], bool) if counts is None else ~counts
        missing = believable(missing, self._doubtful(colours, rgb), rgb, wide, (height, width))
        if self.page.compression in _LOSSY and self.nodata in (0.0, 255.0):
            distance = np.abs(rgb.astype(np.int16) - int(self.nodata)).max(axis=2)
            missing |= smeared(distance, wide, height, width)
        valid = _both(~missing, written)
        inner = window.slices_in(wide)
        valid = None if valid is None or valid[inner].all() else valid[inner]
        return np.ascontiguousarray(rgb[inner]), valid

    def _doubtful(self, colours: Array, rgb: Array) -> Array:
        """Return where a pixel holds a value that a picture could hold: black, white, no-data."""
        blank = np.asarray((rgb == 0).all(axis=2) | (rgb == 255).all(axis=2))
        if self.nodata is None:
            return blank
        if not 0 <= self.nodata <= 65535:
            return np.zeros_like(blank)
        blank |= (colours == self.nodata).all(axis=2)
        return np.asarray(blank & np.isfinite(colours).all(axis=2))  # nan is never a picture

    def _rgb(self, colours: Array) -> Array:
        photometric = self.page.photometric
        if photometric == _PALETTE:
            picked: Array = _palette(self.page)[colours[..., 0]]
            return picked
        colours = self._in_srgb(colours)
        pixels = colours if self.levels is None else to_uint8(colours, self.levels)
        if photometric == _CMYK:
            return inks_to_srgb(pixels, self.profile)
        if photometric == _WHITE_IS_ZERO:
            pixels = 255 - pixels
        return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels

    def _in_srgb(self, colours: Array) -> Array:
        """Return samples in sRGB where a profile says what else they are; inks as they are."""
        if self.profile is None or self.page.photometric == _CMYK:
            return colours
        if colours.dtype == np.uint16:
            colours = to_16_bits(colours, _bits(self.page))
        return to_srgb(colours, self.profile)

    def _find_levels(self) -> Levels:
        """Return the range of the colour samples: the full one where the file says it."""
        page, bits = self.page, _bits(self.page)
        if page.photometric == _PALETTE:
            return levels_of_bits(8)
        if page.dtype.kind in "ub" and (bits < 16 or page.photometric == _CMYK):
            in_16 = self.profile is not None and page.photometric != _CMYK and bits > 8
            return levels_of_bits(16 if in_16 else bits)

        def blocks() -> Iterator[Array]:
            for window in self.segments.bands():
                values, written = self.segments.read(window)
                colours, counts = _split(page, values, self.nodata)
                valid = _both(written, counts)
                colours = self._in_srgb(colours)
                yield colours if valid is None else colours[valid]

        return find_levels(blocks())


def _profile(page: Any, name: str) -> tuple[bytes | None, list[Notice]]:
    """Return the ICC profile of whole numbers of 8 or 16 bits, if it changes anything."""
    channels = {_BLACK_IS_ZERO: 1, _RGB: 3, _YCBCR: 3, _CMYK: 4}.get(page.photometric)
    if channels is None or page.dtype not in (np.uint8, np.uint16) or page.bitspersample < 8:
        return None, []
    stored = page.tags.valueof(34675)
    profile, notices = read_profile(stored if isinstance(stored, bytes) else None, channels, name)
    if channels == 4:
        text = f"`{name}` stores printing inks (CMYK): its tones are approximate."
        notices.append(Notice(code="cmyk_converted", message=text))
    return profile, notices


def _refuse_unknown(path: Path, page: Any) -> None:
    """Raise for camera raw files and for pixels that have no sure reading as RGB."""
    name = path.name
    if any(tag in page.tags for tag in _RAW_TAGS) or page.photometric in (32803, 34892):
        raise UnsupportedImage(
            f"`{name}` is a DNG or another camera raw file by its content; give it the suffix of "
            "one, as .dng, or develop it first."
        )
    if page.is_reduced:
        raise UnsupportedImage(
            f"`{name}` begins with a preview only (camera raw?); develop it first."
        )
    readable = (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR)
    subsampled = page.photometric == _YCBCR and page.compression not in JPEG
    if page.photometric not in readable or subsampled:
        raise UnsupportedImage(
            f"`{name}` stores colours as {page.photometric!r}; save it as RGB or grey."
        )
    if page.dtype is None or page.dtype.kind not in "uifb" or page.imagedepth != 1:
        raise UnsupportedImage(
            f"`{name}` holds {page.dtype} values; expected whole numbers or floats."
        )
    least = {_RGB: 3, _YCBCR: 3, _CMYK: 4}.get(page.photometric, 1)
    if not least <= page.samplesperpixel <= 64:
        raise UnsupportedImage(
            f"`{name}` has {page.samplesperpixel} samples per pixel: not a picture."
        )
    sides = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip,)
    if min(sides) < 1:
        raise UnsupportedImage(f"`{name}` is damaged: it has tiles or strips without a pixel.")


def _bits(page: Any) -> int:
    """Return the bits of a sample; where samples differ, those that they are decoded into."""
    bits = page.bitspersample
    return bits if isinstance(bits, int) else 8 * int(page.dtype.itemsize)


def _claimed_bytes(page: Any) -> float:
    """Return the decoded size of the segments that were written, in bytes."""
    counts = np.asarray(page.databytecounts)
    written = float((counts > 0).mean()) if counts.size else 1.0  # sparse rasters are honest
    bits = page.bitspersample if isinstance(page.bitspersample, int) else 16
    samples = float(page.imagelength) * page.imagewidth * page.samplesperpixel
    claimed: float = written * samples * bits / 8
    return claimed


def _other_pages(file: Any, page: Any, size: int) -> tuple[Segments | None, bool]:
    """Return the mask of the first page, if any, and whether there are further pictures."""
    mask = None
    for index in range(1, _PAGES_SEEN):
        try:
            other = file.pages[index]
            kind = int(other.subfiletype)
        except DECODE_ERRORS:  # the end of the pages; what follows a damaged one is not needed
            return mask, False
        if not kind & 0b101:
            return mask, True
        same = (other.imagelength, other.imagewidth) == (page.imagelength, page.imagewidth)
        if kind & 0b100 and same and mask is None:
            mask = Segments(other, size)
    return mask, False


def _split(page: Any, values: Array, nodata: float | None) -> tuple[Array, Array | None]:
    """Return the colour samples, and where alpha, no-data and nan let a pixel count."""
    alpha = _alpha_sample(page)
    colours = (
        4
        if page.photometric == _CMYK
        else 3
        if page.samplesperpixel - (alpha is not None) >= 3
        else 1
    )
    colour = values[..., :colours]
    valid = None if alpha is None else values[..., alpha] > 0
    if nodata is not None:
        valid = _both(valid, np.asarray((colour != nodata).any(axis=2)))
    if colour.dtype.kind == "f":
        valid = _both(valid, np.asarray(np.isfinite(colour).all(axis=2)))
    return colour, valid


def _alpha_sample(page: Any) -> int | None:
    """Return which sample is alpha (associated or not), or None."""
    extra = [int(kind) for kind in page.extrasamples]
    first = page.samplesperpixel - len(extra)
    return next((first + i for i, kind in enumerate(extra) if kind in (1, 2)), None)


def _nodata(page: Any) -> float | None:
    text = page.tags.valueof(42113)  # GDAL_NODATA
    try:
        value: float = float(str(text).strip("\0 "))
    except ValueError:
        return None
    return value if math.isfinite(value) else None  # nan and inf never count anyway


def _palette(page: Any) -> Array:
    colours = (np.asarray(page.colormap) >> 8).astype(np.uint8).T
    entries = 2**page.bitspersample
    if colours.shape != (entries, 3):
        raise ValueError(f"the palette must hold {entries} colours, got {colours.shape}.")
    return colours


def read_tags(page: Any) -> tuple[Facts, list[Notice]]:
    """Return EXIF and XMP facts of a page; a damaged tag is left out, with a notice."""
    tags: dict[str, Any] = {}
    damaged: list[str] = []
    for tag in page.tags:
        try:
            if tag.count < 4096:
                tags |= tag.value if isinstance(tag.value, dict) else {tag.name: tag.value}
        except DECODE_ERRORS:
            damaged.append(str(tag.code))
    packets = (page.tags.valueof(700), tags.get("XMP"), tags.get("700"))
    facts = read_facts(tags, next((xmp for xmp in packets if xmp), None))
    text = f"TIFF tags {', '.join(damaged)} are damaged and were ignored."
    return facts, [Notice(code="damaged_exif", message=text)] if damaged else []


def _both(first: Array | None, second: Array | None) -> Array | None:
    if first is None or second is None:
        return second if first is None else first
    return first & second
