"""A picture of any size becomes crack probability, tile by tile, one row band of floats at a time.

Where a device has no room for a batch, the batch is halved; then the tile is; at last the CPU takes
over. The last two are flagged in the result.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from crackseg.config import PredictOptions
from crackseg.errors import ModelError
from crackseg.imagery.blank import BlankCounter
from crackseg.imagery.clarity import ClarityCounter, impaired, spoilt
from crackseg.imagery.files import OpenImage
from crackseg.imagery.tiles import Axis, Band, allocate, fill_invalid, pad_tile, plan_axis
from crackseg.inference.choosing import Chosen, choose
from crackseg.inference.models import Model, load_model
from crackseg.inference.runtimes import Forward
from crackseg.records import Array, ModelCard, Notice, Prediction, Window

Progress = Callable[[float], None]

_LEAST_TILE_PX = 128  # smaller tiles see too little to tell a crack from a joint


class Predictor:
    """A model, its options and its runtime, opened once for many pictures, one after the other.

    The runtime is opened at the first picture and stays open.

    Args:
        model: a loaded model.
        options: runtime, device, tile, overlap, batch, threads, readings.
        name: what the options in a report call the model; None: what its card says.
    """

    def __init__(
        self, model: Model, options: PredictOptions | None = None, *, name: str | None = None
    ) -> None:
        self.model = model
        self.options = options or PredictOptions()
        self.name = name or model.card.name
        self._opened: tuple[str, Chosen] | None = None  # a device, and what runs there

    @classmethod
    def open(cls, name_or_folder: str | Path, options: PredictOptions | None = None) -> Predictor:
        """Return the predictor of a shipped model or of a model folder.

        Raises:
            UnknownName: neither a shipped name nor an existing folder.
            ModelError: the folder is incomplete, or a file does not match the card.
        """
        return cls(load_model(name_or_folder), options, name=str(name_or_folder))

    @property
    def card(self) -> ModelCard:
        """What the model says of itself."""
        return self.model.card

    def predict(
        self, image: OpenImage, progress: Progress | None = None, inside: Array | None = None
    ) -> Prediction:
        """Return the crack probability of every pixel; 0 where a pixel does not count.

        Args:
            image: an open image.
            progress: called with the share done, 0 to 1, after every batch.
            inside: (H, W) bool, where to look; None: everywhere.

        Raises:
            UnknownName, MissingExtra: the runtime is not known or not installed.
            ConfigError: the tile does not fit the model, or the device is not there.
            ImageError: the picture is damaged.
            ModelError: not even one small tile fits into memory, or the network gives nan.
        """
        for attempt in _attempts(self.card, self.options):
            try:
                return self._predict(image, attempt, progress, inside)
            except MemoryError:
                continue
        raise ModelError(
            f"`{image.info.path.name}` cannot be analyzed on `{self.options.device}`: not even a "
            "small tile fits into memory; close other programs, or take a lighter model."
        )

    def _predict(
        self,
        image: OpenImage,
        attempt: PredictOptions,
        progress: Progress | None,
        inside: Array | None,
    ) -> Prediction:
        chosen = self._open_on(attempt.device)
        forward = _read_often(chosen.forward, attempt.readings, attempt.reread_from)
        batcher = _Batcher(forward, attempt.batch)
        size = (image.info.height_px, image.info.width_px)
        blank, clarity = BlankCounter(*size), ClarityCounter(*size)
        probability, other, valid = _all_tiles(
            image, self.card, attempt, batcher, ((blank, clarity), progress), inside
        )
        measures = clarity.measures()
        return Prediction(
            probability=probability,
            other=other,
            valid=valid,
            tile_px=_tile_px(self.card, attempt),
            overlap_px=attempt.overlap_px,
            forward_s=batcher.seconds,
            outside_px2=0.0 if inside is None else float(np.count_nonzero(~inside)),
            blank_px2=blank.areas_px2(),
            spoilt=spoilt(measures),
            impaired=impaired(measures),
            device=attempt.device,
            runtime=chosen.options.runtime,
            precision=chosen.options.precision,
            notices=(*chosen.notices, *_fallback(self.options, self.card, attempt)),
        )

    def open_here(self) -> Forward:
        """Return the forward function on the device of the options; see ``runtimes``."""
        return self._open_on(self.options.device).forward

    def _open_on(self, device: str) -> Chosen:
        """Return what runs on a device; what another one holds is released first."""
        if self._opened is None or self._opened[0] != device:
            self._opened = None
            self._opened = device, choose(self.model, replace(self.options, device=device))
        return self._opened[1]


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


def _read_often(forward: Forward, readings: int, reread_from: float) -> Forward:
    """Return the mean of what is found in tiles as they are, mirrored, upside down and both.

    A tile in which the first reading nowhere reaches ``reread_from`` is read once.
    """

    def mean(tiles: Array) -> Array:
        answer = np.array(forward(tiles))
        again = answer.reshape(len(tiles), -1).max(axis=1) >= reread_from
        if again.any():
            answers = [answer[again]]
            for down, right in [(1, -1), (-1, 1), (-1, -1)][: readings - 1]:
                turned = np.ascontiguousarray(tiles[again, ::down, ::right])
                answers.append(forward(turned)[:, ::down, ::right])
            answer[again] = np.mean(answers, axis=0, dtype=np.float32)
        return answer

    return mean if readings > 1 else forward


def _all_tiles(
    image: OpenImage,
    card: ModelCard,
    options: PredictOptions,
    batcher: _Batcher,
    sinks: tuple[tuple[BlankCounter, ClarityCounter], Progress | None],
    inside: Array | None,
) -> tuple[Array, Array | None, Array | None]:
    """Return (H, W) uint8 probability of crack and, where the network tells it, of other lines.

    Third is the (H, W) bool validity (None: every pixel counts).
    """
    counters, progress = sinks
    height, width = image.info.height_px, image.info.width_px
    plan = {"tile_px": _tile_px(card, options), "overlap_px": options.overlap_px}
    rows = plan_axis(height, **plan, multiple=card.input_multiple)
    cols = plan_axis(width, **plan, multiple=card.input_multiple)
    maps = [_Map(rows, cols, height, width)]
    valid: Array | None = None
    for i, row in enumerate(rows.starts):
        window = Window(row=row, col=0, height=min(rows.size_px, height - row), width=width)
        pixels, has_data = image.load(window)
        counts = has_data if inside is None else _both(has_data, inside[window.slices])
        for counter in counters:
            counter.add(row, pixels, counts)
        if counts is not None:
            valid = allocate((height, width), bool, 1) if valid is None else valid
            valid[window.slices] = counts
        tiles = dict(_cut(pixels, (has_data, counts), rows, cols))
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


def _both(has_data: Array | None, inside: Array) -> Array:
    return inside if has_data is None else np.asarray(has_data & inside)


def _cut(
    pixels: Array, valid: tuple[Array | None, Array | None], rows: Axis, cols: Axis
) -> Iterator[tuple[int, Array]]:
    """Yield number and pixels of the tiles of a band that hold a pixel that counts.

    What has no data is filled; what is only not looked at stays, for the network to see around.
    """
    has_data, counts = valid
    for j, start in enumerate(cols.starts):
        part = slice(start, start + cols.size_px)
        tile = pixels[:, part]
        if counts is not None and not counts[:, part].any():
            continue
        if has_data is not None:
            tile = fill_invalid(tile, has_data[:, part])
        yield j, pad_tile(tile, rows.size_px, cols.size_px)


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


def _fallback(
    options: PredictOptions, card: ModelCard, attempt: PredictOptions
) -> tuple[Notice, ...]:
    if attempt.device != options.device:
        text = f"`{options.device}` ran out of memory: the analysis ran on the CPU."
        return (Notice(code="device_fallback", message=text),)
    if _tile_px(card, attempt) != _tile_px(card, options):
        text = f"memory ran out: tiles of {attempt.tile_px} px were used."
        return (Notice(code="smaller_tiles", message=text),)
    return ()
