"""How much a file may hold before its picture: what is read piece by piece costs time per piece.

A photograph has some dozen segments, chunks or tags, a panorama with its depth some hundred. A file
of millions of empty ones is small, harmless to decode, and takes minutes to open.
"""

from __future__ import annotations

import io
import struct
from pathlib import Path

from crackseg.errors import ImageError

MAX_PIECES = 4096  # segments of a JPEG or chunks of a PNG before its picture
MAX_BYTES = 32 * 2**20  # in them; infrared cameras store some 10 MB of temperatures
MAX_TAGS = 1024  # of one TIFF directory; the standard and all known makers use below 300
DIRECTORIES = 64  # of a TIFF that are looked at; later ones are never opened
_READS = 4  # of Pillow per piece


class HeaderReader(io.BytesIO):
    """A file in memory that may be read in so many pieces only, until ``release`` is called."""

    def __init__(self, data: bytes, path: Path) -> None:
        super().__init__(data)
        self._path = path
        self._reads: int | None = _READS * MAX_PIECES

    def read(self, size: int | None = -1) -> bytes:
        """Return the next bytes.

        Raises:
            ImageError: it took too many pieces or bytes to come to the picture.
        """
        if self._reads is not None:
            self._reads -= 1
            if self._reads < 0:
                raise _too_much(self._path, f"more than {MAX_PIECES} pieces")
            if self.tell() > MAX_BYTES:
                raise _too_much(self._path, f"more than {MAX_BYTES // 2**20} MB")
        return super().read(size)

    def release(self) -> None:
        """Let everything be read from now on: the header is behind."""
        self._reads = None


def check_directories(path: Path, file: io.BufferedReader) -> None:
    """Refuse a TIFF whose directories hold far more tags than any camera or program writes.

    What is damaged otherwise is left to the decoder, which says it better.

    Raises:
        ImageError: too many tags.
    """
    file.seek(0)
    head = file.read(16)
    order = "<" if head.startswith(b"II") else ">"
    big = head[2:3] == b"+" or head[3:4] == b"+"
    try:
        (place,) = struct.unpack_from(f"{order}{'Q' if big else 'I'}", head, 8 if big else 4)
        _walk(path, file, f"{order}{'QQ' if big else 'HI'}", place)
    except (struct.error, OverflowError, OSError) as error:
        if isinstance(error, ImageError):
            raise


def _walk(path: Path, file: io.BufferedReader, form: str, place: int) -> None:
    count_form, next_form = form[0] + form[1], form[0] + form[2]
    entry_bytes = 20 if form[1] == "Q" else 12
    for _ in range(DIRECTORIES):
        if not place:
            return
        file.seek(place)
        (count,) = struct.unpack(count_form, file.read(struct.calcsize(count_form)))
        if count > MAX_TAGS:
            raise _too_much(path, f"{count} tags in one directory (at most {MAX_TAGS} are usual)")
        file.seek(count * entry_bytes, io.SEEK_CUR)
        (place,) = struct.unpack(next_form, file.read(struct.calcsize(next_form)))


def _too_much(path: Path, what: str) -> ImageError:
    return ImageError(
        f"`{path.name}` holds {what} before its picture; expected a photograph's header: refused, "
        "save it anew with an image editor."
    )
