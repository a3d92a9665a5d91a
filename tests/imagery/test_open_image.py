"""Every kind of file becomes the same upright RGB picture, or a sentence that says why not."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import random
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from pictures import SEEDS, encoded, grey, picture, pillow, png_16, png_chunk, tiff
from PIL import Image, JpegImagePlugin

from crackseg.errors import ImageError, UnsupportedImage
from crackseg.imagery.files import ORIENTATIONS, open_image
from crackseg.imagery.segments import Segments
from crackseg.records import Array, Window

RGB = picture()
THREE = np.repeat(grey()[..., None], 3, axis=2)
WINDOW = Window(row=5, col=11, height=30, width=35)


def read_all(path: Path) -> tuple[Array, Array | None]:
    with open_image(path) as image:
        whole, valid = image.load()
        assert whole.dtype == np.uint8
        assert whole.shape == (image.info.height_px, image.info.width_px, 3)
        pixels, part = image.load(WINDOW)
        assert np.array_equal(pixels, whole[WINDOW.slices])
        if valid is not None:
            assert valid.dtype == bool
            expected = valid[WINDOW.slices]
            assert expected.all() if part is None else np.array_equal(part, expected)
        return whole, valid


EXACT: dict[str, tuple[Callable[[Path], Path], Array]] = {
    "png": (lambda p: pillow(p, Image.fromarray(RGB), "PNG"), RGB),
    "png grey": (lambda p: pillow(p, Image.fromarray(grey()), "PNG"), THREE),
    "png 1 bit": (
        lambda p: pillow(p, Image.fromarray(grey() > 99), "PNG"),
        np.where(THREE > 99, 255, 0),
    ),
    "tiff": (lambda p: tiff(p, RGB), RGB),
    "tiff grey": (lambda p: tiff(p, grey()), THREE),
    "tiff white is zero": (lambda p: tiff(p, grey(), photometric="miniswhite"), 255 - THREE),
    "tiff big endian": (lambda p: tiff(p, RGB, byteorder=">"), RGB),
    "tiff strips lzw": (lambda p: tiff(p, RGB, compression="lzw", rowsperstrip=7), RGB),
    "tiff tiles deflate": (lambda p: tiff(p, RGB, compression="zlib", tile=(16, 32)), RGB),
    "tiff predictor": (lambda p: tiff(p, RGB, compression="zlib", predictor=True), RGB),
    "tiff packbits": (lambda p: tiff(p, RGB, compression="packbits"), RGB),
    "tiff planes": (
        lambda p: tiff(p, np.moveaxis(RGB, 2, 0), photometric="rgb", planarconfig="separate"),
        RGB,
    ),
    "tiff planes tiled": (
        lambda p: tiff(
            p,
            np.moveaxis(RGB, 2, 0),
            photometric="rgb",
            planarconfig="separate",
            tile=(16, 16),
            compression="zlib",
        ),
        RGB,
    ),
    "bigtiff tiled": (lambda p: tiff(p, RGB, bigtiff=True, tile=(32, 32)), RGB),
    "tiff five bands": (
        lambda p: tiff(
            p, np.dstack([RGB, RGB[..., :2]]), photometric="minisblack", planarconfig="contig"
        ),
        RGB,
    ),
    "tiff 1 bit": (
        lambda p: pillow(p, Image.fromarray(grey() > 99), "TIFF", compression="group4"),
        np.where(THREE > 99, 255, 0),
    ),
}


@pytest.mark.parametrize("kind", EXACT)
def test_a_lossless_file_gives_its_pixels(kind: str, tmp_path: Path) -> None:
    write, expected = EXACT[kind]
    pixels, valid = read_all(write(tmp_path / "picture.bin"))
    assert np.array_equal(pixels, expected)
    assert valid is None


CLOSE: dict[str, Callable[[Path], Path]] = {
    "jpeg": lambda p: pillow(p, Image.fromarray(RGB), "JPEG", quality=95, subsampling=0),
    "jpeg progressive": lambda p: pillow(
        p, Image.fromarray(RGB), "JPEG", quality=95, progressive=True, subsampling=0
    ),
    "jpeg cmyk": lambda p: pillow(
        p, Image.fromarray(RGB).convert("CMYK"), "JPEG", quality=95, subsampling=0
    ),
    "tiff cmyk": lambda p: pillow(p, Image.fromarray(RGB).convert("CMYK"), "TIFF"),
    "tiff jpeg": lambda p: tiff(
        p, RGB, compression="jpeg", compressionargs={"level": 95}, tile=(32, 32)
    ),
    "tiff ycbcr jpeg": lambda p: pillow(
        p, Image.fromarray(RGB), "TIFF", compression="jpeg", quality=95
    ),
    "png palette": lambda p: pillow(p, Image.fromarray(RGB).quantize(256), "PNG"),
    "tiff palette": lambda p: pillow(p, Image.fromarray(RGB).quantize(256), "TIFF"),
    "mpo": lambda p: pillow(
        p,
        Image.fromarray(RGB),
        "MPO",
        save_all=True,
        append_images=[Image.fromarray(255 - RGB)],
        quality=95,
        subsampling=0,
    ),
}


@pytest.mark.parametrize("kind", CLOSE)
def test_a_lossy_file_gives_nearly_its_pixels(kind: str, tmp_path: Path) -> None:
    pixels, valid = read_all(CLOSE[kind](tmp_path / "picture"))
    assert np.abs(pixels.astype(int) - RGB).mean() < 5
    assert valid is None


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_the_exif_orientation_is_applied(kind: str, orientation: int, tmp_path: Path) -> None:
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    path = pillow(tmp_path / "p", Image.fromarray(RGB), kind, exif=exif)
    with Image.open(path) as stored:  # noqa: TID251 - the second opinion
        expected = np.asarray(ImageOps.exif_transpose(stored))
    pixels, _ = read_all(path)
    assert np.array_equal(pixels, expected)


TRANSPARENT = np.where(grey() > 120, 255, 0).astype(np.uint8)
RGBA = np.dstack([RGB, TRANSPARENT])


def with_nodata(path: Path, pixels: Array, nodata: str, **options: Any) -> Path:
    return tiff(path, pixels, extratags=[(42113, 2, 0, nodata, True)], **options)


def with_mask(path: Path) -> Path:
    with tifffile.TiffWriter(path) as file:
        file.write(RGB, photometric="rgb", tile=(16, 16))
        file.write(RGB[::2, ::2], photometric="rgb", subfiletype=1)
        file.write(TRANSPARENT > 0, photometric=4, subfiletype=4)
    return path


MARKED = np.where((TRANSPARENT == 0)[..., None], 7, RGB).astype(np.uint8)
MASKED: dict[str, Callable[[Path], Path]] = {
    "png alpha": lambda p: pillow(p, Image.fromarray(RGBA), "PNG"),
    "png grey alpha": lambda p: pillow(p, Image.fromarray(RGBA[..., 2:]), "PNG"),
    "tiff alpha": lambda p: tiff(p, RGBA, extrasamples=["unassalpha"]),
    "tiff associated alpha": lambda p: tiff(p, RGBA, extrasamples=["assocalpha"], tile=(16, 16)),
    "tiff no-data": lambda p: with_nodata(p, MARKED, "7 "),
    "tiff no-data of a float": lambda p: with_nodata(
        p, np.where(TRANSPARENT > 0, grey().astype(np.float32), np.float32(-9999)), "-9999"
    ),
    "tiff nan": lambda p: tiff(p, np.where(TRANSPARENT > 0, grey(), np.nan).astype(np.float32)),
    "tiff mask page": with_mask,
}


@pytest.mark.parametrize("kind", MASKED)
def test_pixels_that_do_not_count_are_told(kind: str, tmp_path: Path) -> None:
    pixels, valid = read_all(MASKED[kind](tmp_path / "picture"))
    assert valid is not None
    assert np.array_equal(valid, TRANSPARENT > 0)
    with open_image(tmp_path / "picture") as image:
        assert "multi_page" not in [n.code for n in image.info.notices]
    assert pixels[valid].std() > 10


def test_opaque_alpha_says_nothing(tmp_path: Path) -> None:
    opaque = np.dstack([RGB, np.full_like(grey(), 255)])
    for write in (
        lambda p: pillow(p, Image.fromarray(opaque), "PNG"),
        lambda p: tiff(p, opaque, extrasamples=["unassalpha"]),
    ):
        pixels, valid = read_all(write(tmp_path / "p"))
        assert valid is None
        assert np.array_equal(pixels, RGB)


def test_segments_that_were_never_written_do_not_count(tmp_path: Path) -> None:
    path = tiff(tmp_path / "p", RGB, tile=(16, 16), compression="zlib")
    with tifffile.TiffFile(path, mode="r+b") as file:
        counts = list(file.pages[0].databytecounts)
        counts[0] = 0
        file.pages[0].tags["TileByteCounts"].overwrite(counts)
    _, valid = read_all(path)
    assert valid is not None
    assert not valid[:16, :16].any()
    assert valid.sum() == valid.size - 256


def twelve_bit() -> Array:
    """Return (H, W) uint16 from 0 to 4095, as many cameras store it."""
    return np.linspace(0, 4095, 48 * 70).reshape(48, 70).astype(np.uint16)


DEEP: dict[str, Callable[[Path], Path]] = {
    "png grey": lambda p: pillow(p, Image.fromarray(twelve_bit()), "PNG"),
    "png rgb": lambda p: png_16(p, np.dstack([twelve_bit()] * 3)),
    "tiff grey": lambda p: tiff(p, twelve_bit(), tile=(16, 16), compression="zlib"),
    "tiff rgb": lambda p: tiff(p, np.dstack([twelve_bit()] * 3)),
    "tiff big endian": lambda p: tiff(p, twelve_bit(), byteorder=">"),
    "tiff int32": lambda p: tiff(p, twelve_bit().astype(np.int32)),
    "tiff float": lambda p: tiff(p, twelve_bit().astype(np.float32)),
}


@pytest.mark.parametrize("kind", DEEP)
def test_deep_values_are_scaled_by_their_real_range(kind: str, tmp_path: Path) -> None:
    path = DEEP[kind](tmp_path / "p")
    pixels, valid = read_all(path)
    expected = np.rint(twelve_bit() * (255 / 4095))
    assert np.abs(pixels[..., 0] - expected).max() <= 1
    assert len(np.unique(pixels)) == 256
    assert valid is None
    with open_image(path) as image:
        assert image.info.notices == ()  # the range is not known from the header
        (notice,) = image.decode()
        assert image.decode() == (notice,)
    assert notice.code == "scaled_to_8_bit"
    assert "0 to 4095" in notice.message


FAINT = (100 + RGB // 16).astype(np.uint8)  # of 15 grey levels
COPIES: dict[str, Callable[[Path, Array], Path]] = {
    "png 16": lambda p, rgb: png_16(p, rgb.astype(np.uint16) * 257),
    "tiff 16": lambda p, rgb: tiff(p, rgb.astype(np.uint16) * 257, rowsperstrip=7),
    "tiff grey": lambda p, rgb: tiff(p, rgb[..., 1].astype(np.uint16) * 257),
    "8 bit in 16": lambda p, rgb: tiff(p, rgb.astype(np.uint16)),
    "tiff 12": lambda p, rgb: tiff(
        p, np.rint(rgb[..., 1] * (4095 / 255)).astype(np.uint16), bitspersample=12
    ),
    "int32": lambda p, rgb: tiff(p, rgb.astype(np.int32) * 257),
    "float to 1": lambda p, rgb: tiff(p, (rgb / 255).astype(np.float32)),
    "double to 1": lambda p, rgb: tiff(p, rgb / 255, tile=(16, 16)),
    "float to 255": lambda p, rgb: tiff(p, rgb.astype(np.float32)),
}


@pytest.mark.parametrize("rgb", [RGB, FAINT], ids=["usual", "faint"])
@pytest.mark.parametrize("kind", COPIES)
def test_a_copy_in_more_bits_is_read_as_the_photograph(
    kind: str, rgb: Array, tmp_path: Path
) -> None:
    with open_image(COPIES[kind](tmp_path / "p", rgb)) as image:
        (notice,) = image.decode()
        pixels = image.read()
    assert notice.code == "scaled_to_8_bit"
    grey = kind in ("tiff grey", "tiff 12")
    assert np.array_equal(pixels, np.repeat(rgb[..., 1:2], 3, axis=2) if grey else rgb)


def noisy(low: float, high: float) -> Array:
    """Return (200, 200) floats over a range, in no steps of 8 bit."""
    return np.random.default_rng(0).uniform(low, high, (200, 200))


@pytest.mark.parametrize(
    ("values", "top"),
    [
        (noisy(15000, 50000).astype(np.uint16), 65535),
        (noisy(9000, 16000).astype(np.uint16), 16383),
        (noisy(-0.01, 1.02).astype(np.float32), 1),  # sharpened
        (noisy(0.6, 3.7), 3.7),
        (noisy(3e5, 2e6).astype(np.uint32), 2e6),
    ],
)
def test_black_stays_black(values: Array, top: float, tmp_path: Path) -> None:
    with open_image(tiff(tmp_path / "p", values)) as image:
        assert [notice.code for notice in image.decode()] == ["scaled_to_8_bit"]
        pixels = image.read()[..., 0]
    expected = values.clip(0, top) * (255 / top)
    assert np.abs(pixels - expected).max() < 1


@pytest.mark.parametrize("values", [noisy(30000, 31000).astype(np.uint16), noisy(-3, 1)])
def test_what_had_to_be_stretched_is_said(values: Array, tmp_path: Path) -> None:
    with open_image(tiff(tmp_path / "p", values)) as image:
        (notice,) = image.decode()
        pixels = image.read()
    assert (pixels.min(), pixels.max()) == (0, 255)
    assert notice.code == "stretched_to_8_bit"
    assert "widths under about 3 px may be wrong" in notice.message


@pytest.mark.parametrize("bits", [2, 4])
def test_few_bits_are_scaled_up(bits: int, tmp_path: Path) -> None:
    values = (np.arange(48 * 70).reshape(48, 70) % 2**bits).astype(np.uint8)
    pixels, _ = read_all(tiff(tmp_path / "p", values, bitspersample=bits))
    assert np.abs(pixels[..., 0] - values * (255 / (2**bits - 1))).max() < 1


@pytest.mark.parametrize("kind", ["png grey", "tiff grey"])
def test_opening_deep_values_decodes_none(kind: str, tmp_path: Path) -> None:
    path = DEEP[kind](tmp_path / "p")
    content = path.read_bytes()
    start = content.index(b"IDAT") + 20 if kind.startswith("png") else len(content) - 60
    path.write_bytes(content[:start] + bytes(40) + content[start + 40 :])
    with open_image(path) as image:  # the header is whole, the pixels are not
        assert (image.info.height_px, image.info.width_px) == (48, 70)
        with pytest.raises(ImageError):
            image.decode()


def test_hot_and_dead_pixels_do_not_set_the_range(tmp_path: Path) -> None:
    values = (np.arange(40000).reshape(200, 200) % 1000 + 30000).astype(np.uint16)
    values[3, 3], values[9, 9] = 65535, 0
    with open_image(tiff(tmp_path / "p", values)) as image:
        assert "30000 to 30999" in image.decode()[0].message
        pixels = image.read()
    assert pixels.std() > 60
    assert (pixels[3, 3, 0], pixels[9, 9, 0]) == (255, 0)


def test_the_range_leaves_out_what_does_not_count(tmp_path: Path) -> None:
    values = twelve_bit()
    values[:20] = 65535
    with open_image(with_nodata(tmp_path / "p", values, "65535")) as image:
        assert "to 4095" in image.decode()[0].message


def test_of_several_pages_the_first_is_read_and_said(tmp_path: Path) -> None:
    pages = np.stack([RGB, 255 - RGB, RGB])
    pixels, _ = read_all(tiff(tmp_path / "p", pages))
    assert np.array_equal(pixels, RGB)
    with open_image(tmp_path / "p") as image:
        assert [n.code for n in image.info.notices] == ["multi_page"]


def test_ten_thousand_pages_cost_nothing(tmp_path: Path) -> None:
    path = tmp_path / "p"
    tifffile.imwrite(path, np.zeros((3000, 16, 16), np.uint8), photometric="minisblack")
    start = time.process_time()
    with open_image(path) as image:
        assert image.read().shape == (16, 16, 3)
    assert time.process_time() - start < 1.0


def test_what_the_header_says_is_in_the_record(tmp_path: Path) -> None:
    path = tmp_path / "Staumauer Süd – 堤防 №7.JPG"
    path.write_bytes(SEEDS["jpeg with metadata"]())
    with open_image(path) as image:
        info = image.info
    assert (info.height_px, info.width_px, info.format) == (70, 48, "JPEG")  # orientation 6
    assert info.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert info.camera == "DJI"
    assert info.gps is not None
    assert info.gps.lat_deg == pytest.approx(46 + 30 / 60 + 15.5 / 3600)
    assert info.metadata["focal_length_35mm"] == 24
    assert info.metadata["orientation"] == 6
    assert info.notices == ()


def test_the_format_goes_by_content_not_by_name(tmp_path: Path) -> None:
    for kind, name in [("PNG", "a.jpg"), ("JPEG", "b.tif"), ("TIFF", "c.png")]:
        with open_image(pillow(tmp_path / name, Image.fromarray(RGB), kind)) as image:
            assert image.info.format == kind


FOREIGN = {
    "gif": (encoded("GIF"), "a GIF"),
    "bmp": (encoded("BMP"), "a BMP"),
    "webp": (b"RIFF\x10\0\0\0WEBPVP8 ", "WebP"),
    "avif": (b"\0\0\0\x18ftypavif\0\0\0\0mif1", "AVIF"),
    "video": (b"\0\0\0\x18ftypmp42\0\0\0\0", "a video"),
    "pdf": (b"%PDF-1.7\n", "a PDF"),
    "svg": (b"  <svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
    "zip": (b"PK\x03\x04rest", "ZIP archive"),
    "html": (b"<!DOCTYPE html><html>", "web page"),
    "fits": (b"SIMPLE  =                    T", "FITS"),
    "eps": (b"%!PS-Adobe-3.0 EPSF-3.0", "PostScript"),
    "text": (b"hello, world", "not an image"),
    "one byte": (b"\xff", "not an image"),
    "html before a jpeg": (b"<html>" + encoded("JPEG"), "web page"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_another_kind_of_file_is_named(kind: str, tmp_path: Path) -> None:
    data, words = FOREIGN[kind]
    path = tmp_path / "photo.jpg"
    path.write_bytes(data)
    with pytest.raises(ImageError, match=rf"photo\.jpg.*{words}.*expected JPEG, PNG or TIFF"):
        open_image(path)


def test_camera_raw_in_a_tiff_is_named(tmp_path: Path) -> None:
    version = [(50706, 1, 4, (1, 4, 0, 0), True)]
    with pytest.raises(ImageError, match="DNG or another camera raw"):
        open_image(tiff(tmp_path / "dng.tif", RGB, extratags=version))
    with pytest.raises(ImageError, match="preview only"):
        open_image(tiff(tmp_path / "nef.tif", RGB, subfiletype=1))
    with pytest.raises(ImageError, match="stores colours as"):
        open_image(tiff(tmp_path / "lab.tif", RGB, photometric="cielab"))
    with pytest.raises(ImageError, match="complex"):
        open_image(tiff(tmp_path / "c.tif", grey().astype(np.complex64)))


def test_missing_empty_and_folder_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    os.mkfifo(tmp_path / "pipe.jpg")
    for name, words in [
        ("empty.jpg", "is empty"),
        ("nothing.jpg", "does not exist"),
        ("pipe.jpg", "not a regular file"),
        ("", "is a folder"),
    ]:
        with pytest.raises(ImageError, match=words):
            open_image(tmp_path / name)
    with pytest.raises(ImageError, match=r"cannot be read|does not exist"):
        open_image("a\0b")


def test_no_permission_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pillow(tmp_path / "p.png", Image.fromarray(RGB), "PNG")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")  # the tests may run as root

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ImageError, match="permission denied"):
        open_image(path)


def try_all(path: Path) -> Array:
    with open_image(path) as image:
        return image.read()


@pytest.mark.parametrize("kind", SEEDS)
def test_a_cut_file_is_always_an_error(kind: str, tmp_path: Path) -> None:
    data = SEEDS[kind]()
    path = tmp_path / "cut"
    for percent in range(5, 100, 5):
        path.write_bytes(data[: len(data) * percent // 100])
        with pytest.raises(ImageError):
            try_all(path)
    path.write_bytes(data + b"\0" * 100)  # what follows the end does no harm
    assert try_all(path).shape[2] == 3


@pytest.mark.parametrize("kind", ["jpeg", "jpeg progressive", "jpeg with metadata"])
def test_a_jpeg_copied_half_and_filled_with_zeros_is_an_error(kind: str, tmp_path: Path) -> None:
    data = SEEDS[kind]()
    path = tmp_path / "half"
    path.write_bytes(data[: len(data) * 3 // 4].ljust(len(data), b"\0"))
    with pytest.raises(ImageError, match="cut"):
        try_all(path)


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("more", [{}, {"subsampling": 0}, {"subsampling": 1}, {"quality": 20}])
def test_a_jpeg_of_a_camera_shows_what_pillow_shows_without_its_copies(
    mode: str, more: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "p.jpg"
    Image.fromarray(RGB).convert(mode).save(path, **more)
    with path.open("rb") as file:
        expected = np.asarray(JpegImagePlugin.JpegImageFile(file).convert("RGB"))
    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "load", None)
    assert np.array_equal(try_all(path), expected)


def test_an_mpo_may_lose_its_second_picture_but_not_its_first(tmp_path: Path) -> None:
    path = CLOSE["mpo"](tmp_path / "p")
    data = path.read_bytes()
    end = data.index(b"\xff\xd9")
    path.write_bytes(data[: end + 40])
    assert np.abs(try_all(path).astype(int) - RGB).mean() < 5
    path.write_bytes(data[: end - 40])
    with pytest.raises(ImageError):
        try_all(path)


def flat_png(width: int, height: int, channels: int = 3) -> bytes:
    """Return a true PNG of one colour: deflate at its best."""
    packer = zlib.compressobj(9)
    row = b"\0" * (channels * width + 1)
    body = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    colour = {1: 0, 3: 2}[channels]
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", body), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*c) for c in chunks)


def test_an_empty_mask_is_no_bomb(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    path.write_bytes(flat_png(5472, 3648, 1))
    with open_image(path, is_mask=True) as image:
        assert not image.read(Window(row=0, col=0, height=9, width=9)).any()


def lying_jpeg(width: int, height: int) -> bytes:
    data = bytearray(encoded("JPEG"))
    frame = data.index(b"\xff\xc0") + 5
    data[frame : frame + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def lying_tiff(width: int, height: int, **options: Any) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, RGB, photometric="rgb", **options)
    buffer.seek(0)
    with tifffile.TiffFile(buffer, mode="r+b") as file:
        file.pages[0].tags["ImageWidth"].overwrite(width)
        file.pages[0].tags["ImageLength"].overwrite(height)
    return buffer.getvalue()


def lying_png(width: int, height: int) -> bytes:
    data = bytearray(encoded("PNG"))
    header = struct.pack(">II", width, height) + bytes(data[24:29])
    data[8:33] = png_chunk(b"IHDR", header)
    return bytes(data)


BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "jpeg 65500": (lambda: lying_jpeg(65500, 65500), "4290 megapixels"),
    "jpeg 16000": (lambda: lying_jpeg(16000, 16000), "bomb"),
    "png 60000": (lambda: lying_png(60000, 60000), "3600 megapixels"),
    "png 16000": (lambda: lying_png(16000, 16000), "bomb"),
    "true flat png": (lambda: flat_png(6000, 4000), "bomb"),
    "tiff deflate": (lambda: lying_tiff(30000, 30000, compression="zlib"), "bomb"),
    "tiff million": (lambda: lying_tiff(1_000_000, 1_000_000), "megapixels"),
    "tiff cut": (lambda: lying_tiff(2000, 2000), "cut"),
    "tiff tiles missing": (lambda: lying_tiff(2000, 2000, tile=(16, 16)), "listed"),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_is_refused_from_its_header(kind: str, tmp_path: Path) -> None:
    make, words = BOMBS[kind]
    path = tmp_path / "bomb"
    path.write_bytes(make())
    start = time.process_time()
    with pytest.raises(ImageError, match=words):
        open_image(path)
    assert time.process_time() - start < 0.5


def test_the_pixel_limit_is_the_callers(tmp_path: Path) -> None:
    path = pillow(tmp_path / "p.png", Image.fromarray(RGB), "PNG")
    open_image(path, max_megapixels=0.00337).close()
    with pytest.raises(ImageError, match=r"limit of 0\.003; raise `max_megapixels`"):
        open_image(path, max_megapixels=0.003)


def test_a_text_bomb_in_a_png_is_refused(tmp_path: Path) -> None:
    text = png_chunk(b"zTXt", b"k\0\0" + zlib.compress(b"\0" * 80_000_000, 9))
    data = encoded("PNG")
    (tmp_path / "p.png").write_bytes(data[:33] + text + data[33:])
    with pytest.raises(ImageError, match="too large"):
        open_image(tmp_path / "p.png")


def test_a_window_outside_is_an_error(tmp_path: Path) -> None:
    with (
        open_image(pillow(tmp_path / "p.png", Image.fromarray(RGB), "PNG")) as image,
        pytest.raises(ImageError, match="leaves"),
    ):
        image.read(Window(row=40, col=0, height=9, width=5))


def test_a_closed_image_says_so(tmp_path: Path) -> None:
    image = open_image(pillow(tmp_path / "p.png", Image.fromarray(RGB), "PNG"))
    image.read()
    image.close()
    with pytest.raises(ImageError, match="closed"):
        image.read()


def test_a_large_raster_decodes_only_what_a_window_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tiff(tmp_path / "p", picture(1000, 1200), tile=(128, 128), compression="zlib")
    decoded: list[int] = []
    real = Segments._decode

    def counted(self: Segments, index: int) -> Array | None:
        decoded.append(index)
        return real(self, index)

    monkeypatch.setattr(Segments, "_decode", counted)
    monkeypatch.setattr("crackseg.imagery.segments.CACHE_BYTES", 12 * 128 * 128 * 3)
    with open_image(path) as image:
        image.read(Window(row=130, col=130, height=100, width=100))
        assert decoded == [11]
        image.read(Window(row=120, col=120, height=100, width=100))
        assert sorted(decoded) == [0, 1, 10, 11]
        image.read()
        assert image._source.load.__self__.segments._cached_bytes <= 12 * 128 * 128 * 3


def mutants(count: int, seed: int) -> Any:
    """Yield deterministic damage to every kind of file: bytes, runs, cuts, swaps, insertions."""
    random_ = random.Random(seed)
    originals = [make() for make in SEEDS.values()]
    for index in range(count):
        data = bytearray(originals[index % len(originals)])
        for _ in range(random_.choice((1, 1, 2, 4, 16))):
            reach = len(data) if random_.random() < 0.5 else min(100, len(data))
            at = random_.randrange(reach)
            action = random_.randrange(5)
            if action == 0:
                data[at] = random_.randrange(256)
            elif action == 1:
                data[at : at + 4] = random_.choice(
                    (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f")
                )
            elif action == 2:
                del data[at : at + random_.randrange(1, 40)]
            elif action == 3:
                data[at:at] = random_.randbytes(random_.randrange(1, 20))
            else:
                data[at] ^= 1 << random_.randrange(8)
        yield bytes(data)


def survive(count: int, seed: int, path: Path) -> int:
    """Return how many mutants were read; anything but pixels or an ImageError fails the test."""
    read = 0
    for data in mutants(count, seed):
        path.write_bytes(data)
        start = time.process_time()
        with contextlib.suppress(ImageError):
            assert try_all(path).ndim == 3
            read += 1
        assert time.process_time() - start < 5
    return read


def test_damaged_files_are_read_or_refused(tmp_path: Path) -> None:
    assert 30 < survive(300, 1, tmp_path / "mutant") < 270


@pytest.mark.slow
def test_ten_thousand_damaged_files_are_read_or_refused(tmp_path: Path) -> None:
    assert 1000 < survive(10_000, 2, tmp_path / "mutant") < 9000


def test_a_tiff_with_strips_of_no_rows_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "strips.tif"
    tifffile.imwrite(path, np.full((64, 64), 9, np.uint8), rowsperstrip=16, compression="zlib")
    with tifffile.TiffFile(path, mode="r+b") as file:
        file.pages[0].tags["RowsPerStrip"].overwrite(0)
    with pytest.raises(ImageError, match="strips without a pixel"):
        open_image(path)


DEEP_FILES: dict[str, Callable[[Path], Path]] = {
    "png": lambda p: png_16(p, np.dstack([twelve_bit()] * 3)),
    "tiff": lambda p: tiff(p, twelve_bit(), tile=(16, 16), compression="zlib"),
    "jpeg": lambda p: pillow(p, Image.fromarray(RGB), "JPEG"),
}


@pytest.mark.parametrize("kind", DEEP_FILES)
def test_opening_reads_the_header_alone(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = DEEP_FILES[kind](tmp_path / "p")

    def decoded(*_: Any, **__: Any) -> None:
        raise AssertionError("a pixel was decoded")

    with monkeypatch.context() as patch:
        patch.setattr("imagecodecs.png_decode", decoded)
        patch.setattr("PIL.ImageFile.ImageFile.load", decoded)
        patch.setattr(Segments, "read", decoded)
        image = open_image(path)
        assert image.info.height_px == 48
    with image:
        assert image.read().shape == (48, 70, 3)


def test_a_digest_that_is_known_is_not_computed_again(tmp_path: Path) -> None:
    path = pillow(tmp_path / "p", Image.fromarray(RGB), "PNG")
    with open_image(path, sha256="known") as image:
        assert image.info.sha256 == "known"


def test_pixels_are_those_of_the_digest_whatever_becomes_of_the_name(tmp_path: Path) -> None:
    path = tiff(tmp_path / "p", RGB, tile=(16, 16), compression="zlib")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with open_image(path) as image:
        tiff(tmp_path / "q", 255 - RGB, tile=(16, 16), compression="zlib").replace(path)
        assert image.info.sha256 == digest
        assert np.array_equal(image.read(), RGB)


def test_a_still_is_read_once_and_not_touched_by_what_is_written_later(tmp_path: Path) -> None:
    path = pillow(tmp_path / "p", Image.fromarray(RGB), "PNG")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with open_image(path) as image:
        path.write_bytes(b"something else")
        assert image.info.sha256 == digest
        assert np.array_equal(image.read(), RGB)


def test_a_raster_that_is_written_to_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    path = tiff(tmp_path / "p", RGB, tile=(16, 16), compression="zlib")
    with open_image(path) as image:
        image.read(WINDOW)
        with path.open("ab") as file:
            file.write(b"\0")
        with pytest.raises(ImageError, match="`p` changed while it was read; run again"):
            image.read(WINDOW)
    with open_image(path) as image:
        facts = path.stat()
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns + 1))
        with pytest.raises(ImageError, match="changed while it was read"):
            image.read(WINDOW)


def test_other_kinds_are_unsupported_and_damaged_ones_are_not(tmp_path: Path) -> None:
    path = tmp_path / "told by content.jpg"
    path.write_bytes(FOREIGN["gif"][0])
    with pytest.raises(UnsupportedImage):
        open_image(path)
    path.write_bytes(encoded("JPEG")[:40])
    with pytest.raises(ImageError) as caught:
        open_image(path)
    assert not isinstance(caught.value, UnsupportedImage)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_jpeg_that_lost_its_end_but_has_an_end_mark_is_flagged(
    tmp_path: Path, orientation: int
) -> None:
    def codes() -> list[str]:
        with open_image(path) as image:
            return [notice.code for notice in image.decode()]

    pixels = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    path, exif = tmp_path / "p.jpg", Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif)
    assert codes() == []
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + b"\xff\xd9")
    assert codes() == ["flat_end"]
    Image.fromarray(np.full_like(pixels, 99)).save(path)
    assert codes() == []


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.uint16])
def test_a_hot_and_a_dead_pixel_do_not_make_a_deep_picture_flat(
    dtype: type, tmp_path: Path
) -> None:
    grey = np.random.default_rng(0).integers(100, 180, (200, 240)).astype(dtype)
    plain = tiff(tmp_path / "plain.tif", grey, photometric="minisblack")
    grey[50, 60], grey[80, 90] = np.iinfo(np.uint16).max, 0
    spoilt = tiff(tmp_path / "spoilt.tif", grey, photometric="minisblack")
    with open_image(plain) as one, open_image(spoilt) as two:
        off = np.abs(one.read().astype(int) - two.read())
    assert off.mean() < 3
