"""Mask pictures of any program -> (H, W) bool, True = crack. One rule, for every command.

What counts as crack, first line that fits:

1. ``values`` says it: numbers, ranges, palette indices, colours, or ``all`` above the background.
2. Alpha (or no-data) holds the shape: one colour is drawn on nothing, and what is drawn is crack.
3. Two values: the larger number is crack, whatever the two are (0/1, 0/255, 1/2, True/False).
   Of two colours one is the ground: black, else a palette's index 0, else white.
   A palette of plain greys counts as grey.
4. Soft edges (and the rings of JPEG) between dark ground and bright crack: crack from half on.
5. Anything else is refused, with the values that were found, so that the caller can say which.

Refused as well: more than half of the picture crack, which is a mask drawn dark on bright
(``invert``) and is warned of where ``values`` say it, and values that rule 4 would lose. Never is
a mask read as empty that is not.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from PIL import ImageColor

from crackseg.errors import ConfigError, DataError
from crackseg.imagery.stored import MARK, MEANING, Stored, read_stored
from crackseg.records import Array, Notice

MOST_CRACK = 0.5  # share of a picture; no labelled photograph is crack for the larger part
MIDDLE = 128  # of 0..255
_FAINT = 64  # below a quarter, a soft edge or a JPEG ring may spread far
_EDGE_PX, _TAIL_PX = 4, 12  # how far from its crack an edge from a quarter on, and below, reaches
_FEW_LEVELS = 8  # a soft edge has many; so few may be classes
_FLAT_PX = 5  # an even square of this side is no edge
_JPEG_STEP = 4  # grey levels by which JPEG changes an even area
_JPEG_COLOUR, _PNG_COLOUR = 60, 12  # how far a mixed colour may lie off the line between its two
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_BLACK, _WHITE = 0x000000, 0xFFFFFF
_VOID = 0xE0E0C0  # colour of index 255 in Pascal VOC's palette: not judged


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskRule:
    """What the caller says of mask pictures; nothing where the pictures tell it themselves.

    ``values`` are numbers or palette indices (``"2"``), ranges (``"128-255"``), colours (``"red"``,
    ``"#800000"``) or ``"all"``: everything that is not the ground.
    """

    values: tuple[str, ...] = ()
    invert: bool = False  # crack is what would be ground

    def __post_init__(self) -> None:
        for text in self.values:
            _parse(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mask:
    """A mask that was read."""

    pixels: Array  # (H, W) bool
    crack: str  # which values were taken as crack; "" where none was there
    values_text: str  # all values of the file, for messages
    soft: bool = False  # edges were cut in the middle
    left: bool = False  # values besides the ground were not taken

    def notices(self, rule: MaskRule) -> tuple[Notice, ...]:
        """Return what a report has to tell of the reading."""
        notices = []
        if self.soft:
            edges = f"soft edges ({self.values_text})"
            text = f"The mask has {edges}; from the middle on a pixel is crack."
            notices.append(Notice(code="mask_not_binary", message=text))
        if rule != MaskRule():
            text = (
                f"Of the mask's values ({self.values_text}), crack is {self.crack}, as was asked."
            )
            notices.append(Notice(code="mask_values", message=text))
        share = float(self.pixels.mean())
        if share > MOST_CRACK:
            text = (
                f"{share:.1%} of the mask is crack ({self.crack}): it looks as if it were drawn "
                "dark on bright, or as if `--values` named its ground."
            )
            notices.append(Notice(code="mask_mostly_crack", message=text))
        return tuple(notices)


def read_mask(path: Path, rule: MaskRule | None = None, *, max_megapixels: float = 1000.0) -> Mask:
    """Return what is crack in a mask picture; see the module for the rule.

    Args:
        path: PNG, TIFF or JPEG, whatever its name.
        rule: which values are crack, where the file does not tell.
        max_megapixels: larger pictures are refused.

    Raises:
        DataError: which pixels are crack would be a guess; names file, values and the way to say.
        ImageError: the file is unreadable.
    """
    return find_crack(read_stored(path, max_megapixels=max_megapixels), rule, path.name)


def encode_mask(mask: Array) -> bytes:
    """Return an (H, W) bool mask as PNG, crack 255, marked so that it is read back as it is."""
    height, width = mask.shape
    rows = np.zeros((height, width + 1), np.uint8)  # before each row stands its filter: none
    np.negative(np.ascontiguousarray(mask, dtype=bool).view(np.uint8), out=rows[:, 1:])
    # Run lengths compress a mask as well as a search for matches does, several times faster.
    packer = zlib.compressobj(1, strategy=zlib.Z_RLE)
    head = struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0)
    chunks = (
        (b"IHDR", head),
        (b"tEXt", MARK.encode() + b"\0" + MEANING.encode()),
        (b"IDAT", packer.compress(rows.data) + packer.flush()),
        (b"IEND", b""),
    )
    return _SIGNATURE + b"".join(_chunk(name, content) for name, content in chunks)


def _chunk(name: bytes, content: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(content, zlib.crc32(name)))
    return struct.pack(">I", len(content)) + name + content + check


def find_crack(stored: Stored, rule: MaskRule | None, name: str) -> Mask:
    """Return the crack of samples read by ``read_stored``; ``name`` is for messages."""
    rule = rule or MaskRule()
    codes = _codes(stored, name)
    if rule.values:
        mask = _chosen(stored, codes, rule)
    elif stored.hidden is not None:
        mask = _on_nothing(stored, codes, rule)
    else:
        mask = _by_itself(stored, codes, rule)
    if rule.invert:
        crack = f"all but {mask.crack}" if mask.crack else "all"
        mask = replace(mask, pixels=~mask.pixels, crack=crack)
    share = float(mask.pixels.mean())
    if share > MOST_CRACK and not rule.values and not stored.marked:
        raise DataError(_too_much(name, share, mask.crack, rule.invert))
    return mask


@dataclass(frozen=True, slots=True, kw_only=True)
class _Codes:
    """The one number that each pixel has, and which of them are in use."""

    name: str  # of the file
    of_pixel: Array  # (H, W) grey values, palette indices, or colours 0xRRGGBB
    levels: Array  # in use where the picture is not hidden, ascending
    counts: Array
    colours: Array | None  # colour of each level, 0xRRGGBB; None: the levels are greys or classes
    indexed: bool = False  # the levels are indices of a palette

    def ground(self) -> int | float | None:
        """Return the level of the ground, or None where that cannot be told."""
        levels: list[int | float] = self.levels.tolist()
        if self.colours is None:
            return levels[0] if len(levels) > 1 or levels[0] == 0 else None
        colours: list[int] = self.colours.tolist()
        if _BLACK in colours:
            return levels[colours.index(_BLACK)]
        if self.indexed:
            return 0 if 0 in levels else None
        return levels[colours.index(_WHITE)] if _WHITE in colours and len(levels) > 1 else None

    def text(self, k: int) -> str:
        """Return level number k as `--values` takes it."""
        if self.colours is not None and not self.indexed:
            return f"#{self.levels[k]:06x}"
        return f"{self.levels[k]:g}"

    def list(self) -> str:
        """Return the most frequent levels with their shares, the others counted."""
        order = np.argsort(-self.counts, kind="stable")[:6].tolist()
        shares = self.counts / max(self.counts.sum(), 1)
        tones = [f" (#{self.colours[k]:06x})" if self.indexed else "" for k in order]  # type: ignore[index]
        parts = [f"{self.text(k)}{t} {shares[k]:.1%}" for k, t in zip(order, tones, strict=True)]
        more = len(self.levels) - len(order)
        return ", ".join(parts) + (f" and {more} more" if more else "")

    def example(self) -> str:
        """Return what the caller may mean: the rarest level, or the upper half of many."""
        ground = self.ground()
        if self.colours is None and len(self.levels) > _FEW_LEVELS:
            return f"{self.levels[-1] / 2:g}-{self.levels[-1]:g}"
        order = np.argsort(self.counts, kind="stable").tolist()
        return next((self.text(k) for k in order if self.levels[k] != ground), "all")

    def ask(self, jpeg: bool = False) -> DataError:
        """Return the error of a mask that does not tell what is crack."""
        if jpeg:
            return DataError(
                f"`{self.name}` is a JPEG whose values ({self.list()}) do not part into dark "
                "ground and bright crack; save the mask as PNG."
            )
        return DataError(
            f"`{self.name}` holds several values ({self.list()}), and which of them are crack "
            f"would be a guess; say it with `--values`, for instance `--values {self.example()}`, "
            "or save the mask as 0 and 255."
        )


def _codes(stored: Stored, name: str) -> _Codes:
    values, palette = stored.values, stored.palette
    if values.ndim == 3:
        of_pixel = _packed(values)
        levels, counts = _count(of_pixel, stored.hidden)
        return _Codes(name=name, of_pixel=of_pixel, levels=levels, counts=counts, colours=levels)
    levels, counts = _count(values, stored.hidden)
    if palette is None:
        return _Codes(name=name, of_pixel=values, levels=levels, counts=counts, colours=None)
    tones = palette[levels]
    if (tones == tones[:, :1]).all() and len(np.unique(tones[:, 0])) == len(levels):
        values = palette[..., 0][values]  # plain greys, whatever their order in the palette
        levels, counts = _count(values, stored.hidden)
        return _Codes(name=name, of_pixel=values, levels=levels, counts=counts, colours=None)
    return _Codes(
        name=name,
        of_pixel=values,
        levels=levels,
        counts=counts,
        colours=_packed(palette)[levels],
        indexed=True,
    )


def _packed(colours: Array) -> Array:
    """Return (..., 3) uint8 RGB as 0xRRGGBB."""
    parts = colours.astype(np.int32)
    packed: Array = parts[..., 0] << 16 | parts[..., 1] << 8 | parts[..., 2]
    return packed


def _count(values: Array, hidden: Array | None) -> tuple[Array, Array]:
    """Return the values in use, ascending, and how many pixels have each."""
    visible = values.ravel() if hidden is None else values[~hidden]
    if values.dtype not in (np.uint8, np.uint16):  # sorting is slow, counting is not
        levels, counts = np.unique(visible, return_counts=True)
        return levels, counts
    counts = np.bincount(visible)
    return np.flatnonzero(counts), counts[counts > 0]


def _on_nothing(stored: Stored, codes: _Codes, rule: MaskRule) -> Mask:
    """Return the crack of a picture that is transparent, or without data, in part."""
    hidden = np.asarray(stored.hidden)
    if not len(codes.levels):
        if stored.values.dtype.kind == "f" or (stored.values != stored.values[:1, :1]).any():
            what = "is transparent" if stored.see_through else "holds no data"
            raise DataError(
                f"`{codes.name}` {what} all over, so that it tells of no crack and of none to be "
                "there; save the mask without transparency, as 0 and 255."
            )
        return Mask(pixels=np.zeros(hidden.shape, dtype=bool), crack="", values_text="nothing")
    ground = codes.ground()
    if len(codes.levels) == 1 and (stored.see_through or ground is None):
        return Mask(pixels=~hidden, crack="what is drawn", values_text=codes.list())
    if ground is None or (codes.colours is None and ground != 0):
        raise codes.ask()
    of_pixel = np.where(hidden, np.asarray(ground, dtype=codes.of_pixel.dtype), codes.of_pixel)
    values = stored.values.copy()
    values[hidden] = 0
    return _by_itself(replace(stored, values=values), replace(codes, of_pixel=of_pixel), rule)


def _by_itself(stored: Stored, codes: _Codes, rule: MaskRule) -> Mask:
    """Return the crack of a mask of which the caller said nothing."""
    void = codes.colours is not None and _VOID in codes.colours
    if len(codes.levels) <= 2 and not void and not (stored.lossy and codes.levels.max() > 0):
        return _of_two(codes)
    if codes.colours is None:
        return _soft_grey(codes, stored.lossy, rule.invert)
    if codes.indexed:
        raise codes.ask()
    return _soft_colour(stored, codes)


def _of_two(codes: _Codes) -> Mask:
    """Return what is not the ground, of one or two values."""
    ground = codes.ground()
    if ground is None and len(codes.levels) == 2:
        raise codes.ask()
    crack = [codes.text(k) for k, level in enumerate(codes.levels.tolist()) if level != ground]
    return Mask(pixels=codes.of_pixel != ground, crack="".join(crack), values_text=codes.list())


def _soft_grey(codes: _Codes, lossy: bool, invert: bool) -> Mask:
    """Return the bright part of a mask with soft edges, if it has nothing but such edges."""
    grey = _on_255(codes.of_pixel, codes.levels)
    brightness = 255 - grey if invert else grey  # what is looked for is bright
    if grey.max() < MIDDLE or not _only_edges(brightness, lossy, len(codes.levels)):
        raise codes.ask(jpeg=lossy)
    pixels = (brightness >= MIDDLE) ^ invert
    return Mask(pixels=pixels, crack="the bright half", values_text=codes.list(), soft=True)


def _on_255(codes: Array, levels: Array) -> Array:
    """Return (H, W) uint8 of numbers whose white is the largest their kind can hold."""
    if codes.dtype == np.uint8:
        return codes
    top = float(levels.max())
    full = next((f for f in (1.0, 255.0, 65535.0) if top <= f), top)
    if codes.dtype.kind in "ui" and top <= 1:
        full = 255.0
    share = np.nan_to_num(codes.astype(np.float32) / full)
    grey: Array = (np.clip(share, 0, 1) * 255).astype(np.uint8)
    return grey


def _only_edges(grey: Array, lossy: bool, levels: int) -> bool:
    """Return whether all values between black and white lie where an edge can be.

    An even area of one is a class of its own; so is, among few levels, a line of one that does not
    lead up to something brighter. Whatever lies away from every bright pixel would be lost.
    """
    bright = grey >= MIDDLE
    if ((grey >= _FAINT) & ~_near(bright, _EDGE_PX)).any():
        return False
    if not lossy and ((grey > 0) & ~_near(bright, _TAIL_PX)).any():
        return False
    top = grey.max() - (32 if lossy else 0)
    between = (grey >= (_FAINT if lossy else 1)) & (grey < top)
    square = np.ones((_FLAT_PX, _FLAT_PX), np.uint8)
    span = cv2.dilate(grey, square).astype(int) - cv2.erode(grey, square)
    if (between & (span <= (_JPEG_STEP if lossy else 0))).any():
        return False
    if lossy or levels > _FEW_LEVELS:
        return True
    peak = between & (cv2.dilate(grey, np.ones((3, 3), np.uint8)) == grey)
    return not peak.any()


def _near(pixels: Array, reach_px: int) -> Array:
    """Return the (H, W) bool pixels at most so many rows and columns from one of these."""
    square = np.ones((2 * reach_px + 1, 2 * reach_px + 1), np.uint8)
    return np.asarray(cv2.dilate(pixels.astype(np.uint8), square) > 0)


def _soft_colour(stored: Stored, codes: _Codes) -> Mask:
    """Return the coloured part of a mask with soft edges between one colour and its ground."""
    values = stored.values.astype(np.float32)
    ground = 255.0 if np.median(values) > MIDDLE else 0.0
    away = np.abs(values - ground).max(axis=2)
    if away.max() < _FAINT:
        raise codes.ask(jpeg=stored.lossy)
    colour = int(codes.of_pixel.ravel()[away.argmax()])
    axis = np.array([colour >> 16, colour >> 8 & 255, colour & 255], np.float32) - ground
    share = np.clip((values - ground) @ axis / float(axis @ axis), 0, 1)
    off = np.abs(values - ground - share[..., None] * axis).max()
    grey = (share * 255).astype(np.uint8)
    if off > (_JPEG_COLOUR if stored.lossy else _PNG_COLOUR) or not _only_edges(
        grey, stored.lossy, len(codes.levels)
    ):
        raise codes.ask(jpeg=stored.lossy)
    return Mask(pixels=grey >= MIDDLE, crack=f"#{colour:06x}", values_text=codes.list(), soft=True)


def _chosen(stored: Stored, codes: _Codes, rule: MaskRule) -> Mask:
    """Return the pixels of the values that the caller named."""
    if stored.lossy:
        raise DataError(
            f"`{codes.name}` is a JPEG, which changes numbers, so that `--values` cannot be "
            "looked up in it; save the mask as PNG."
        )
    pixels = np.zeros(codes.of_pixel.shape, dtype=bool)
    for text in rule.values:
        low, high, colour = _parse(text)
        if text == "all":
            pixels |= codes.of_pixel != codes.ground()
        elif colour is not None:
            pixels |= _of_colour(stored, colour)
        elif stored.values.ndim == 3:
            raise DataError(
                f"`{codes.name}` holds colours ({codes.list()}), and `--values` names the number "
                f"{text}; name colours, such as `--values {codes.example()}`."
            )
        else:
            pixels |= (stored.values >= low) & (stored.values <= high)
    if stored.hidden is not None:
        pixels &= ~stored.hidden
    left = bool(((codes.of_pixel != codes.ground()) & ~pixels).any())
    return Mask(pixels=pixels, crack=", ".join(rule.values), values_text=codes.list(), left=left)


def refuse_missed(masks: Mapping[str, Mask], rule: MaskRule) -> None:
    """Refuse masks that hold other values, and none of those that the caller named.

    Args:
        masks: file name -> its mask; a single one may be without a crack, so may some of many.
        rule: what the caller said.

    Raises:
        DataError: names the first mask with other values.
    """
    name = next((name for name, mask in masks.items() if mask.left), None)
    if rule.values and name is not None and not any(m.pixels.any() for m in masks.values()):
        raise DataError(
            f"`--values` must name values of the mask, got {', '.join(rule.values)}; "
            f"`{name}` holds {masks[name].values_text}."
        )


def _of_colour(stored: Stored, colour: tuple[int, ...]) -> Array:
    target = np.array(colour[:3])
    if stored.palette is not None:
        return np.asarray((stored.palette == target).all(axis=1)[stored.values])
    if stored.values.ndim == 3:
        return np.asarray((stored.values == target).all(axis=2))
    grey = (target == target[0]).all()
    return np.asarray((stored.values == target[0]) & grey)


def _parse(text: str) -> tuple[float, float, tuple[int, ...] | None]:
    """Return lowest and highest number of one of ``values``, or its colour."""
    part = re.fullmatch(r"(\d+(?:\.\d+)?)(?:-(\d+(?:\.\d+)?))?", text)
    if part:
        low = float(part[1])
        return low, float(part[2] or low), None
    if text == "all":
        return 0.0, 0.0, None
    try:
        return 0.0, 0.0, ImageColor.getrgb(text)
    except ValueError as error:
        raise ConfigError(
            f"`values` must be numbers (1), ranges (128-255), colours (red, #800000) or `all`, "
            f"got {text!r}."
        ) from error


def _too_much(name: str, share: float, crack: str, inverted: bool) -> str:
    fix = "leave out `--invert`" if inverted else "if it is drawn dark on bright, add `--invert`"
    return (
        f"`{name}`: {share:.1%} of the mask would be crack ({crack}); {fix}, and if it is right, "
        "name the values of crack with `--values`."
    )
