"""The numbers of a mask picture as they stand in its file: indices, classes, colours, upright.

``open_image`` makes every file look like a photograph: it turns palette indices into colours and
stretches 16-bit numbers. For a mask those numbers are the meaning, so they are read here as they
are. The header is judged and damage is told by the same gate.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from PIL import PngImagePlugin
from tifffile import TiffFile

from crackseg.errors import ImageError
from crackseg.imagery.files import ORIENTATIONS, OpenImage, open_image
from crackseg.imagery.source import DECODE_ERRORS
from crackseg.records import Array

MARK, MEANING = "crackseg", "white is crack"  # a text chunk of the masks that this package writes
_JPEG_IN_TIFF = (6, 7, 34892, 33007)
_GDAL_NODATA = 42113
_OPAQUE = 0.5  # a pixel that lets more than half of the ground through is not drawn
_PAGES = 64  # of a TIFF that are looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """The samples of a picture, turned upright."""

    values: Array  # (H, W) numbers or palette indices, or (H, W, 3) uint8 colours
    palette: Array | None = None  # (N, 3) uint8 colours of the indices
    hidden: Array | None = None  # (H, W) bool, transparent or no-data; None: nowhere
    see_through: bool = False  # hidden by alpha, not by a no-data number
    lossy: bool = False  # JPEG: numbers are near what was saved
    marked: bool = False  # written by `masks.write_mask`: white is crack, however much


def read_stored(path: Path, *, max_megapixels: float = 1000.0) -> Stored:
    """Return the samples of an image file as they were saved, upright.

    Raises:
        ImageError: missing, empty, unreadable, of another kind, too large, damaged or cut.
    """
    with open_image(path, max_megapixels=max_megapixels, is_mask=True) as image:
        turn = int(image.info.metadata["orientation"])
        try:
            stored = _read(path, image)
        except ImageError:
            raise
        except DECODE_ERRORS as error:
            text = " ".join(str(error).split())[:200] or type(error).__name__
            raise ImageError(f"`{path.name}` is damaged and cannot be read: {text}") from error
    if image.info.format in ("JPEG", "MPO"):
        return stored  # read through `image`, which has turned it
    hidden = None if stored.hidden is None else _turn(stored.hidden, turn)
    return replace(stored, values=_turn(stored.values, turn), hidden=hidden)


def _read(path: Path, image: OpenImage) -> Stored:
    if image.info.format in ("JPEG", "MPO"):
        # Whether inks or their negative are stored is judged as of a photograph, which a mask is
        # not: it would come out black.
        if any(notice.code == "cmyk_converted" for notice in image.decode()):
            raise _inks(path)
        return Stored(values=_plain(image.read()), lossy=True)
    image.read()  # tells a cut or damaged file, in the words of every other picture
    return _read_png(path.read_bytes()) if image.info.format == "PNG" else _read_tiff(path)


def _inks(path: Path) -> ImageError:
    return ImageError(f"`{path.name}` is a mask stored as ink (CMYK); save it as PNG.")


def _read_png(data: bytes) -> Stored:
    bits, colour_type = data[24], data[25]  # of the header chunk, which comes first
    if bits == 16:
        return _with_alpha(np.atleast_3d(imagecodecs.png_decode(data)))
    picture = PngImagePlugin.PngImageFile(io.BytesIO(data))
    picture.load()
    if picture.info.get(MARK) == MEANING:
        return Stored(values=np.asarray(picture), marked=True)
    if picture.mode == "P":
        return _indexed(picture)
    if "transparency" in picture.info:
        picture = picture.convert("RGBA")  # type: ignore[assignment]
    values = np.asarray(picture)
    if colour_type == 0 and bits in (2, 4):
        values = values // (255 // (2**bits - 1))  # Pillow stretches few bits to 0..255
    return _with_alpha(np.atleast_3d(values))


def _indexed(picture: Any) -> Stored:
    """Return the indices of a palette picture; an index whose colour is transparent is hidden."""
    indices = np.asarray(picture)
    palette = np.zeros((256, 3), np.uint8)
    colours = np.array(picture.getpalette("RGB"), np.uint8).reshape(-1, 3)
    palette[: len(colours)] = colours
    opacity = np.full(256, 255)
    clear = picture.info.get("transparency")
    if isinstance(clear, bytes):
        opacity[: len(clear)] = list(clear)
    elif isinstance(clear, int):
        opacity[clear] = 0
    hidden = _transparent(opacity[indices], 255)
    return Stored(values=indices, palette=palette, hidden=_any(hidden), see_through=True)


def _transparent(alpha: Array, top: float) -> Array:
    """Return where nothing is drawn; what is drawn faintly throughout is drawn all the same."""
    full = top if alpha.max() >= top * _OPAQUE else alpha.max()
    transparent: Array = (alpha == 0) | (alpha < full * _OPAQUE)
    return transparent


def _read_tiff(path: Path) -> Stored:
    with TiffFile(path) as file:
        page = file.pages[0]
        values = _rows_cols_samples(page)
        _refuse_later_page(path, file, values)
        kind = page.photometric.name
        if kind == "PALETTE":
            palette = (np.asarray(page.colormap) >> 8).astype(np.uint8).T
            return Stored(values=values[..., 0], palette=palette)
        if kind in ("CMYK", "SEPARATED"):
            raise _inks(path)
        extra = [int(sample) for sample in page.extrasamples]
        lossy = page.compression in _JPEG_IN_TIFF
        if kind == "MINISWHITE":
            top = 1 if values.dtype == bool else 2**page.bitspersample - 1
            values = (top - values.astype(np.int64)).astype(np.uint8 if top < 256 else np.uint16)
        stored = _with_alpha(values, has_alpha=any(sample in (1, 2) for sample in extra))
        hidden = _no_data(page, stored.values)
    if hidden is not None:
        stored = Stored(values=stored.values, hidden=_any(hidden))
    return replace(stored, lossy=lossy)


def _refuse_later_page(path: Path, file: TiffFile, first: Array) -> None:
    """Refuse a file whose first picture is of one value and a later one is not."""
    if len(file.pages) == 1 or (first != first.flat[0]).any():
        return
    for number, page in enumerate(file.pages[1:_PAGES], start=2):
        later = np.asarray(page.asarray())
        if not page.is_reduced and not page.is_mask and (later != later.flat[0]).any():
            raise ImageError(
                f"`{path.name}` holds several pictures; the first is of one value, and picture "
                f"{number} is not: save the mask alone."
            )


def _rows_cols_samples(page: Any) -> Array:
    """Return (H, W, samples) of a page, whatever the order of its planes."""
    values = np.asarray(page.asarray())
    if values.ndim == 2:
        return values[..., None]
    return np.moveaxis(values, 0, -1) if page.planarconfig == 2 else values


def _no_data(page: Any, values: Array) -> Array | None:
    """Return where GDAL's no-data number stands, or numbers that are not finite."""
    if values.dtype.kind == "f" and np.isnan(values).any():
        return np.asarray(np.isnan(values))
    try:
        number = float(str(page.tags.valueof(_GDAL_NODATA)).strip("\0 "))
    except ValueError:
        return None
    hidden = np.asarray(values == number)
    return hidden if hidden.ndim == 2 else np.asarray(hidden.all(axis=2))


def _with_alpha(samples: Array, has_alpha: bool | None = None) -> Stored:
    """Return grey or colour samples, the last of 2 or 4 taken as alpha."""
    count = samples.shape[2]
    if count in (2, 4) if has_alpha is None else has_alpha and count > 1:
        alpha = samples[..., -1]
        top = np.iinfo(alpha.dtype).max if alpha.dtype.kind in "ui" else 1
        hidden = _any(_transparent(alpha, top))
        return Stored(values=_plain(samples[..., : count - 1]), hidden=hidden, see_through=True)
    return Stored(values=_plain(samples[..., :3] if count > 3 else samples))


def _plain(samples: Array) -> Array:
    """Return (H, W) where all channels say the same, else (H, W, 3) uint8."""
    if samples.shape[2] < 3:
        return samples[..., 0]
    if (samples == samples[..., :1]).all():
        return samples[..., 0]
    return samples[..., :3] if samples.dtype == np.uint8 else _to_uint8(samples[..., :3])


def _to_uint8(colours: Array) -> Array:
    if colours.dtype == np.uint16:
        return (colours >> 8).astype(np.uint8)
    top = 1.0 if colours.max() <= 1 else 255.0
    return np.clip(np.rint(colours * (255 / top)), 0, 255).astype(np.uint8)


def _any(hidden: Array) -> Array | None:
    return hidden if hidden.any() else None


def _turn(values: Array, orientation: int) -> Array:
    transpose, flip_rows, flip_cols = ORIENTATIONS[orientation]
    turned = values.swapaxes(0, 1) if transpose else values
    return np.ascontiguousarray(turned[:: -1 if flip_rows else 1, :: -1 if flip_cols else 1])
