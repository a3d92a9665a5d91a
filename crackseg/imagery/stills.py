"""JPEG (also MPO) and PNG, decoded whole at the first read; a file that was cut is an error.

Grey, palette, CMYK, 1-bit, 12-bit and 16-bit pictures become 8-bit sRGB; fully transparent pixels
become invalid. Opening reads the header alone.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from PIL import ImageFile, JpegImagePlugin, PngImagePlugin

from crackseg.errors import ImageError
from crackseg.imagery.colour import (
    from_gamma,
    inks_to_srgb,
    is_foreign_gamma,
    read_profile,
    to_srgb,
    upright_inks,
)
from crackseg.imagery.headers import HeaderReader
from crackseg.imagery.jpeg import Frame, as_eight_bit, read_frame, read_packets
from crackseg.imagery.levels import find_levels, levels_of_bits, range_notice, to_16_bits, to_uint8
from crackseg.imagery.metadata import pillow_tags, read_facts
from crackseg.imagery.nodata import believable
from crackseg.imagery.source import Limits, Pixels, Source, check_header, multi_page
from crackseg.records import Array, Notice, Window

Decoded = tuple[Array, Array | None, list[Notice]]
_BAND_PX = 256  # rows that are counted or converted at a time
_CHUNKS = 65_536  # of a PNG that are looked at for text; one of 500 MB has as many of 8 kB


def open_still(path: Path, data: bytes, kind: str, limits: Limits) -> Source:
    """Return a source for the bytes of a JPEG or PNG, which can only be decoded whole.

    Raises:
        UnsupportedImage: a JPEG of a kind that cannot be decoded.
    """
    frame = read_frame(data, path) if kind == "JPEG" else None
    is_deep = frame is not None and frame.is_deep
    picture, warned = _parse(as_eight_bit(data, frame) if frame and is_deep else data, kind, path)
    width, height = picture.size
    check_header(path, height, width, stored=3 * height * width / len(data), limits=limits)
    exif, xmp = _metadata_blocks(data, picture, kind)
    tags, notices = pillow_tags(exif)
    if not notices:  # else Pillow warns of the same
        notices = [Notice(code="damaged_header", message=f"`{path.name}`: {w}") for w in warned]
    packets = read_packets(data) if kind == "JPEG" else ()
    facts = read_facts(tags, *(packets or (xmp or tags.get("XMLPacket"),)))
    if kind == "PNG" and getattr(picture, "is_animated", False):
        notices.append(multi_page(path))
    if frame is not None:
        decode = _jpeg_decoder(data, picture, frame, path.name)
    else:
        decode = _png_decoder(data, picture, path.name)
    whole = Whole(decode)
    return Source(
        height_px=height,
        width_px=width,
        format="MPO" if "mp" in picture.info else kind,
        facts=facts,
        decode=whole.decode,
        load=whole.load,
        close=whole.close,
        notices=tuple(notices),
    )


class Whole:
    """A picture decoded at the first read and kept."""

    def __init__(self, decode: Callable[[], Decoded]) -> None:
        self._decode: Callable[[], Decoded] | None = decode
        self._pixels: Pixels | None = None
        self._notices: tuple[Notice, ...] = ()

    def decode(self) -> tuple[Notice, ...]:
        if self._decode is not None:
            pixels, valid, notices = self._decode()
            self._decode = None  # the encoded bytes go with it
            self._pixels, self._notices = (pixels, valid), tuple(notices)
        if self._pixels is None:
            raise ImageError("the image was closed; read it inside its `with` statement.")
        return self._notices

    def load(self, window: Window) -> Pixels:
        self.decode()
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


def _jpeg_decoder(
    data: bytes, picture: ImageFile.ImageFile, frame: Frame, name: str
) -> Callable[[], Decoded]:
    scan = picture.fp.tell() if picture.fp else 0  # just behind the first start-of-scan header

    def decode() -> Decoded:
        if data.find(b"\xff\xd9", scan) < 0:
            # libjpeg reads the zeros of a half-copied file as flat grey without a word
            raise ValueError("the end-of-image mark is missing: the file was cut.")
        profile, notices = read_profile(picture.info.get("icc_profile"), frame.channels, name)
        if frame.is_deep:
            values = np.atleast_3d(imagecodecs.jpeg8_decode(data))
            pixels, more = _to_rgb(values, profile, frame.bits, name)
            return pixels, None, notices + more
        values = np.atleast_3d(_eight_bit(data, picture, frame))
        if picture.mode == "CMYK":
            inks, notice = upright_inks(values, marked=frame.has_adobe, name=name)
            return inks_to_srgb(inks, profile), None, [*notices, notice]
        if profile is None:
            rgb = np.broadcast_to(values, (*values.shape[:2], 3))
            return np.ascontiguousarray(rgb), None, notices
        return to_srgb(values, profile), None, notices

    return decode


def _eight_bit(data: bytes, picture: ImageFile.ImageFile, frame: Frame) -> Array:
    """Return the samples of a JPEG of 8 bits, (h, w) grey, (h, w, 3) RGB or (h, w, 4) inks.

    What cameras write imagecodecs decodes straight into an array, in a third of the time. Pillow
    tells where a file of several scans was cut, and it reads inks as they are stored.
    """
    if frame.is_baseline and picture.mode in ("L", "RGB"):
        samples: Array = imagecodecs.jpeg8_decode(data)
        return samples
    picture.load()
    return np.asarray(picture)


def _png_decoder(data: bytes, picture: ImageFile.ImageFile, name: str) -> Callable[[], Decoded]:
    def decode() -> Decoded:
        if b"IEND" not in data:  # Pillow accepts a picture whose last rows are half written
            raise ValueError("the end chunk is missing: the file was cut.")
        picture.load()
        icc = picture.info.get("icc_profile")
        if data[24] == 16:  # bit depth in IHDR; Pillow would keep the high byte only
            values = np.atleast_3d(imagecodecs.png_decode(data))
            colours = values.shape[2] - (values.shape[2] in (2, 4))
            profile, notices = read_profile(icc, colours, name)
            alpha = values[..., -1] if colours < values.shape[2] else None
            values, foreign = _by_gamma(values[..., :colours], picture, name)
            pixels, more = _to_rgb(values, profile, 16, name)
            notices += foreign
            return pixels, where_it_counts(pixels, alpha), notices + more
        grey = picture.mode in ("L", "LA", "1")
        profile, notices = read_profile(icc, 1 if grey else 3, name)
        has_alpha = picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info
        whole = np.asarray(picture.convert("RGBA" if has_alpha else "RGB"))
        pixels = np.ascontiguousarray(whole[..., :3])
        valid = where_it_counts(pixels, whole[..., 3] if has_alpha else None)
        if profile is not None:
            pixels = to_srgb(pixels[..., :1] if grey else pixels, profile)
        else:
            pixels, foreign = _by_gamma(pixels, picture, name)
            notices += foreign
        return pixels, valid, notices

    return decode


def _by_gamma(values: Array, picture: ImageFile.ImageFile, name: str) -> tuple[Array, list[Notice]]:
    """Return the values of a PNG in sRGB, where it says no more of its colours than a gamma."""
    gamma = picture.info.get("gamma")
    is_known = picture.info.get("icc_profile") or "srgb" in picture.info
    if is_known or not is_foreign_gamma(gamma):
        return values, []
    text = f"`{name}` is stored with a gamma of {gamma:g}; it was converted to sRGB."
    return from_gamma(values, gamma), [Notice(code="colour_profile", message=text)]


def _to_rgb(
    values: Array, profile: bytes | None, bits: int, name: str
) -> tuple[Array, list[Notice]]:
    """Return (h, w, 3) uint8 of (h, w, 1, 3 or 4) deep values of so many bits.

    What is stored in 16 bits may hold fewer: the values tell.
    """
    if values.dtype == np.uint8 and values.shape[2] != 4:
        return np.ascontiguousarray(np.broadcast_to(values, (*values.shape[:2], 3))), []
    if values.dtype == np.uint16:
        values = to_16_bits(values, bits)
    if values.shape[2] == 4:
        inks, notice = upright_inks(
            (values >> 8).astype(np.uint8) if values.dtype == np.uint16 else values,
            marked=False,
            name=name,
        )
        return inks_to_srgb(inks, profile), [notice]
    bands = range(0, len(values), _BAND_PX)
    if profile is not None:
        values = np.concatenate([to_srgb(values[row : row + _BAND_PX], profile) for row in bands])
    in_16 = levels_of_bits(16)
    levels = in_16 if bits < 16 else find_levels(values[row : row + _BAND_PX] for row in bands)
    pixels = np.empty((*values.shape[:2], 3), np.uint8)
    for row in bands:
        pixels[row : row + _BAND_PX] = to_uint8(values[row : row + _BAND_PX], levels)
    return pixels, [
        range_notice(name, f"{bits}-bit", levels_of_bits(bits) if bits < 16 else levels)
    ]


def where_it_counts(pixels: Array, alpha: Array | None) -> Array | None:
    """Return where a pixel is not fully transparent, or None where that is everywhere."""
    if alpha is None or alpha.all():
        return None
    height, width = alpha.shape
    blank = (pixels == 0).all(axis=2) | (pixels == 255).all(axis=2)
    wide = Window(row=0, col=0, height=height, width=width)
    missing = believable(alpha == 0, blank, pixels, wide, (height, width))
    return ~missing if missing.any() else None


def _metadata_blocks(
    data: bytes, picture: ImageFile.ImageFile, kind: str
) -> tuple[bytes | None, Any]:
    """Return EXIF and XMP as stored; of a PNG also where they stand behind the pixels."""
    exif, xmp = picture.info.get("exif"), picture.info.get("xmp")
    if kind == "PNG":
        for name, chunk in _png_texts(data):
            exif = exif or (chunk if name == b"eXIf" else None)
            exif = exif or (_unhexed(chunk) if name.startswith(b"Raw profile type exif") else None)
            xmp = xmp or (chunk if name == b"XML:com.adobe.xmp" else None)
            xmp = xmp or (_unhexed(chunk) if name == b"Raw profile type xmp" else None)
    return exif, xmp


def _png_texts(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield keyword and content of the text chunks of a PNG, and EXIF chunks by their type."""
    at = 8
    for _ in range(_CHUNKS):
        if at + 12 > len(data):
            return
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        chunk = data[at + 8 : at + 8 + size]
        at += 12 + size
        if kind == b"eXIf":
            yield kind, chunk
        if kind not in (b"tEXt", b"zTXt", b"iTXt"):
            continue
        word, _, rest = chunk.partition(b"\0")
        packed = kind == b"zTXt" or (kind == b"iTXt" and rest[:1] == b"\x01")
        if kind == b"iTXt":
            rest = rest[2:].partition(b"\0")[2].partition(b"\0")[2]
        else:
            rest = rest[1:] if packed else rest
        yield word, _inflated(rest) if packed else rest


def _inflated(packed: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(packed, 4_000_000)
    except zlib.error:
        return b""


def _unhexed(text: bytes) -> bytes:
    """Return what ImageMagick writes into a text chunk: name, length, hexadecimal lines."""
    parts = text.split(maxsplit=2)
    try:
        return bytes.fromhex("".join(parts[2].decode("ascii").split())) if len(parts) == 3 else b""
    except ValueError:
        return b""
