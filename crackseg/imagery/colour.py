"""Stored colours become sRGB, which the network was taught: ICC profiles, linear light, inks.

A photograph stored in linear light is dark and flat when it is taken for sRGB, one stored as ink
is a negative when its polarity is taken wrongly; neither shows its cracks.
"""

from __future__ import annotations

import functools
import io

import imagecodecs
import numpy as np
from PIL import Image, ImageCms

from crackseg.imagery.source import DECODE_ERRORS
from crackseg.records import Array, Notice

_SPACES = {"RGB ": ("rgb", 3), "GRAY": ("gray", 1), "CMYK": ("cmyk", 4)}
_SAME = 3  # levels of 255: profiles that differ less from sRGB need no conversion
_SRGB_GAMMA = 1 / 2.2
_BLACK = 8.0  # mean level of 255: no photograph of a wall is so dark, its negative may be
_MURKY = 30.0  # with a black ink the wrong polarity is not quite black
_BLANK = 245.0  # the negative of a black frame is no photograph either
_WET = 2.8  # mean total ink, of 4: presses take 3 in the deepest shadow alone


def read_profile(data: bytes | None, channels: int, name: str) -> tuple[bytes | None, list[Notice]]:
    """Return an ICC profile that says more than sRGB, or None, with a notice where one matters.

    Args:
        data: the profile as stored; None: there is none.
        channels: colour samples of a pixel: 1, 3 or 4.
        name: of the file, for the notice.
    """
    if not data:
        return None, []
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data)).profile
        space, needs = _SPACES.get(profile.xcolor_space, ("", 0))
        if needs != channels:
            raise ValueError(f"it is for {profile.xcolor_space.strip()} pixels")
        if channels != 4 and _is_srgb(data, space):
            return None, []
        title = " ".join((profile.profile_description or "unnamed").split())[:60]
    except DECODE_ERRORS as error:
        text = f"`{name}`: its colour profile cannot be used ({error}); colours are taken as sRGB."
        return None, [Notice(code="damaged_profile", message=text)]
    text = f"`{name}` stores colours by the profile {title!r}; they were converted to sRGB."
    return data, [Notice(code="colour_profile", message=text)]


def to_srgb(values: Array, profile: bytes) -> Array:
    """Return (h, w, 3) sRGB of (h, w, 1, 3 or 4) uint8 or uint16 values, in the same depth.

    Args:
        values: samples; of 4, inks with 0 = none.
        profile: ICC bytes that ``read_profile`` let through.
    """
    space = {1: "gray", 3: "rgb", 4: "cmyk"}[values.shape[2]]
    flat = np.ascontiguousarray(values[..., 0] if space == "gray" else values)
    flat = flat.astype(flat.dtype.newbyteorder("="), copy=False)
    srgb: Array = imagecodecs.cms_transform(
        flat, profile, _srgb(), colorspace=space, outcolorspace="rgb"
    )
    return srgb.reshape(*values.shape[:2], 3)


def from_gamma(pixels: Array, gamma: float | None) -> Array:
    """Return uint8 or uint16 values in sRGB of those stored with a PNG's ``gamma`` (1 = linear)."""
    if not is_foreign_gamma(gamma):
        return pixels
    top = np.iinfo(pixels.dtype).max
    linear = (np.arange(top + 1) / top) ** (1 / float(gamma or 1))
    table = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    converted: Array = np.rint(top * table).astype(pixels.dtype)[pixels]
    return converted


def is_foreign_gamma(gamma: float | None) -> bool:
    """Return whether values stored with this gamma look wrong when taken for sRGB."""
    return gamma is not None and 0.1 <= gamma <= 10 and not 0.8 <= gamma / _SRGB_GAMMA <= 1.25


def inks_to_srgb(inks: Array, profile: bytes | None) -> Array:
    """Return (h, w, 3) uint8 of (h, w, 4) uint8 inks (0 = none), by a profile or plainly."""
    if profile is not None:
        return to_srgb(inks, profile)
    return np.asarray(Image.fromarray(np.ascontiguousarray(inks), "CMYK").convert("RGB"))


def upright_inks(inks: Array, *, marked: bool, name: str) -> tuple[Array, Notice]:
    """Return inks with 0 = none, inverted where only that makes a photograph of them.

    Adobe stores inks inverted and says so by a marker; other writers store them as they are, and
    some programs drop the marker.

    Args:
        inks: (h, w, 4) uint8, read by Adobe's custom.
        marked: whether the file has Adobe's marker.
        name: of the file, for the notice.
    """
    some = inks[::8, ::8].astype(np.float64)
    as_is = ((255 - some[..., :3].mean(axis=2)) * (255 - some[..., 3])).mean() / 255
    other = (some[..., :3].mean(axis=2) * some[..., 3]).mean() / 255
    is_dark = as_is < (_BLACK if marked else _MURKY) and 2 * as_is + _BLACK < other
    turn = (is_dark or some.sum(axis=2).mean() > 255 * _WET) and other < _BLANK
    text = f"`{name}` stores printing inks (CMYK): its tones are approximate"
    if turn or not marked:
        text += "; whether inks or their negative are stored was judged by the brightness"
    return (255 - inks if turn else inks), Notice(code="cmyk_converted", message=f"{text}.")


@functools.cache
def _srgb() -> bytes:
    profile: bytes = imagecodecs.cms_profile("srgb")
    return profile


def _is_srgb(data: bytes, space: str) -> bool:
    """Return whether a profile changes neither greys nor full colours by what an eye would see."""
    steps = np.linspace(0, 255, 18).astype(np.uint8)
    sample = np.repeat(steps[None, :, None], 1 if space == "gray" else 3, axis=2)
    if space == "rgb":
        pure = np.eye(3, dtype=np.uint8)[None] * 200
        sample = np.concatenate([sample, pure], axis=1)
    change = np.abs(to_srgb(sample, data).astype(int) - sample)
    return bool(change.max() <= _SAME)
