"""HEIC and camera raw files, read with the extra ``raw`` and named where it is absent."""

from __future__ import annotations

import base64
import sys
from pathlib import Path

import numpy as np
import pytest
from tifffile import TiffFile, TiffWriter, imwrite

from crackseg.errors import ImageError
from crackseg.imagery.files import open_image
from crackseg.records import Window

# 96 x 64 px before turning: grey, a dark line, a red square at the top left, focal length 5 mm.
HEIC_TURNED = (
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAaFtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAA"
    "AAAAAAAAADRpbG9jAAAAAERAAAIAAQAAAAABxQABAAAAAAAAAVEAAgAAAAADFgABAAAAAAAAAHwAAAA4aWluZgAAAAAA"
    "AgAAABVpbmZlAgAAAAABAABodmMxAAAAABVpbmZlAgAAAQACAABFeGlmAAAAAA5waXRtAAAAAAABAAAA4GlwcnAAAADA"
    "aXBjbwAAAHhodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQAr"
    "QgEBA3AAAAMAkAAAAwAAAwAeoDCBBZbqSSmubgIaDAgAAAMAyAAAAwAIQGIAAQAHRAHBcrAiQAAAABNjb2xybmNseAAB"
    "AA0ABoAAAAAUaXNwZQAAAAAAAABgAAAAQAAAABBwaXhpAAAAAAMICAgAAAAJaXJvdAMAAAAYaXBtYQAAAAAAAAABAAEF"
    "gQIDBIUAAAAaaXJlZgAAAAAAAAAOY2RzYwACAAEAAQAAAdVtZGF0AAABTSgBrwng43qmz/33//36eQ2/fGL5ICK0Qj98"
    "jm4dqN+HOP8h0Jy22yL2M6MjXvtrQ3rKxEKnnm4Gq1jZ2yItJoYZ2AggusX2EDUe/yuM/DTV0kmYToVSbNATl4N6H3UT"
    "82MOuKECzIv/uyc4orQUQB3YWnodLKx+iKVo3kNyITqPsm8o3u0VFbshuFmsISsvQ4YS40OhX2qMz/I/E8whca1rc5tu"
    "yx7Mn52ZUhomAqSxQCHcUy8FbnqEuudUlNuXST9UnAy9zu0IHZidEL/zltt7+7y3SckshgsnOEZORyMg3+ByHLeFdFlq"
    "12XhBHMfs/k5U6sISIXOiNhrsou9E0ZDY+O6C3m8CHoGH5jOrmbzhTKVEasK8r7ZKgyBueD1+oLLEQEQJFmxu3rFMI7j"
    "HY85T1tyD0ZLxoaWoXyohj3ndj4SEtDb0SfXZzVxbwAAAAZFeGlmAABNTQAqAAAACAAEAQ8AAgAAAAYAAAA+ARAAAgAA"
    "AAcAAABEARIAAwAAAAEABgAAh2kABAAAAAEAAABMAAAAAE1ha2VyAFRlbGUgMQAAAAKSCgAMAAAAAQAAAGqkBQADAAAA"
    "AQAaAAAAAAAAQBQAAAAAAAA="
)

# 64 x 48 px: grey with a dark line, 16 columns at the left transparent and black.
HEIC_ALPHA = (
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAmttZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAA"
    "AAAAAAADRpbG9jAAAAAERAAAIAAQAAAAACjwABAAAAAAAAAP4AAgAAAAADjQABAAAAAAAAAOgAAAA4aWluZgAAAAAAAgAA"
    "ABVpbmZlAgAAAAABAABodmMxAAAAABVpbmZlAgAAAAACAABodmMxAAAAAA5waXRtAAAAAAABAAABqmlwcnAAAAGCaXBjbw"
    "AAAHZodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQAqQgEBA3AA"
    "AAMAkAAAAwAAAwAeoCCBBZbq5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZEAcFzwIkAAAATY29scm5jbHgAAQANAAaAAAAAFG"
    "lzcGUAAAAAAAAAQAAAAEAAAAAoY2xhcAAAAEAAAAABAAAAMAAAAAEAAAAAAAAAAv////AAAAACAAAAEHBpeGkAAAAAAwgI"
    "CAAAAHBodmNDAQQIAAAAn/gAAAAAHvAA/Pz4+AAADwNgAAEAF0ABDAH//wQIAAADAJ/4AAADAAAeugJAYQABACVCAQEECA"
    "AAAwCf+AAAAwAAHsCCBBZbq5Ka5sCAAAAMgAAAAwCEYgABAAZEAcFzwIkAAAAOcGl4aQAAAAABCAAAACdhdXhDAAAAAHVy"
    "bjptcGVnOmhldmM6MjAxNTphdXhpZDoxAAAAACBpcG1hAAAAAAAAAAIAAQWBAgMFhAACBYYDB4iEAAAAGmlyZWYAAAAAAA"
    "AADmF1eGwAAgABAAEAAAHubWRhdAAAAPooAa8J4CGAb+n/+BbJLRb8eBnAeVizaizZ4tFy/karvOX/NUbxwN61NerrZ+kZ"
    "YWLh/UFiDp/VzMX7r/xdLpc8zMmfjPzLzL95kInoVawHUivo3gkMGABWWP89Oq0WEYxIC5+Dn+ir61HUrlmCKJ06sh9l/l"
    "yDKgAhlQYCItTw94Bi+gQbQXGAIvJ+99D+5fL+Ui/i+ByikeKhxDIoQonWUHsgm1VwoEveofdi3vJVN+vLHNJUW29/GrdR"
    "3QRAnJe8AzDkV+C1Rj8P+MEfWciVQBrkm7Sz1Cbz/bU+2aiBjMaZSm5q02tVxgs51ckKOu9XEk1kn9Tq1L0wAAAA5CgBrh"
    "PAO4zF//+KEUUX/mnDtAfTFWbcIIoRdkVW7B+gzGpSpKnHb20P0/Oezavl4FoFd33flTzIS4y7fmqN+HFoiKgNV83OTtn1"
    "XDtCgEcXW8Fm0/uCHt58kjNHCEbGArAAdfDS4NViGHD7IEcStDoiw+9O4Rj17+qC2UIiO1iddNfZaSj5qicTSCIlJAbA15"
    "RnMP+2wcXbdNI8/FZ2oEBzBQFg21+vyq3Ec8DdKhrGIB5pQdWKspWgwfJgQYrdmsT/sI0SrCNe04u8H/8/pX4fl83/o1gr"
    "MgYOEQI+OeaGHT+cSA=="
)
# 32 x 32 px, then the main picture: as the one above, all of it opaque.
HEIC_TWO = (
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAdRtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAA"
    "AAAAAAADRpbG9jAAAAAERAAAIAAQAAAAAB+AABAAAAAAAAAC8AAgAAAAACJwABAAAAAAAAAEEAAAA4aWluZgAAAAAAAgAA"
    "ABVpbmZlAgAAAAABAABodmMxAAAAABVpbmZlAgAAAAACAABodmMxAAAAAA5waXRtAAAAAAACAAABLWlwcnAAAAEFaXBjbw"
    "AAAHZodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQAqQgEBA3AA"
    "AAMAkAAAAwAAAwAeoCCBBZbq5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZEAcFzwIkAAAATY29scm5jbHgAAQANAAaAAAAAFG"
    "lzcGUAAAAAAAAAQAAAAEAAAAAoY2xhcAAAACAAAAABAAAAIAAAAAH////gAAAAAv///+AAAAACAAAAEHBpeGkAAAAAAwgI"
    "CAAAAChjbGFwAAAAQAAAAAEAAAAwAAAAAQAAAAAAAAAC////8AAAAAIAAAAgaXBtYQAAAAAAAAACAAEFgQIDBYQAAgWBAg"
    "MFhgAAAHhtZGF0AAAAKygBrwng4kmxNt432udGEx6wP33GG/gWKCwPhJSsTdX9qcaXvlMXkLv7q7AAAAA9KAGvCeDiSbE2"
    "3jfa51D/iTd4/y5ZSs+YvAl/H/f16w0n7lLJevO+yTdLU3IBliR0av6DXpba0E5giFCS4Q=="
)


def write_dng(path: Path, *, size: tuple[int, int] = (64, 96), orientation: int = 1) -> Path:
    """Write raw data of a Bayer sensor (RGGB, 14 bits): grey with a dark line along the rows."""
    values = np.full(size, 6000, np.uint16)
    values[30:34, 10:80] = 300
    tags = [
        (271, 2, 6, "Maker", True),
        (274, 3, 1, orientation, True),
        (33421, 3, 2, (2, 2), True),
        (33422, 1, 4, b"\x00\x01\x01\x02", True),
        (50706, 1, 4, b"\x01\x04\x00\x00", True),
        (50708, 2, 8, "Maker 1", True),
        (50717, 3, 1, 16383, True),
        (50721, 10, 9, (1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1), True),
        (50728, 5, 3, (1, 1, 1, 1, 1, 1), True),
        (50778, 3, 1, 21, True),
    ]
    imwrite(path, values, photometric=32803, compression=None, extratags=tags, metadata=None)
    return path


def test_a_telephone_picture_is_read_upright(tmp_path: Path) -> None:
    pytest.importorskip("pi_heif", reason="extra raw is not installed")
    path = tmp_path / "IMG_1.HEIC"
    path.write_bytes(base64.b64decode(HEIC_TURNED))
    with open_image(path) as image:
        info, pixels = image.info, image.read()
    assert (info.height_px, info.width_px, info.format) == (96, 64, "HEIF")
    assert info.camera == "Maker Tele 1"
    assert info.metadata["focal_length_mm"] == 5.0
    assert info.metadata["orientation"] == 1.0
    assert pixels.shape == (96, 64, 3)
    assert pixels[3, -4, 0] > 200 > 60 > pixels[3, -4, 1]  # the square went to the right
    assert pixels[45, -26].max() < 60


def test_what_is_transparent_holds_no_data(tmp_path: Path) -> None:
    pytest.importorskip("pi_heif", reason="extra raw is not installed")
    path = tmp_path / "cut_out.heic"
    path.write_bytes(base64.b64decode(HEIC_ALPHA))
    with open_image(path) as image:
        pixels, counts = image.load(Window(row=0, col=0, height=48, width=64))
    assert counts is not None
    assert not counts[:, :15].any()
    assert counts[:, 17:].all()
    assert pixels[21, 40].max() < 60 < 120 < pixels[40, 40].min()


def test_of_several_pictures_the_main_one_is_read_and_named(tmp_path: Path) -> None:
    pytest.importorskip("pi_heif", reason="extra raw is not installed")
    path = tmp_path / "burst.heic"
    path.write_bytes(base64.b64decode(HEIC_TWO))
    with open_image(path) as image:
        assert (image.info.height_px, image.info.width_px) == (48, 64)
        told = [notice.message for notice in image.info.notices]
        pixels = image.read()
    assert told == ["`burst.heic` holds several pictures; only the main one was analyzed."]
    assert pixels[21, 40].max() < 60 < 120 < pixels[40, 40].min()


@pytest.mark.parametrize("size", [(64, 96), (63, 95)])
@pytest.mark.parametrize("preview", [False, True])
def test_raw_data_counts_and_not_the_preview(
    size: tuple[int, int], preview: bool, tmp_path: Path
) -> None:
    pytest.importorskip("rawpy", reason="extra raw is not installed")
    path = write_dng(tmp_path / "a.dng", size=size)
    if preview:
        with TiffFile(path) as whole:
            head = whole.pages[0].tags.values()
            tags = [(t.code, t.dtype, t.count, t.value, True) for t in head if t.code > 30000]
            values = whole.asarray()
        with TiffWriter(path) as file:
            small = np.full((size[0] // 2, size[1] // 2, 3), 200, np.uint8)
            identity = [tag for tag in tags if tag[0] > 50000]
            file.write(small, photometric="rgb", subfiletype=1, subifds=1, extratags=identity)
            cells = [tag for tag in tags if tag[0] < 50000 or tag[0] == 50717]
            file.write(values, photometric=32803, subfiletype=0, extratags=cells, metadata=None)
    with open_image(path) as image:
        assert (image.info.height_px, image.info.width_px) == size
        pixels = image.read()
    dark = np.nonzero(pixels[:, 40].max(axis=1) < 60)[0]
    assert (dark.min(), dark.max()) == (30, 33)


def test_a_cut_telephone_picture_is_an_error(tmp_path: Path) -> None:
    pytest.importorskip("pi_heif", reason="extra raw is not installed")
    whole = base64.b64decode(HEIC_TURNED)
    for share in (0.2, 0.5, 0.9):
        path = tmp_path / "cut.heic"
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(ImageError, match="damaged or cut"), open_image(path) as image:
            image.read()


def test_a_raw_file_is_developed(tmp_path: Path) -> None:
    pytest.importorskip("rawpy", reason="extra raw is not installed")
    with open_image(write_dng(tmp_path / "DJI_1.DNG")) as image:
        info, pixels = image.info, image.read()
    assert (info.height_px, info.width_px, info.format) == (64, 96, "RAW")
    assert [notice.code for notice in info.notices] == ["raw_developed"]
    assert pixels.dtype == np.uint8
    assert pixels[10, 40].min() > 2 * pixels[32, 40].max()
    with open_image(write_dng(tmp_path / "up.dng", orientation=6)) as image:
        assert (image.info.height_px, image.info.width_px) == (96, 64)
        turned = image.read()
    assert np.array_equal(turned, np.rot90(pixels, -1))


def test_a_damaged_raw_file_is_an_error(tmp_path: Path) -> None:
    pytest.importorskip("rawpy", reason="extra raw is not installed")
    path = tmp_path / "a.dng"
    path.write_bytes(b"II*\0" + b"\0" * 200)
    with pytest.raises(ImageError, match=r"`a.dng` cannot be developed"):
        open_image(path)
    whole = write_dng(path).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ImageError), open_image(path) as image:
        image.read()


def test_without_the_extra_its_name_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rawpy", None)
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    phone = tmp_path / "a.heic"
    phone.write_bytes(base64.b64decode(HEIC_TURNED))
    for path, kind in (
        (phone, "a HEIC/HEIF file"),
        (write_dng(tmp_path / "a.DNG"), "a camera raw"),
    ):
        with pytest.raises(ImageError, match=rf"is {kind}.*pip install 'crackseg\[raw\]'"):
            open_image(path)
