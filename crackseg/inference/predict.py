"""A picture of any size becomes crack probability, tile by tile, one row band of floats at a time.

Where a device has no room for a batch, the batch is halved; then the tile is; at last the CPU takes
over. The last two are flagged in the result.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from crackseg.config import PredictOptions
from crackseg.errors import ModelError
from crackseg.imagery.blank import BlankCounter
from crackseg.imagery.files import OpenImage
from crackseg.imagery.tiles import Axis, Band, allocate, fill_invalid, pad_tile, plan_axis
from crackseg.inference.models import Model
from crackseg.inference.runtimes import RUNTIMES, Forward, open_forward
from crackseg.inference.screening import Screened
from crackseg.records import Array, ModelCard, Notice, Prediction, Window

__all__ = ["RUNTIMES", "predict"]

Progress = Callable[[float], None]

_FLAT_PX = 32  # no photograph ends in two block rows without any noise
_LEAST_TILE_PX = 128  # smaller tiles see too little to tell a crack from a joint


def predict(
    image: OpenImage,
    model: Model,
    options: PredictOptions,
    progress: Progress | None = None,
    inside: Array | None = None,
) -> Prediction:
    """Return the crack probability of every pixel; 0 where a pixel does not count.

    Args:
        image: an open image.
        model: a loaded model.
        options: runtime, device, tile, overlap, batch, threads, readings, screen.
        progress: called with the share done, 0 to 1, after every batch.
        inside: (H, W) bool, where to look; None: everywhere.

    Raises:
        ConfigError: the tile does not fit the model, the device is not there, or what should
            screen is no classifier.
        ImageError: the picture is damaged.
        ModelError: not even one small tile fits into memory, or the network gives nan.
    """
    notices: list[Notice] = []
    for attempt in _attempts(model.card, options):
        if notice := _fallback(options, model.card, attempt):
            notices = [notice]
        forward = _open(model, attempt)
        forward = _read_often(forward, attempt.readings)
        screened = Screened(forward, attempt.screen, attempt) if attempt.screen else None
        batcher = _Batcher(screened or forward, attempt.batch)
        try:
            blank = BlankCounter(image.info.height_px, image.info.width_px)
            sinks = (blank, progress)
            outside = 0.0 if inside is None else float(inside.size - np.count_nonzero(inside))
            answer = _all_tiles(image, model.card, attempt, batcher, sinks, inside)
            probability, other, valid = answer
        except MemoryError:
            continue
        return Prediction(
            probability=probability,
            other=other,
            valid=valid,
            tile_px=_tile_px(model.card, attempt),
            overlap_px=attempt.overlap_px,
            forward_s=batcher.seconds,
            outside_px2=outside,
            blank_px2=blank.areas_px2(),
            device=attempt.device,
            notices=(*notices, *([screened.notice()] if screened else []), *_flat_end(image)),
        )
    raise ModelError(
        f"`{image.info.path.name}` cannot be analyzed on `{options.device}`: not even a small tile "
        "fits into memory; close other programs, or take a lighter model."
    )


class _Batcher:
    """Run a forward function batch by batch, halving the batch when memory runs out; keep time."""

    def __init__(self, forward: Forward, batch: int) -> None:
        self._forward = forward
        self.batch = batch
        self.seconds = 0.0

    def __call__(self, tiles: list[Array]) -> Iterator[Array]:
        """Yield the (h, w) float32 probability of each (h, w, 3) uint8 tile, in order."""
        done = 0
        while done < len(tiles):
            stacked = np.stack(tiles[done : done + self.batch])
            start = time.perf_counter()
            try:
                answer = self._forward(stacked)
            except MemoryError:
                if self.batch == 1:
                    raise
                self.batch //= 2
                continue
            finally:
                self.seconds += time.perf_counter() - start
            if not math.isfinite(float(answer.sum())):
                raise ModelError(
                    "the network gave values that are not finite; its weights are damaged, or the "
                    "device's half precision does not suit it."
                )
            yield from answer
            done += len(stacked)


def _read_often(forward: Forward, readings: int) -> Forward:
    """Return the mean of what is found in tiles as they are, mirrored, upside down and both."""
    ways = [(1, 1), (1, -1), (-1, 1), (-1, -1)][:readings]

    def mean(tiles: Array) -> Array:
        answers = []
        for down, right in ways:
            turned = np.ascontiguousarray(tiles[:, ::down, ::right])
            answers.append(forward(turned)[:, ::down, ::right])
        average: Array = np.asarray(np.mean(answers, axis=0, dtype=np.float32))
        return average

    return mean if readings > 1 else forward


def _all_tiles(
    image: OpenImage,
    card: ModelCard,
    options: PredictOptions,
    batcher: _Batcher,
    sinks: tuple[BlankCounter, Progress | None],
    inside: Array | None,
) -> tuple[Array, Array | None, Array | None]:
    """Return (H, W) uint8 probability of crack and, where the network tells it, of other lines.

    Third is the (H, W) bool validity (None: every pixel counts).
    """
    blank, progress = sinks
    height, width = image.info.height_px, image.info.width_px
    plan = {"tile_px": _tile_px(card, options), "overlap_px": options.overlap_px}
    rows = plan_axis(height, **plan, multiple=card.input_multiple)
    cols = plan_axis(width, **plan, multiple=card.input_multiple)
    maps = [_Map(rows, cols, height, width)]
    valid: Array | None = None
    for i, row in enumerate(rows.starts):
        window = Window(row=row, col=0, height=min(rows.size_px, height - row), width=width)
        pixels, seen = image.load(window)
        looked = seen if inside is None else _both(seen, inside[window.slices])
        blank.add(row, pixels, looked)
        if looked is not None:
            valid = allocate((height, width), bool, 1) if valid is None else valid
            valid[window.slices] = looked
        tiles = dict(_cut(pixels, (seen, looked), rows, cols))
        for k, (j, answer) in enumerate(zip(tiles, batcher([*tiles.values()]), strict=True)):
            if answer.ndim == 3 and len(maps) == 1:
                maps.append(_Map(rows, cols, height, width))
            for part, plane in zip(np.atleast_3d(answer).transpose(2, 0, 1), maps, strict=False):
                plane.band.add(i, j, part)
            if progress:
                progress((i + (k + 1) / len(tiles)) / len(rows.starts))
        for plane in maps:
            plane.band.finish(i)
    if valid is not None:
        for plane in maps:
            np.multiply(plane.pixels, valid, out=plane.pixels)
    return maps[0].pixels, maps[1].pixels if len(maps) > 1 else None, valid


class _Map:
    """One (H, W) uint8 probability and the band of floats that fills it."""

    def __init__(self, rows: Axis, cols: Axis, height_px: int, width_px: int) -> None:
        self.pixels = allocate((height_px, width_px), np.uint8, 0)
        self.band = Band(rows, cols, height_px=height_px, width_px=width_px, emit=self._take)

    def _take(self, row: int, finished: Array) -> None:
        self.pixels[row : row + len(finished)] = finished


def _both(seen: Array | None, inside: Array) -> Array:
    return inside if seen is None else np.asarray(seen & inside)


def _cut(
    pixels: Array, counts: tuple[Array | None, Array | None], rows: Axis, cols: Axis
) -> Iterator[tuple[int, Array]]:
    """Yield number and pixels of the tiles of a band that hold a pixel that counts.

    What has no data is filled; what is only not looked at stays, for the network to see around.
    """
    seen, looked = counts
    for j, start in enumerate(cols.starts):
        part = slice(start, start + cols.size_px)
        tile = pixels[:, part]
        if looked is not None and not looked[:, part].any():
            continue
        if seen is not None:
            tile = fill_invalid(tile, seen[:, part])
        yield j, pad_tile(tile, rows.size_px, cols.size_px)


def _flat_end(image: OpenImage) -> list[Notice]:
    """Return a notice when a JPEG has a border strip of one colour: what is made of lost data."""
    height, width = image.info.height_px, image.info.width_px
    if image.info.format not in ("JPEG", "MPO") or min(height, width) < 4 * _FLAT_PX:
        return []
    strips = [  # the stored end is at any side once the picture is upright
        Window(row=height - _FLAT_PX, col=0, height=_FLAT_PX, width=width),
        Window(row=0, col=0, height=_FLAT_PX, width=width),
        Window(row=0, col=width - _FLAT_PX, height=height, width=_FLAT_PX),
        Window(row=0, col=0, height=height, width=_FLAT_PX),
    ]
    flat = [not np.ptp(image.read(strip), axis=(0, 1)).any() for strip in strips]
    if not any(flat) or all(flat):
        return []
    text = f"{_FLAT_PX} px along a side are of one colour: the file may have lost its end."
    return [Notice(code="flat_end", message=text)]


def _open(model: Model, options: PredictOptions) -> Forward:
    return open_forward(
        model, runtime=options.runtime, device=options.device, threads=options.threads
    )


def _tile_px(card: ModelCard, options: PredictOptions) -> int:
    return options.tile_px or card.tile_px


def _attempts(card: ModelCard, options: PredictOptions) -> Iterator[PredictOptions]:
    """Yield what to try, each only when memory ran out before: smaller tiles, then the CPU."""
    for device in dict.fromkeys((options.device, "cpu")):
        tile = _tile_px(card, options)
        yield replace(options, device=device)
        while (tile := tile // 2 // card.input_multiple * card.input_multiple) >= _LEAST_TILE_PX:
            overlap = min(options.overlap_px, tile // 2)
            yield replace(options, device=device, tile_px=tile, overlap_px=overlap, batch=1)


def _fallback(options: PredictOptions, card: ModelCard, attempt: PredictOptions) -> Notice | None:
    if attempt.device != options.device:
        text = f"`{options.device}` ran out of memory: the analysis ran on the CPU."
        return Notice(code="device_fallback", message=text)
    if _tile_px(card, attempt) != _tile_px(card, options):
        text = f"memory ran out: tiles of {attempt.tile_px} px were used."
        return Notice(code="smaller_tiles", message=text)
    return None
