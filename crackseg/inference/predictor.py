"""A picture of any size becomes crack probability, tile by tile, one row band of floats at a time.

Where a device has no room for a batch, the batch is halved; then the tile is; at last the CPU takes
over. The last two are flagged in the result.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from crackseg import __version__
from crackseg.config import PredictOptions
from crackseg.errors import ModelError
from crackseg.imagery.blank import BlankCounter
from crackseg.imagery.clarity import ClarityCounter, impaired, spoilt, unsteady
from crackseg.imagery.files import OpenImage
from crackseg.imagery.greenery import ColourCounter
from crackseg.imagery.tiles import Axis, Band, fill_invalid, pad_tile, plan_axis
from crackseg.inference.band_files import BandFiles
from crackseg.inference.batches import Batcher, batch_that_pays
from crackseg.inference.choosing import Chosen, choose
from crackseg.inference.models import Model, load_model
from crackseg.inference.runtimes import Forward
from crackseg.records import Array, ModelCard, Notice, Prediction, Window
from crackseg.runs import Runs

Progress = Callable[[float], None]

_LOADED_PX = 4096  # columns of a wide picture that are read at once
_UNTRIED_TILES = 8  # at once on TensorRT, which would build for minutes to try each number
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
        self._batch: int | None = None  # that was found to pay there

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
        self,
        image: OpenImage,
        progress: Progress | None = None,
        inside: Array | None = None,
        folder: Path | None = None,
    ) -> Prediction:
        """Return the crack probability of every pixel; 0 where a pixel does not count.

        Args:
            image: an open image.
            progress: called with the share done, 0 to 1, after every batch.
            inside: (H, W) bool, where to look; None: everywhere.
            folder: where what is found in a large picture is kept, so that the next call with the
                same picture goes on from there; the caller removes it. None: nowhere.

        Raises:
            UnknownName, MissingExtra: the runtime is not known or not installed.
            ConfigError: the tile does not fit the model, or the device is not there.
            ImageError: the picture is damaged.
            ModelError: not even one small tile fits into memory, or the network gives nan.
        """
        for attempt in _attempts(self.card, self.options):
            try:
                return self._predict(image, attempt, progress, inside, folder)
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
        folder: Path | None,
    ) -> Prediction:
        chosen = self._open_on(attempt.device)
        forward = _read_often(chosen.forward, attempt.readings, attempt.reread_from)
        batch = attempt.batch or self._batch_on(attempt.device, _tile_px(self.card, attempt))
        batcher = Batcher(forward, batch, ahead=attempt.device != "cpu")
        size = (image.info.height_px, image.info.width_px)
        blank, clarity, colour = BlankCounter(*size), ClarityCounter(*size), ColourCounter()
        made_of = _made_of(image, self.card, chosen.options, attempt, inside)
        store = BandFiles(size, folder, made_of)
        valid = _all_tiles(
            image, self.card, attempt, batcher, ((blank, clarity, colour), progress), inside, store
        )
        measures = clarity.measures()
        return Prediction(
            probability=store.planes[0],
            other=store.planes[1] if len(store.planes) > 1 else None,
            valid=valid,
            tile_px=_tile_px(self.card, attempt),
            overlap_px=attempt.overlap_px,
            forward_s=store.forward_s + batcher.seconds,
            outside_px2=0.0 if inside is None else float(np.count_nonzero(~inside)),
            blank_px2=blank.areas_px2(),
            spoilt=spoilt(measures),
            impaired=impaired(measures),
            unsteady=unsteady(measures),
            device=attempt.device,
            runtime=chosen.options.runtime,
            precision=chosen.options.precision,
            notices=(
                *colour.notices(),
                *chosen.notices,
                *_fallback(self.options, self.card, attempt),
            ),
        )

    def open_here(self) -> Forward:
        """Return the forward function on the device of the options; see ``runtimes``."""
        return self._open_on(self.options.device).forward

    def _open_on(self, device: str) -> Chosen:
        """Return what runs on a device; what another one holds is released first."""
        if self._opened is None or self._opened[0] != device:
            self._opened = self._batch = None
            self._opened = device, choose(self.model, replace(self.options, device=device))
        return self._opened[1]

    def _batch_on(self, device: str, tile_px: int) -> int:
        """Return how many tiles at once pay on a device, which is tried once."""
        if device == "cpu":
            return 1
        if self._batch is None and device.startswith("tensorrt"):
            self._batch = _UNTRIED_TILES
        if self._batch is None:
            self._batch = batch_that_pays(self._open_on(device).forward, tile_px)
        return self._batch


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
    batcher: Batcher,
    sinks: tuple[tuple[BlankCounter, ClarityCounter, ColourCounter], Progress | None],
    inside: Array | None,
    store: BandFiles,
) -> Runs | None:
    """Fill the planes of probability: of crack and, where the network tells it, of other lines.

    Of bands that were kept, only those are read again that reach into the first that was not.

    Returns:
        (H, W) validity; None: every pixel counts.
    """
    counters, progress = sinks
    height, width = image.info.height_px, image.info.width_px
    plan = {"tile_px": _tile_px(card, options), "overlap_px": options.overlap_px}
    rows = plan_axis(height, **plan, multiple=card.input_multiple)
    cols = plan_axis(width, **plan, multiple=card.input_multiple)
    maps: list[_Map] = []

    def add_maps(count: int) -> None:
        while len(maps) < count:
            maps.append(_Map(rows, cols, height, width))
        while len(store.planes) < count:
            store.add_plane()

    add_maps(max(len(store.planes), 1))
    valid = _Validity(width)
    first = _first_again(rows, store.finished)
    for i, row in enumerate(rows.starts):
        window = Window(row=row, col=0, height=min(rows.size_px, height - row), width=width)
        pixels, has_data = _load(image, window)
        counts = has_data if inside is None else _both(has_data, inside[window.slices])
        for counter in counters:
            counter.add(row, pixels, counts)
        valid.add(row, window.height, counts)
        if i < first:
            continue
        tiles = dict(_cut(pixels, (has_data, counts), rows, cols))
        for k, (j, answer) in enumerate(zip(tiles, batcher([*tiles.values()]), strict=True)):
            add_maps(answer.shape[2] if answer.ndim == 3 else 1)
            for part, plane in zip(np.atleast_3d(answer).transpose(2, 0, 1), maps, strict=False):
                plane.band.add(i, j, part)
            if progress:
                progress((i + (k + 1) / len(tiles)) / len(rows.starts))
        finished = [plane.finish(i, counts) for plane in maps]
        if i >= store.finished:
            store.finish(row, finished, batcher.seconds)
    return valid.runs()


def _first_again(rows: Axis, finished: int) -> int:
    """Return the first row of tiles that reaches into the first one that is not finished."""
    if finished == len(rows.starts):
        return finished
    reaching = (start + rows.size_px > rows.starts[finished] for start in rows.starts)
    return [*reaching].index(True)


class _Map:
    """The band of floats that fills one (H, W) uint8 probability."""

    def __init__(self, rows: Axis, cols: Axis, height_px: int, width_px: int) -> None:
        self._finished = np.zeros((0, width_px), np.uint8)
        self.band = Band(rows, cols, height_px=height_px, width_px=width_px, emit=self._take)

    def _take(self, row: int, finished: Array) -> None:
        self._finished = finished

    def finish(self, i: int, counts: Array | None) -> Array:
        """Return the rows that no later row of tiles touches, 0 where a pixel does not count."""
        self.band.finish(i)
        if counts is not None:
            self._finished *= counts[: len(self._finished)]
        return self._finished


class _Validity:
    """Which pixels count, of a picture that goes by in bands that overlap."""

    def __init__(self, width_px: int) -> None:
        self._width, self._parts, self._rows, self._any = width_px, list[Runs](), 0, False

    def add(self, row: int, height: int, counts: Array | None) -> None:
        """Take the rows of a band that no band before it had; None: every pixel counts."""
        fresh = self._rows - row
        if counts is None:
            self._parts.append(Runs.full(height - fresh, self._width))
        else:
            self._parts.append(Runs.of(counts[fresh:]))
            self._any = True
        self._rows = row + height

    def runs(self) -> Runs | None:
        """Return which pixels count; None: all of them."""
        return Runs.stack(self._parts, self._width) if self._any else None


def _load(image: OpenImage, window: Window) -> tuple[Array, Array | None]:
    """Return the pixels of a wide band as ``OpenImage.load`` does, read some columns at a time.

    What a reader needs beside the pixels is several times as large as they are.
    """
    if window.width <= 2 * _LOADED_PX:
        return image.load(window)
    pixels = np.empty((window.height, window.width, 3), np.uint8)
    valid: Array | None = None
    for left in range(0, window.width, _LOADED_PX):
        width = min(_LOADED_PX, window.width - left)
        part = np.s_[:, left : left + width]
        pixels[part], counts = image.load(replace(window, col=left, width=width))
        if counts is not None:
            valid = np.ones(pixels.shape[:2], bool) if valid is None else valid
            valid[part] = counts
    return pixels, valid


def _made_of(
    image: OpenImage,
    card: ModelCard,
    chosen: PredictOptions,
    attempt: PredictOptions,
    inside: Array | None,
) -> dict[str, Any]:
    """Return what decides the probability of a picture."""
    return {
        "version": __version__,
        "content": image.info.sha256,
        "model": dict(card.sha256),
        "run": [attempt.device, chosen.runtime, chosen.precision],
        "tiles": [_tile_px(card, attempt), attempt.overlap_px],
        "readings": [attempt.readings, attempt.reread_from],
        "inside": None if inside is None else zlib.crc32(np.ascontiguousarray(inside).data),
    }


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
