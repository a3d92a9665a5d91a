"""JPEG (also MPO) and PNG, decoded whole at the first read; a file that was cut is an error.

Grey, palette, CMYK, 1-bit and 16-bit pictures become 8-bit RGB; fully transparent pixels become
invalid. A 16-bit PNG is decoded when it is opened, because its range must be known.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
from PIL import ImageFile, JpegImagePlugin, PngImagePlugin

from crackseg.errors import ImageError
from crackseg.imagery.headers import HeaderReader
from crackseg.imagery.levels import Levels, find_levels, range_notice, to_uint8
from crackseg.imagery.metadata import pillow_tags, read_facts
from crackseg.imagery.source import Limits, Pixels, Source, check_header, multi_page
from crackseg.records import Array, Notice, Window


def open_still(path: Path, kind: str, limits: Limits) -> Source:
    """Return a source for JPEG or PNG, which can only be decoded whole."""
    data = path.read_bytes()
    picture, warned = _parse(data, kind, path)
    width, height = picture.size
    check_header(path, height, width, stored=3 * height * width / len(data), limits=limits)
    tags, notices = pillow_tags(picture.info.get("exif"))
    if not notices:  # else Pillow warns of the same
        notices = [Notice(code="damaged_header", message=f"`{path.name}`: {w}") for w in warned]
    facts = read_facts(tags, picture.info.get("xmp"))
    if kind == "PNG" and getattr(picture, "is_animated", False):
        notices.append(multi_page(path))
    decode = _decode_jpeg if kind == "JPEG" else _decode_png
    whole = _Whole(functools.partial(decode, data, picture))
    if kind == "PNG" and data[24] == 16:  # bit depth in IHDR; Pillow would keep the high byte only
        pixels, valid, levels = _decode_png_16(data, picture)
        whole = _Whole(lambda: (pixels, valid))
        notices.append(range_notice(path.name, "16-bit", levels))
    return Source(
        height_px=height,
        width_px=width,
        format="MPO" if "mp" in picture.info else kind,
        facts=facts,
        load=whole.load,
        close=whole.close,
        may_be_invalid=kind == "PNG" and _has_alpha(picture),
        notices=tuple(notices),
    )


class _Whole:
    """A picture decoded at the first read and kept."""

    def __init__(self, decode: Callable[[], Pixels]) -> None:
        self._decode: Callable[[], Pixels] | None = decode
        self._pixels: Pixels | None = None

    def load(self, window: Window) -> Pixels:
        if self._decode is not None:
            self._pixels, self._decode = self._decode(), None  # the encoded bytes go with it
        if self._pixels is None:
            raise ImageError("the image was closed; read it inside its `with` statement.")
        pixels, valid = self._pixels
        return pixels[window.slices], None if valid is None else valid[window.slices]

    def close(self) -> None:
        self._pixels, self._decode = None, None


def _parse(data: bytes, kind: str, path: Path) -> tuple[ImageFile.ImageFile, list[str]]:
    """Return the opened picture, no pixel decoded, and what Pillow warned of.

    The format's own class is used because ``Image.open`` judges the size by a global setting.
    """
    plugin = JpegImagePlugin.JpegImageFile if kind == "JPEG" else PngImagePlugin.PngImageFile
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        reader = HeaderReader(data, path)
        picture = plugin(reader)
        reader.release()
    return picture, [str(w.message).strip() for w in caught]


def _decode_jpeg(data: bytes, picture: ImageFile.ImageFile) -> Pixels:
    scan = picture.fp.tell() if picture.fp else 0  # just behind the first start-of-scan header
    if data.find(b"\xff\xd9", scan) < 0:
        # libjpeg reads the zeros of a half-copied file as flat grey without a word
        raise ValueError("the end-of-image mark is missing: the file was cut.")
    picture.load()
    rgb = picture if picture.mode == "RGB" else picture.convert("RGB")
    return np.asarray(rgb), None


def _decode_png(data: bytes, picture: ImageFile.ImageFile) -> Pixels:
    if b"IEND" not in data:  # Pillow accepts a picture whose last rows are half written
        raise ValueError("the end chunk is missing: the file was cut.")
    picture.load()
    if not _has_alpha(picture):
        return np.asarray(picture.convert("RGB")), None
    rgba = np.asarray(picture.convert("RGBA"))
    return np.ascontiguousarray(rgba[..., :3]), _seen(rgba[..., 3])


def _decode_png_16(data: bytes, picture: ImageFile.ImageFile) -> tuple[Array, Array | None, Levels]:
    picture.load()  # Pillow notices a cut file
    values = np.atleast_3d(imagecodecs.png_decode(data))
    samples = values.shape[2]
    alpha = values[..., -1] if samples in (2, 4) else None
    colours = values[..., : samples - (alpha is not None)]
    levels = find_levels([colours])
    pixels = np.broadcast_to(to_uint8(colours, levels), (*colours.shape[:2], 3))
    return np.ascontiguousarray(pixels), None if alpha is None else _seen(alpha), levels


def _has_alpha(picture: ImageFile.ImageFile) -> bool:
    return picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info


def _seen(alpha: Array) -> Array | None:
    """Return where a pixel is not fully transparent, or None where that is everywhere."""
    seen = alpha > 0
    return None if seen.all() else seen
