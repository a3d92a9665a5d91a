"""One crack in the masks of many programs: the same pixels, or a refusal that says how to go on."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from pictures import png_chunk
from PIL import Image

from crackseg.errors import ConfigError, DataError, ImageError
from crackseg.imagery.files import open_image
from crackseg.imagery.masks import Mask, MaskRule, read_mask, refuse_missed
from crackseg.records import Array

SHAPE = (80, 120)
VOC = [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0] + [0] * 753 + [224, 224, 192]
Save = Callable[[Path], object]


def line() -> Array:
    """Return (H, W) uint8: 1 on a line of 4 x 60 px that no turn brings onto itself."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[28:32, 20:80] = 1
    return mask


def other() -> Array:
    """Return (H, W) bool: a second line that is no crack."""
    mask = np.zeros(SHAPE, bool)
    mask[60:64, 20:80] = True
    return mask


def classes(crack: int, another: int) -> Array:
    values = line() * crack
    values[other()] = another
    return values.astype(np.uint8)


def colours(crack: tuple[int, ...], ground: tuple[int, ...]) -> Image.Image:
    table = np.array([ground, crack], np.uint8)
    return Image.fromarray(table[line()])


def palette(values: Array, colours: list[int], **info: object) -> Save:
    def save(path: Path) -> None:
        picture = Image.frombytes("P", SHAPE[::-1], values.astype(np.uint8).tobytes())
        picture.putpalette(colours)
        picture.save(path, format="PNG", **info)

    return save


def png(values: Array | Image.Image) -> Save:
    picture = values if isinstance(values, Image.Image) else Image.fromarray(values)
    return lambda path: picture.save(path, format="PNG")


def jpeg(values: Array | Image.Image, quality: int = 75) -> Save:
    picture = values if isinstance(values, Image.Image) else Image.fromarray(values)
    return lambda path: picture.save(path, format="JPEG", quality=quality)


def tiff(values: Array, **options: object) -> Save:
    return lambda path: tifffile.imwrite(path, values, **{"photometric": "minisblack", **options})


def group4(path: Path) -> None:
    bits = Image.fromarray(line() * 255).convert("1")
    bits.save(path, format="TIFF", compression="group4", tiffinfo={262: 0})


def two_bits(path: Path) -> None:
    """Write the classes 1 and 2 as a grey PNG of two bits, which Pillow cannot."""
    four = classes(1, 2).reshape(SHAPE[0], -1, 4).astype(np.uint8)
    packed = four @ np.array([64, 16, 4, 1], np.uint8)
    rows = b"".join(b"\0" + row.tobytes() for row in packed.astype(np.uint8))
    header = struct.pack(">IIBBBBB", SHAPE[1], SHAPE[0], 2, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*c) for c in chunks))


def soft(values: Array) -> Array:
    return cv2.GaussianBlur(values, (0, 0), 1.2)


def tiff_of(*pages: tuple[Array, dict[str, object]]) -> Save:
    def save(path: Path) -> None:
        with tifffile.TiffWriter(path) as file:
            for values, options in pages:
                file.write(values, photometric="minisblack", **options)

    return save


def drawn_on_nothing(
    colour: tuple[int, int, int], hidden: tuple[int, int, int], alpha: int = 255
) -> Image.Image:
    table = np.array([(*hidden, 0), (*colour, alpha)], np.uint8)
    return Image.fromarray(table[line()])


READ: dict[str, Save] = {
    "0 and 1": png(line()),
    "0 and 128": png(line() * 128),
    "0 and 255": png(line() * 255),
    "classes 1 and 2": png(line() + 1),
    "one bit": png(Image.fromarray(line() * 255).convert("1")),
    "fax, white as 0": group4,
    "16-bit id": png(line().astype(np.uint16) * 26001),
    "16-bit white": png(line().astype(np.uint16) * 65535),
    "float": tiff(line().astype(np.float32)),
    "signed": tiff(line().astype(np.int16)),
    "planes apart": tiff(np.stack([line() * 255] * 3), photometric="rgb", planarconfig="separate"),
    "no-data is 0": tiff(line(), extratags=[(42113, "s", 0, "0", True)]),
    "white": png(colours((255, 255, 255), (0, 0, 0))),
    "red": png(colours((255, 0, 0), (0, 0, 0))),
    "dark blue": png(colours((0, 0, 128), (0, 0, 0))),
    "red on white": png(colours((255, 0, 0), (255, 255, 255))),
    "VOC palette": palette(line(), VOC),
    "palette, ground last": palette(1 - line(), [255, 0, 0, 0, 0, 0]),
    "palette, white ground": palette(line(), [255, 255, 255, 200, 0, 0]),
    "palette without colours": palette(line(), [0] * 768),
    "palette of greys, turned": palette(1 - line(), [255, 255, 255, 0, 0, 0]),
    "palette, ground clear": palette(line(), [9, 9, 9, 0, 200, 0], transparency=0),
    "alpha, white on white": png(drawn_on_nothing((255, 255, 255), (255, 255, 255))),
    "alpha, black on black": png(drawn_on_nothing((0, 0, 0), (0, 0, 0))),
    "alpha, all opaque": png(colours((255, 255, 255, 255), (0, 0, 0, 255))),
    "alpha, drawn faintly": png(drawn_on_nothing((255, 0, 0), (0, 0, 0), 100)),
    "palette, drawn faintly": palette(line(), [0, 0, 0, 9, 200, 0], transparency=bytes([0, 90])),
    "float, crack is infinite": tiff(np.where(line(), np.inf, 0).astype(np.float32)),
    "float, ground unknown": tiff(np.where(line(), np.inf, np.nan).astype(np.float32)),
    "a page and a smaller one of it": tiff_of((line(), {}), (line()[::2, ::2], {"subfiletype": 1})),
    "a page and an empty one": tiff_of((line(), {}), (0 * line(), {})),
    "grey and alpha": png(Image.fromarray(np.dstack([line() * 0, line() * 255]), "LA")),
    "JPEG": jpeg(line() * 255),
    "JPEG with rings": jpeg(line() * 255, 30),
    "JPEG in colour": jpeg(colours((255, 255, 255), (0, 0, 0))),
    "soft edges": png(soft(line() * 255)),
    "soft edges, 16 bit": png(soft(line() * 255).astype(np.uint16) * 257),
    "soft edges, red": png(
        Image.fromarray(np.dstack([soft(line() * 255), 0 * line(), 0 * line()]))
    ),
}


@pytest.mark.parametrize("name", READ)
def test_the_line_is_read(name: str, tmp_path: Path) -> None:
    READ[name](tmp_path / "m")
    mask = read_mask(tmp_path / "m")
    changed = mask.pixels != (line() > 0)
    assert changed.sum() <= (4 if "soft" in name else 0)  # a blur rounds the four corners
    assert mask.soft == ("soft" in name or "JPEG" in name)


REFUSED: dict[str, tuple[Save, str]] = {
    "classes": (png(classes(1, 2)), "--values 1"),
    "bright classes": (png(classes(85, 170)), "several values"),
    "a bright class beside white": (png(classes(255, 170)), "several values"),
    "a faint line beside white": (png(classes(255, 90)), "several values"),
    "number 1 beside white": (png(classes(255, 1)), "several values"),
    "a faint soft line": (png(soft(classes(255, 110))), "several values"),
    "a probability map": (tiff(soft(classes(90, 60)).astype(np.float32) / 255), "--values 0.1"),
    "16-bit ids": (png(classes(1, 2).astype(np.uint16)), "several values"),
    "VOC with two classes": (palette(classes(1, 2), VOC), r"1 \(#800000\)"),
    "VOC with its void": (palette(classes(1, 255), VOC), r"255 \(#e0e0c0\)"),
    "VOC, void alone": (palette(line() * 255, VOC), r"255 \(#e0e0c0\)"),
    "two colours": (png(colours((255, 0, 0), (0, 0, 255))), "#ff0000"),
    "inverted": (png(255 - line() * 255), "--invert"),
    "inverted soft": (png(soft(255 - line() * 255)), "--invert"),
    "inverted palette": (palette(line(), [255, 255, 255, 0, 0, 0]), "--invert"),
    "all white": (png(line() * 0 + 255), "100.0%"),
    "all of class 1": (png(line() * 0 + 1), "100.0%"),
    "opaque but for the line": (
        png(Image.fromarray(np.dstack([255 * (1 - line())] * 4))),
        "--invert",
    ),
    "JPEG of classes": (jpeg(classes(1, 2)), "PNG"),
    "JPEG with a faint line": (jpeg(classes(255, 100)), "PNG"),
    "an empty page before it": (
        tiff_of((0 * line(), {}), (line(), {})),
        "first is of one value, and picture 2 is not",
    ),
    "colours under nothing": (
        png(drawn_on_nothing((255, 0, 0), (0, 0, 0), 0)),
        "transparent all over",
    ),
    "no data": (tiff(np.full(SHAPE, np.nan, np.float32)), "no data all over"),
    "CMYK": (lambda path: colours((255,) * 3, (0,) * 3).convert("CMYK").save(path, "TIFF"), "CMYK"),
    "CMYK in JPEG": (jpeg(colours((255,) * 3, (0,) * 3).convert("CMYK")), "CMYK"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_be_a_guess_is_refused(name: str, tmp_path: Path) -> None:
    save, words = REFUSED[name]
    save(tmp_path / "wall.png")
    with pytest.raises((DataError, ImageError), match=rf"`wall\.png`.*{words}"):
        read_mask(tmp_path / "wall.png")


CHOSEN: dict[str, tuple[Save, tuple[str, ...]]] = {
    "a class": (png(classes(1, 2)), ("1",)),
    "two classes": (png(classes(3, 0) + 2 * other().astype(np.uint8)), ("3",)),
    "16 bit": (png(classes(7, 9).astype(np.uint16) * 100), ("700",)),
    "a range": (png(classes(200, 90)), ("128-255",)),
    "float": (tiff(classes(1, 0).astype(np.float32) * 0.8 + 0.1 * other()), ("0.5-1",)),
    "an index": (palette(classes(1, 2), VOC), ("1",)),
    "an index of greys": (palette(classes(1, 2), [0, 0, 0, 255, 255, 255, 90, 90, 90]), ("1",)),
    "a palette's colour": (palette(classes(1, 2), VOC), ("#800000",)),
    "a colour": (png(colours((255, 0, 0), (0, 0, 255))), ("red",)),
    "two bits": (two_bits, ("1",)),
}


@pytest.mark.parametrize("name", CHOSEN)
def test_the_caller_says_what_is_crack(name: str, tmp_path: Path) -> None:
    save, values = CHOSEN[name]
    save(tmp_path / "m")
    mask = read_mask(tmp_path / "m", MaskRule(values=values))
    assert np.array_equal(mask.pixels, line() > 0)
    assert [notice.code for notice in mask.notices(MaskRule(values=values))] == ["mask_values"]


def test_values_that_make_most_of_a_picture_crack_are_warned_of(tmp_path: Path) -> None:
    rule = MaskRule(values=("0",))
    for name, save in {"dark": png(255 - line() * 255), "bright": png(line() * 255)}.items():
        save(tmp_path / name)
        notices = read_mask(tmp_path / name, rule).notices(rule)
        assert [n.code for n in notices] == ["mask_values", "mask_mostly_crack"][
            : 1 + (name == "bright")
        ]
    assert "% of the mask is crack (0)" in notices[1].message


def test_all_values_above_the_ground(tmp_path: Path) -> None:
    for name, save in {"ids": png(classes(3, 7)), "voc": palette(classes(1, 2), VOC)}.items():
        save(tmp_path / name)
        mask = read_mask(tmp_path / name, MaskRule(values=("all",)))
        assert np.array_equal(mask.pixels, (line() > 0) | other())


@pytest.mark.parametrize(
    "save",
    [
        png(255 - line() * 255),
        png(1 - line()),
        png(soft(255 - line() * 255)),
        jpeg(255 - line() * 255),
        palette(line(), [255, 255, 255, 0, 0, 0]),
    ],
)
def test_dark_on_bright_is_read_when_it_is_said(save: Save, tmp_path: Path) -> None:
    save(tmp_path / "m")
    changed = read_mask(tmp_path / "m", MaskRule(invert=True)).pixels != (line() > 0)
    assert changed.sum() <= 4
    png(line() * 255)(tmp_path / "n")
    with pytest.raises(DataError, match="leave out `--invert`"):
        read_mask(tmp_path / "n", MaskRule(invert=True))


def test_a_grey_line_on_white_is_not_lost(tmp_path: Path) -> None:
    png(soft(255 - line() * 100))(tmp_path / "m.png")  # nowhere darker than the middle
    with pytest.raises(DataError, match="several values"):
        read_mask(tmp_path / "m.png", MaskRule(invert=True))


@pytest.mark.parametrize(
    "save",
    [
        png(line() * 0),
        png(Image.new("1", SHAPE[::-1])),
        jpeg(line() * 0),
        tiff((line() * 0).astype(np.float32)),
        palette(line() * 0, VOC),
        png(Image.new("RGB", SHAPE[::-1])),
        tiff(line() * 0, extratags=[(42113, "s", 0, "0", True)]),
    ],
)
def test_an_empty_mask_is_empty(save: Save, tmp_path: Path) -> None:
    save(tmp_path / "m")
    assert not read_mask(tmp_path / "m").pixels.any()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_mask_is_turned_as_its_own_header_says(orientation: int, tmp_path: Path) -> None:
    tags = Image.Exif()
    tags[274] = orientation
    for kind, name in (("PNG", "m.png"), ("TIFF", "m.tif"), ("JPEG", "m.jpg")):
        Image.fromarray(line() * 255).save(tmp_path / name, kind, exif=tags)
        expected = np.asarray(read_upright(tmp_path / name)) >= 128
        assert np.array_equal(read_mask(tmp_path / name).pixels, expected)


def read_upright(path: Path) -> Array:
    with open_image(path) as image:
        return image.read()[..., 0]


def test_values_are_checked() -> None:
    with pytest.raises(ConfigError, match="reddish"):
        MaskRule(values=("reddish",))
    for text in ("2", "128-255", "0.5-1", "red", "#800000", "all"):
        MaskRule(values=(text,))


def test_a_cut_mask_is_an_error(tmp_path: Path) -> None:
    png(line() * 255)(tmp_path / "m.png")
    data = (tmp_path / "m.png").read_bytes()
    (tmp_path / "m.png").write_bytes(data[: len(data) - 20])
    with pytest.raises(ImageError, match="cut"):
        read_mask(tmp_path / "m.png")


def test_values_that_no_mask_holds_are_refused(tmp_path: Path) -> None:
    rule = MaskRule(values=("9",))
    masks: dict[str, Mask] = {}
    for name, values in {"a.png": line() * 0, "b.png": line()}.items():
        png(values)(tmp_path / name)
        masks[name] = read_mask(tmp_path / name, rule)
    refuse_missed({"a.png": masks["a.png"]}, rule)  # a picture without a crack
    with pytest.raises(DataError, match=r"got 9; `b\.png` holds 0 97"):
        refuse_missed(masks, rule)
