"""An image file becomes upright 8-bit RGB pixels, read by window, with what its header says.

Formats are recognised by content, never by name: JPEG (also the MPO of drones), PNG and TIFF
(also BigTIFF, tiled, GeoTIFF; see ``tiff.py``); with the extra ``raw`` also HEIC and camera raw
files, those told from a TIFF by their name. The header is judged before any pixel is decoded: too
many pixels, or far more pixels than so small a file can honestly hold, is refused. A file that
ends early is an error, never a grey picture without cracks.

A file is opened once: kind, digest, header and pixels come from one stream, so that the digest is
of the bytes that were decoded, whatever becomes of the name meanwhile.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import ParamSpec, TypeVar

import numpy as np

from crackseg.errors import ImageError, UnsupportedImage
from crackseg.imagery.remote import RemotePath
from crackseg.imagery.source import DECODE_ERRORS, MAX_RATIO, Limits, Pixels, Source
from crackseg.imagery.stills import open_still
from crackseg.records import Array, ImageInfo, Notice, Window

P = ParamSpec("P")
T = TypeVar("T")
_FLAT_PX = 32  # no photograph ends in two block rows without any noise

# EXIF orientation -> transpose first, then flip rows, then flip columns gives the upright picture.
ORIENTATIONS = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}

_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# Named so, a file built like a TIFF holds a sensor's raw data; read with the extra `raw`.
RAW_SUFFIXES = {
    ".dng", ".nef", ".nrw", ".arw", ".sr2", ".srf", ".cr2", ".cr3", ".crw", ".raf", ".rw2",
    ".orf", ".pef", ".srw", ".3fr", ".fff", ".iiq", ".x3f", ".gpr", ".rwl", ".dcr", ".kdc", ".mrw",
    ".erf", ".mef", ".mos",
}  # fmt: skip
_RAW_MAGIC = (b"FUJIFILMCCD-RAW", b"IIU\0", b"IIRO", b"IIRS", b"MMOR", b"FOVb", b"\0MRM")
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")

_FOREIGN = {  # what people hand in by mistake -> what to do
    b"GIF8": "a GIF",
    b"BM": "a BMP",
    b"%PDF": "a PDF",
    b"PK\x03\x04": "a ZIP archive; unpack it first",
    b"RIFF": "a WebP or another RIFF file",
    b"8BPS": "a Photoshop file",
    b"SIMPLE": "a FITS file",
    b"%!PS": "a PostScript file",
    b"<svg": "an SVG drawing",
    b"<?xml": "an XML file",
    b"<!DO": "a web page",
    b"<htm": "a web page",
}


class OpenImage:
    """An image file being read; use it in a ``with`` statement.

    ``info`` and all windows are those of the upright picture.
    """

    def __init__(
        self, info: ImageInfo, source: Source, orientation: int, check: Callable[[], None]
    ) -> None:
        self.info = info
        self._source = source
        self._turn = ORIENTATIONS[orientation]
        self._check = check  # raises where what was read is not of the file that was opened

    def __enter__(self) -> OpenImage:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the file."""
        self._source.close()

    def decode(self) -> tuple[Notice, ...]:
        """Decode what every window needs and return what was noticed in the pixels.

        JPEG and PNG are decoded whole; of deep values the range is found. A first ``load`` would
        do the same.

        Raises:
            ImageError: the file is damaged or cut.
        """
        return (*self._tried(self._source.decode), *self._flat_end())

    def _flat_end(self) -> Iterator[Notice]:
        """Yield a notice where a JPEG has a strip of one colour along a side, as lost data has."""
        height, width = self.info.height_px, self.info.width_px
        if self.info.format not in ("JPEG", "MPO") or min(height, width) < 4 * _FLAT_PX:
            return
        strips = [  # the stored end is at any side once the picture is upright
            Window(row=height - _FLAT_PX, col=0, height=_FLAT_PX, width=width),
            Window(row=0, col=0, height=_FLAT_PX, width=width),
            Window(row=0, col=width - _FLAT_PX, height=height, width=_FLAT_PX),
            Window(row=0, col=0, height=height, width=_FLAT_PX),
        ]
        flat = [_is_of_one_colour(self.read(strip)) for strip in strips]
        if any(flat) and not all(flat):
            text = f"{_FLAT_PX} px along a side are of one colour: the file may have lost its end."
            yield Notice(code="flat_end", message=text)

    def _tried(self, act: Callable[P, T], *arguments: P.args, **more: P.kwargs) -> T:
        try:
            answer = act(*arguments, **more)
            self._check()
            return answer
        except ImageError:
            raise
        except DECODE_ERRORS as error:
            raise _damaged(self.info.path, error) from error

    def load(self, window: Window | None = None) -> Pixels:
        """Return the pixels of a window and which of them count, decoded once for both.

        Args:
            window: part of the upright picture; None for all of it.

        Returns:
            (h, w, 3) uint8 RGB, and (h, w) bool or None where every pixel counts.

        Raises:
            ImageError: the file is damaged or cut, or the window leaves the picture.
        """
        window = window or Window(
            row=0, col=0, height=self.info.height_px, width=self.info.width_px
        )
        pixels, valid = self._tried(self._source.load, self._stored_window(window))
        return self._upright(pixels), None if valid is None else self._upright(valid)

    def read(self, window: Window | None = None) -> Array:
        """Return (h, w, 3) uint8 RGB pixels of a window; see ``load``."""
        return self.load(window)[0]

    def _stored_window(self, window: Window) -> Window:
        height, width = self.info.height_px, self.info.width_px
        row, col = window.row, window.col
        if min(row, col) < 0 or row + window.height > height or col + window.width > width:
            raise ImageError(f"{window} leaves `{self.info.path.name}` of {height} x {width} px.")
        transpose, flip_rows, flip_cols = self._turn
        row = height - row - window.height if flip_rows else row
        col = width - col - window.width if flip_cols else col
        if transpose:
            return Window(row=col, col=row, height=window.width, width=window.height)
        return Window(row=row, col=col, height=window.height, width=window.width)

    def _upright(self, stored: Array) -> Array:
        transpose, flip_rows, flip_cols = self._turn
        if not any(self._turn):
            return stored
        turned = stored.swapaxes(0, 1) if transpose else stored
        upright = turned[:: -1 if flip_rows else 1, :: -1 if flip_cols else 1]
        return np.ascontiguousarray(upright)


def open_image(
    path: str | Path,
    *,
    max_megapixels: float = 1000.0,
    is_mask: bool = False,
    sha256: str | None = None,
) -> OpenImage:
    """Open an image file after judging its header; pixels are decoded at the first read.

    Args:
        path: a JPEG, PNG or TIFF file, whatever its name; or one from ``remote_path``.
        max_megapixels: larger pictures are refused.
        is_mask: flat areas are to be expected, so that no compression is too good to be honest.
        sha256: of the file, where it is known already.

    Raises:
        ImageError: missing, empty, unreadable, too large, damaged or cut.
        UnsupportedImage: of another kind.
    """
    path = path if isinstance(path, Path) else Path(path)
    if isinstance(path, RemotePath):
        path = path.pinned()
    limits = Limits(max_megapixels * 1e6, math.inf if is_mask else MAX_RATIO)
    file = _open(path)
    try:
        kind = _kind(path, file.read(32))
        file.seek(0)
        check = _changes(path, file)
        digest, source = _open_source(path, file, kind, limits, sha256)
        check()
        return _assemble(path, digest, source, check)
    except BaseException as error:
        file.close()
        if isinstance(error, ImageError) or not isinstance(error, DECODE_ERRORS):
            raise
        raise _damaged(path, error) from error


def _open(path: Path) -> io.BufferedReader:
    try:
        if not path.is_file():  # a pipe would wait for a writer
            what = "is a folder" if path.is_dir() else "does not exist or is not a regular file"
            raise ImageError(f"`{path}` {what}; expected an image file.")
        return path.open("rb")
    except ImageError:
        raise
    except (OSError, ValueError) as error:
        what = "permission denied" if isinstance(error, PermissionError) else str(error)
        raise ImageError(f"`{path}` cannot be read: {what}.") from error


def _changes(path: Path, file: io.BufferedReader) -> Callable[[], None]:
    """Return what raises where a file is not what it was when it was opened."""
    if isinstance(path, RemotePath):
        return path.refuse_failed

    def stamp() -> tuple[int, int] | None:
        facts = None if file.closed else os.fstat(file.fileno())  # closed: all was read
        return facts and (facts.st_size, facts.st_mtime_ns)

    first = stamp()

    def check() -> None:
        if stamp() not in (first, None):
            raise ImageError(f"`{path.name}` changed while it was read; run again.")

    return check


def _is_of_one_colour(pixels: Array) -> bool:
    return bool((pixels == pixels[0, 0]).all())


def _kind(path: Path, head: bytes) -> str:
    if not head:
        raise ImageError(f"`{path}` is empty (0 bytes).")
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith(_RAW_MAGIC) or head[4:12] == b"ftypcrx ":
        return "RAW"
    if head.startswith(_TIFF_MAGIC):
        return "RAW" if path.suffix.lower() in RAW_SUFFIXES else "TIFF"
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS:
        return "HEIF"
    raise UnsupportedImage(
        f"`{path.name}` is {_foreign(head)}; expected JPEG, PNG or TIFF (told by content)."
    )


def picture_kind(path: Path) -> str | None:
    """Return the kind of a picture told by its first bytes, or None where they are of no picture.

    One that cannot be read counts as well: its kind is ``other``.
    """
    try:
        with _open(path) as file:
            head = file.read(32)
    except OSError:
        return None
    try:
        return _kind(path, head)
    except ImageError:
        is_other = head.startswith((b"GIF8", b"8BPS")) or head[8:12] in (b"WEBP", b"avif")
        return "other" if is_other else None


def _foreign(head: bytes) -> str:
    if head[4:8] == b"ftyp":
        kind = "an AVIF" if head[8:12] == b"avif" else "a video"
        return f"{kind} file; save it as JPEG or TIFF first"
    return next(
        (text for magic, text in _FOREIGN.items() if head.lstrip().startswith(magic)),
        "not an image this program knows",
    )


def _open_source(
    path: Path, file: io.BufferedReader, kind: str, limits: Limits, sha256: str | None
) -> tuple[str, Source]:
    """Return the digest of a file and what decodes it; only a TIFF is read on from the file."""
    if kind == "TIFF":
        from crackseg.imagery.tiff import open_tiff  # tifffile is slow to import

        return sha256 or _digest(path, file), open_tiff(path, file, limits)
    with file:
        data = file.read()
    digest = sha256 or _digest(path, io.BytesIO(data))
    if kind in ("RAW", "HEIF"):
        from crackseg.imagery import raw

        open_whole = raw.open_raw if kind == "RAW" else raw.open_heif
        return digest, open_whole(path, data, limits)
    return digest, open_still(path, data, kind, limits)


def _assemble(path: Path, digest: str, source: Source, check: Callable[[], None]) -> OpenImage:
    facts = source.facts
    # A georeferenced raster is placed by its transform; GDAL ignores the orientation tag there.
    turn = facts.orientation if source.transform is None else 1
    height, width = source.height_px, source.width_px
    upright = (width, height) if ORIENTATIONS[turn][0] else (height, width)
    info = ImageInfo(
        path=path,
        sha256=digest,
        height_px=upright[0],
        width_px=upright[1],
        format=source.format,
        taken_at=facts.taken_at,
        camera=facts.camera,
        gps=facts.gps,
        crs=source.crs,
        transform=source.transform,
        metadata={**facts.values, **source.metadata, "orientation": float(turn)},
        notices=(*_not_hashed(path), *source.notices, *facts.notices),
    )
    return OpenImage(info, source, turn, check)


def _damaged(path: Path, error: BaseException) -> ImageError:
    if isinstance(error, MemoryError):
        return ImageError(f"`{path.name}` needs more memory than there is.")
    text = " ".join(str(error).split())[:200] or type(error).__name__
    return ImageError(f"`{path.name}` is damaged or cut and cannot be read: {text}")


def _not_hashed(path: Path) -> Iterator[Notice]:
    if isinstance(path, RemotePath) and path.identity():
        text = f"`{path.name}` is told from others by its server's ETag and date, not by its bytes."
        yield Notice(code="not_hashed", message=text)


def _digest(path: Path, file: io.BufferedReader | io.BytesIO) -> str:
    identity = path.identity() if isinstance(path, RemotePath) else None
    return identity or hashlib.file_digest(file, "sha256").hexdigest()
