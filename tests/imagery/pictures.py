"""Fabricated image files of every kind, small, from one known picture."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from PIL import Image

from crackseg.records import Array

HEIGHT, WIDTH = 48, 70


def picture(height: int = HEIGHT, width: int = WIDTH) -> Array:
    """Return (height, width, 3) uint8: smooth, no symmetry, so that every turn shows."""
    row, col = np.mgrid[:height, :width]
    planes = [row * 200 / height + 20, col * 200 / width + 30, (row + 2 * col) % 200 + 10.0]
    return np.stack(planes, axis=2).astype(np.uint8)


def grey() -> Array:
    """Return (H, W) uint8."""
    return picture()[..., 1]


def pillow(path: Path, image: Image.Image, kind: str, **options: Any) -> Path:
    """Write with Pillow, whatever the name of the file."""
    image.save(path, format=kind, **options)
    return path


def tiff(path: Path, pixels: Array, **options: Any) -> Path:
    """Write with tifffile."""
    options.setdefault("photometric", "rgb" if pixels.ndim >= 3 else "minisblack")
    tifffile.imwrite(path, pixels, **options)
    return path


def png_16(path: Path, values: Array) -> Path:
    """Write (H, W, 3) uint16 as a 16-bit RGB PNG, which Pillow cannot."""
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*c) for c in chunks))
    return path


def png_chunk(name: bytes, data: bytes) -> bytes:
    """Return one PNG chunk with its checksum."""
    check = zlib.crc32(name + data)
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", check)


def encoded(kind: str, **options: Any) -> bytes:
    """Return the known picture as a file of Pillow's."""
    buffer = io.BytesIO()
    Image.fromarray(picture()).save(buffer, format=kind, **options)
    return buffer.getvalue()


def encoded_tiff(**options: Any) -> bytes:
    """Return the known picture as a file of tifffile's."""
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, picture(), photometric="rgb", **options)
    return buffer.getvalue()


def jpeg_with_gps() -> bytes:
    """Return a JPEG whose EXIF has all three directories."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "DJI", 6
    exif.get_ifd(0x8769).update({0x9003: "2026:05:04 10:11:12", 0x920A: 12.3, 0xA405: 24})
    exif.get_ifd(0x8825).update({1: "N", 2: (46.0, 30.0, 15.5), 3: "E", 4: (8.0, 1.0, 2.0)})
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a drone-dji="1"/></x:xmpmeta>'
    return encoded("JPEG", quality=90, exif=exif, xmp=xmp)


def linear_profile() -> bytes:
    """Return an ICC profile of linear light with the primaries of sRGB."""
    white, primaries = [0.3127, 0.329, 1], [0.64, 0.33, 1, 0.3, 0.6, 1, 0.15, 0.06, 1]
    made = imagecodecs.cms_profile("rgb", whitepoint=white, primaries=primaries, gamma=1.0)
    return bytes(made)


def jpeg_of_inks() -> bytes:
    """Return a CMYK JPEG with a profile that is for RGB."""
    buffer = io.BytesIO()
    inks = Image.fromarray(picture()).convert("CMYK")
    inks.save(buffer, format="JPEG", quality=90, icc_profile=linear_profile())
    return buffer.getvalue()


SEEDS: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: encoded("JPEG", quality=90),
    "jpeg progressive": lambda: encoded("JPEG", quality=90, progressive=True),
    "jpeg with metadata": jpeg_with_gps,
    "jpeg twelve bit": lambda: bytes(
        imagecodecs.jpeg8_encode(picture().astype(np.uint16) * 16, level=90, bitspersample=12)
    ),
    "jpeg inks and profile": jpeg_of_inks,
    "png": lambda: encoded("PNG"),
    "png linear": lambda: encoded("PNG", icc_profile=linear_profile()),
    "tiff": encoded_tiff,
    "tiff strips lzw": lambda: encoded_tiff(compression="lzw", rowsperstrip=7),
    "tiff tiles deflate": lambda: encoded_tiff(compression="zlib", tile=(16, 16), predictor=True),
    "tiff jpeg": lambda: encoded_tiff(compression="jpeg", tile=(32, 32)),
    "tiff packbits": lambda: encoded_tiff(compression="packbits", rowsperstrip=9),
    "bigtiff": lambda: encoded_tiff(bigtiff=True, tile=(32, 32)),
}
