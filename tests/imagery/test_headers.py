"""Files of countless empty pieces are refused at once; large honest headers are read."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from crackseg.errors import ImageError
from crackseg.imagery.files import open_image
from crackseg.imagery.headers import MAX_PIECES, MAX_TAGS


def photograph(kind: str) -> bytes:
    """Return a small picture."""
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def chunk(name: bytes, data: bytes = b"") -> bytes:
    """Return a PNG chunk."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def behind(data: bytes, start: int, pieces: bytes) -> bytes:
    """Return a file with pieces put in."""
    return data[:start] + pieces + data[start:]


def jpeg(pieces: bytes) -> bytes:
    """Return a JPEG that begins with pieces."""
    return behind(photograph("JPEG"), 2, pieces)


def png(pieces: bytes) -> bytes:
    """Return a PNG with pieces behind its IHDR."""
    return behind(photograph("PNG"), 33, pieces)


def tiff(tags: int, *, big: bool = False, directories: int = 1) -> bytes:
    """Return a TIFF whose last directory has so many tags that nobody knows."""
    count, entry, offset = ("Q", "HHQQ", "Q") if big else ("H", "HHII", "I")
    file = io.BytesIO()
    pixels = np.zeros((40, 60), np.uint8)
    with tifffile.TiffWriter(file, bigtiff=big, byteorder="<") as writer:
        for number in range(directories):
            writer.write(pixels, subfiletype=int(number > 0))
    data = bytearray(file.getvalue())
    place = len(data)
    data += struct.pack(f"<{count}", tags)
    for number in range(tags):
        data += struct.pack(f"<{entry}", 40000 + number % 20000, 1, 1, 7)
    data += struct.pack(f"<{offset}", 0)
    with tifffile.TiffFile(io.BytesIO(file.getvalue())) as read:
        link = read.pages[-1].offset
        width = struct.calcsize(f"<{entry}")
        link += struct.calcsize(count) + width * len(read.pages[-1].tags)
    struct.pack_into(f"<{offset}", data, link, place)
    return bytes(data)


MANY = 3 * MAX_PIECES
BOMBS = {
    "empty comments": jpeg(b"\xff\xfe\x00\x02" * MANY),
    "application segments": jpeg(b"\xff\xe5\x00\x02" * MANY),
    "fill bytes": jpeg(b"\xff" * 8 * MANY),
    "zeros between": jpeg(b"\xff\xfe\x00\x02" + bytes(8 * MANY)),
    "restart marks": jpeg(b"\xff\xd0" * 4 * MANY),
    "one EXIF in many parts": jpeg((b"\xff\xe1\xff\xfeExif\0\0" + bytes(65526)) * 700),
    "empty chunks": png(chunk(b"prVt") * MANY),
    "texts": png(chunk(b"tEXt", b"a\0b") * MANY),
    "one chunk of 40 MB": png(chunk(b"prVt", bytes(40 * 2**20)) + chunk(b"prVt")),
    "tags": tiff(MAX_TAGS + 1),
    "tags of BigTIFF": tiff(60000, big=True),
    "tags of the tenth directory": tiff(60000, directories=10),
}


@pytest.mark.parametrize("name", BOMBS)
def test_countless_pieces_are_refused_from_the_header(name: str, tmp_path: Path) -> None:
    path = tmp_path / "bomb"
    path.write_bytes(BOMBS[name])
    with pytest.raises(ImageError, match="before its picture"):
        open_image(path)


HONEST = {
    "an infrared camera's": jpeg((b"\xff\xe3\xff\xfe" + bytes(65532)) * 200),
    "many comments": jpeg(b"\xff\xfe\x00\x02" * 1000),
    "padding": jpeg(b"\xff" * 4096),
    "many texts": png(chunk(b"tEXt", b"a\0b") * 1000),
    "many tags": tiff(200),
}


@pytest.mark.parametrize("name", HONEST)
def test_large_honest_headers_are_read(name: str, tmp_path: Path) -> None:
    path = tmp_path / "photo"
    path.write_bytes(HONEST[name])
    with open_image(path) as image:
        assert image.read().shape == (40, 60, 3)  # also behind the header, chunk by chunk
