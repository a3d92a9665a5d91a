"""Colours of every storage become the sRGB that was photographed: profiles, gamma, inks, depth."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from pictures import encoded, grey, picture, pillow, png_16, png_chunk, tiff
from PIL import Image

from crackseg.errors import UnsupportedImage
from crackseg.imagery.files import open_image
from crackseg.records import Array

RGB = picture()
# D65 and the primaries of sRGB and of Display P3
SRGB = ([0.3127, 0.329, 1], [0.64, 0.33, 1, 0.3, 0.6, 1, 0.15, 0.06, 1])
WIDE = ([0.3127, 0.329, 1], [0.68, 0.32, 1, 0.265, 0.69, 1, 0.15, 0.06, 1])


def profile(kind: str) -> bytes:
    """Return an ICC profile by name."""
    if kind == "srgb":
        return bytes(imagecodecs.cms_profile("srgb"))
    if kind == "linear grey":
        return bytes(imagecodecs.cms_profile("gray", gamma=1.0))
    white, primaries = WIDE if kind == "wide" else SRGB
    gamma = 2.2 if kind == "wide" else 1.0
    made = imagecodecs.cms_profile("rgb", whitepoint=white, primaries=primaries, gamma=gamma)
    return bytes(made)


def linear(pixels: Array, top: int) -> Array:
    """Return sRGB levels as linear light of 0..top; the second opinion on what a profile does."""
    share = pixels / 255.0
    light = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return np.rint(light * top).astype(np.uint8 if top == 255 else np.uint16)


def read(path: Path) -> tuple[Array, list[str]]:
    with open_image(path) as image:
        codes = [n.code for n in (*image.info.notices, *image.decode())]
        return image.read(), codes


def off(pixels: Array, expected: Array = RGB) -> float:
    """Return the mean difference of lit pixels; a dark one has few levels in linear light."""
    lit = expected.min(axis=2) > 40
    return float(np.abs(pixels.astype(int) - expected)[lit].mean())


def icc_tiff(path: Path, pixels: Array, icc: bytes, **options: Any) -> Path:
    return tiff(path, pixels, extratags=[(34675, 7, len(icc), icc, True)], **options)


def icc_png_16(path: Path, values: Array, icc: bytes) -> Path:
    data = png_16(path, values).read_bytes()
    chunk = png_chunk(b"iCCP", b"made\0\0" + zlib.compress(icc))
    path.write_bytes(data[:33] + chunk + data[33:])
    return path


@pytest.mark.parametrize("kind", ["jpeg", "png", "tiff", "tiff tiles", "tiff 16", "png 16"])
def test_linear_light_becomes_the_photograph(kind: str, tmp_path: Path) -> None:
    icc, path = profile("linear"), tmp_path / "p"
    image = Image.fromarray(linear(RGB, 255))
    deep = linear(RGB, 65535)
    {
        "jpeg": lambda: pillow(path, image, "JPEG", quality=98, subsampling=0, icc_profile=icc),
        "png": lambda: pillow(path, image, "PNG", icc_profile=icc),
        "tiff": lambda: icc_tiff(path, linear(RGB, 255), icc),
        "tiff tiles": lambda: icc_tiff(path, linear(RGB, 255), icc, tile=(16, 16)),
        "tiff 16": lambda: icc_tiff(path, deep, icc),
        "png 16": lambda: icc_png_16(path, deep, icc),
    }[kind]()
    pixels, codes = read(path)
    assert "colour_profile" in codes
    assert off(linear(RGB, 255)) > 40  # what the pixels look like when taken as they are
    assert off(pixels) < 3


def test_a_linear_grey_profile_and_a_png_of_linear_gamma(tmp_path: Path) -> None:
    image = Image.fromarray(linear(grey(), 255))
    expected = np.repeat(grey()[..., None], 3, axis=2)
    pixels, codes = read(pillow(tmp_path / "a", image, "PNG", icc_profile=profile("linear grey")))
    assert codes == ["colour_profile"]
    assert off(pixels, expected) < 3
    data = pillow(tmp_path / "b", image, "PNG").read_bytes()
    (tmp_path / "b").write_bytes(
        data[:33] + png_chunk(b"gAMA", struct.pack(">I", 100000)) + data[33:]
    )
    pixels, codes = read(tmp_path / "b")
    assert codes == ["colour_profile"]
    assert off(pixels, expected) < 3
    data = png_16(tmp_path / "c", linear(expected, 65535)).read_bytes()
    (tmp_path / "c").write_bytes(
        data[:33] + png_chunk(b"gAMA", struct.pack(">I", 100000)) + data[33:]
    )
    pixels, codes = read(tmp_path / "c")
    assert codes == ["colour_profile", "scaled_to_8_bit"]
    assert off(pixels, expected) < 3


def test_a_wide_gamut_is_brought_to_srgb_and_srgb_is_left_alone(tmp_path: Path) -> None:
    wide = np.zeros((8, 8, 3), np.uint8) + np.array([90, 160, 90], np.uint8)
    path = pillow(tmp_path / "p", Image.fromarray(wide), "PNG", icc_profile=profile("wide"))
    pixels, codes = read(path)
    assert codes == ["colour_profile"]
    # P3 to sRGB of this green by the matrices of the two colour spaces, gamma 2.2
    assert np.abs(pixels[0, 0].astype(int) - [57, 162, 83]).max() <= 3
    plain = pillow(tmp_path / "q", Image.fromarray(RGB), "PNG", icc_profile=profile("srgb"))
    pixels, codes = read(plain)
    assert codes == []
    assert np.array_equal(pixels, RGB)


@pytest.mark.parametrize("icc", [b"garbage", profile("linear grey"), profile("linear")[:200]])
def test_a_profile_that_does_not_fit_is_named(icc: bytes, tmp_path: Path) -> None:
    path = pillow(tmp_path / "p", Image.fromarray(RGB), "PNG", icc_profile=icc)
    pixels, codes = read(path)
    assert codes == ["damaged_profile"]
    assert np.array_equal(pixels, RGB)


WALL = (0.2 * RGB + 0.8 * grey()[..., None]).astype(np.uint8)  # colours as pale as concrete's


def inks() -> Array:
    return np.asarray(Image.fromarray(WALL).convert("CMYK"))


def black_inks() -> Array:
    """Return inks of the picture with as much black ink as there can be."""
    light = WALL.max(axis=2).astype(float)
    key = 255 - light
    rest = 255 * (1 - WALL / np.maximum(light, 1)[..., None])
    return np.rint(np.dstack([rest, key])).astype(np.uint8)


def without_adobe(data: bytes) -> bytes:
    at = data.find(b"\xff\xee")
    return data[:at] + data[at + 2 + int.from_bytes(data[at + 2 : at + 4], "big") :]


@pytest.mark.parametrize("values", [inks, black_inks])
@pytest.mark.parametrize("stored", ["inverted", "plain"])
@pytest.mark.parametrize("marked", [True, False])
def test_inks_are_never_taken_for_their_negative(
    values: Any, stored: str, marked: bool, tmp_path: Path
) -> None:
    samples = 255 - values() if stored == "inverted" else values()
    data = imagecodecs.jpeg8_encode(samples, level=98, colorspace="cmyk", outcolorspace="cmyk")
    (tmp_path / "p").write_bytes(data if marked else without_adobe(data))
    pixels, codes = read(tmp_path / "p")
    assert codes == ["cmyk_converted"]
    assert np.abs(pixels.astype(int) - WALL).mean() < 12


def test_inks_coded_as_ycck_and_deep_inks(tmp_path: Path) -> None:
    data = imagecodecs.jpeg8_encode(255 - inks(), level=98, colorspace="cmyk", outcolorspace="ycck")
    (tmp_path / "p").write_bytes(data)
    assert np.abs(read(tmp_path / "p")[0].astype(int) - WALL).mean() < 6
    deep = tiff(tmp_path / "q", inks().astype(np.uint16) * 257, photometric="separated")
    pixels, codes = read(deep)
    assert codes == ["cmyk_converted"]
    assert np.abs(pixels.astype(int) - WALL).mean() < 2


def twelve_bit(**options: Any) -> bytes:
    data = imagecodecs.jpeg8_encode(
        RGB.astype(np.uint16) * 16, level=98, bitspersample=12, **options
    )
    return bytes(data)


def test_a_twelve_bit_jpeg_is_read_with_its_metadata(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "DJI", 3
    block = b"Exif\0\0" + exif.tobytes()[6:] if exif.tobytes()[:4] == b"Exif" else exif.tobytes()
    data = twelve_bit()
    app = b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block
    (tmp_path / "p").write_bytes(data[:2] + app + data[2:])
    pixels, codes = read(tmp_path / "p")
    assert codes == ["scaled_to_8_bit"]
    assert np.abs(pixels.astype(float) - RGB[::-1, ::-1]).mean() < 2
    with open_image(tmp_path / "p") as image:
        assert image.info.camera == "DJI"


def test_a_lossless_jpeg_is_read(tmp_path: Path) -> None:
    data = imagecodecs.jpeg8_encode(RGB, lossless=True)
    (tmp_path / "p").write_bytes(data)
    pixels, codes = read(tmp_path / "p")
    assert np.array_equal(pixels, RGB)
    assert codes == []


def test_rare_kinds_of_jpeg_are_named_not_called_damaged(tmp_path: Path) -> None:
    data = bytearray(encoded("JPEG", quality=90))
    at = data.find(b"\xff\xc0")
    for mark, words in ((0xF7, "JPEG-LS"), (0xC5, "hierarchical")):
        data[at + 1] = mark
        (tmp_path / "p").write_bytes(data)
        with pytest.raises(UnsupportedImage, match=words):
            open_image(tmp_path / "p")
    data[at + 1], data[at + 9] = 0xC0, 2
    (tmp_path / "p").write_bytes(data)
    with pytest.raises(UnsupportedImage, match="2 channels"):
        open_image(tmp_path / "p")
