"""Camera raw files and HEIC, read with the extra ``raw`` (rawpy, pi-heif), decoded whole.

Raw data is developed with the camera's white balance and no brightening, so that all pictures of a
flight are developed alike. What the camera would correct, sharpen and curve is not: said in a
notice.
"""

from __future__ import annotations

import io
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from crackseg.errors import ImageError, UnsupportedImage
from crackseg.imagery.colour import read_profile, to_srgb
from crackseg.imagery.metadata import Facts, pillow_tags, read_facts
from crackseg.imagery.source import DECODE_ERRORS, Limits, Source, check_header, multi_page
from crackseg.imagery.stills import Decoded, Whole, where_it_counts
from crackseg.records import Notice


def open_raw(path: Path, data: bytes, limits: Limits) -> Source:
    """Return a source for the bytes of a camera raw file, developed at the first read."""
    rawpy = _extra(path, "rawpy", "a camera raw file")
    facts = _raw_facts(data)
    try:
        with rawpy.imread(io.BytesIO(data)) as raw:
            sizes = raw.sizes
    except rawpy.LibRawError as error:
        raise ImageError(f"`{path.name}` cannot be developed: {_text(error)}.") from error
    turned = sizes.flip in (5, 6)
    height, width = (sizes.width, sizes.height) if turned else (sizes.height, sizes.width)
    stored = 2 * height * width / len(data)
    check_header(path, height, width, stored=stored, limits=limits)

    def develop() -> Decoded:
        try:
            with rawpy.imread(io.BytesIO(data)) as raw:
                pixels = raw.postprocess(use_camera_wb=True, no_auto_bright=True, output_bps=8)
        except rawpy.LibRawError as error:
            raise ImageError(f"`{path.name}` cannot be developed: {_text(error)}.") from error
        if pixels.shape != (height, width, 3):
            raise ImageError(f"`{path.name}` is developed to {pixels.shape}, not to its own size.")
        return pixels, None, []

    message = (
        f"`{path.name}` was developed without the camera's lens corrections, sharpening and tone "
        "curve: widths from 2 px on may read about a pixel too thin. The camera's own JPEG is "
        "what widths were tested on."
    )
    whole = Whole(develop)
    return Source(
        height_px=height,
        width_px=width,
        format="RAW",
        facts=facts,
        decode=whole.decode,
        load=whole.load,
        close=whole.close,
        notices=(Notice(code="raw_developed", message=message),),
    )


def open_heif(path: Path, data: bytes, limits: Limits) -> Source:
    """Return a source for the bytes of HEIC or HEIF, upright as the file says."""
    pi_heif = _extra(path, "pi_heif", "a HEIC/HEIF file")
    picture = pi_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=True)
    width, height = picture.size
    stored = 3 * height * width / len(data)
    check_header(path, height, width, stored=stored, limits=limits)
    tags, notices = pillow_tags(picture.info.get("exif"))
    profile, trouble = read_profile(picture.info.get("icc_profile"), 3, path.name)
    tags.pop("Orientation", None)  # the decoder has turned the picture
    if len(picture) > 1:
        notices.append(multi_page(path, "main one"))

    def decode() -> Decoded:
        shown = picture.to_pillow()
        alpha = np.asarray(shown.getchannel("A")) if "A" in shown.getbands() else None
        rgb = np.asarray(shown.convert("RGB"))
        pixels = rgb if profile is None else to_srgb(rgb, profile)
        return pixels, where_it_counts(pixels, alpha), []

    whole = Whole(decode)
    return Source(
        height_px=height,
        width_px=width,
        format="HEIF",
        facts=read_facts(tags, picture.info.get("xmp")),
        decode=whole.decode,
        load=whole.load,
        close=whole.close,
        notices=(*notices, *trouble),
    )


def _extra(path: Path, module: str, kind: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise UnsupportedImage(
            f"`{path.name}` is {kind} (told by content); pip install 'crackseg[raw]' to read it, "
            "or save it as JPEG or TIFF."
        ) from error


def _raw_facts(data: bytes) -> Facts:
    """Return what the tags of a raw file say, most of which are built like a TIFF."""
    from tifffile import TiffFile

    from crackseg.imagery.tiff import read_tags

    try:
        with TiffFile(io.BytesIO(data)) as file:
            facts, _ = read_tags(file.pages[0])
    except DECODE_ERRORS:
        return Facts()
    return Facts(
        taken_at=facts.taken_at,
        camera=facts.camera,
        gps=facts.gps,
        values=facts.values,
        notices=facts.notices,
    )


def _text(error: Exception) -> str:
    return " ".join(str(error.args[0] if error.args else error).strip("b'").split())[:200]
