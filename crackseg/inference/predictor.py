"""A picture of any size becomes crack probability, tile by tile, one row band of floats at a time.

Where a device has no room for a batch, the batch is halved; then the tile is; at last the CPU takes
over. The last two are flagged in the result.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
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
from crackseg.imagery.structure import tells_sharpness, with_noise
from crackseg.imagery.tiles import Axis
from crackseg.imagery.veil import VeilCounter
from crackseg.inference.band_files import BandFiles
from crackseg.inference.batches import Batcher, batch_that_pays
from crackseg.inference.choosing import Chosen, choose
from crackseg.inference.models import Model, load_model
from crackseg.inference.runtimes import Forward
from crackseg.inference.tile_rows import (
    Loaded,
    Progress,
    TileRows,
    Validity,
    first_again,
    plan_tiles,
    tile_px_of,
)
from crackseg.records import Array, ModelCard, Notice, Prediction
from crackseg.runs import Runs

_Counters = tuple[BlankCounter, ClarityCounter, ColourCounter, VeilCounter]

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
        batcher = self._batcher(attempt)
        size = (image.info.height_px, image.info.width_px)
        blank, clarity = BlankCounter(*size), ClarityCounter(*size)
        colour, veil = ColourCounter(), VeilCounter()
        made_of = _made_of(image, self.card, chosen.options, attempt, inside)
        store = BandFiles(size, folder, made_of)
        valid = _all_tiles(
            image,
            self.card,
            attempt,
            batcher,
            ((blank, clarity, colour, veil), progress),
            inside,
            store,
        )
        measures = clarity.measures()
        return Prediction(
            probability=store.planes[0],
            other=store.planes[1] if len(store.planes) > 1 else None,
            valid=valid,
            tile_px=tile_px_of(self.card, attempt),
            overlap_px=attempt.overlap_px,
            forward_s=store.forward_s + batcher.seconds,
            outside_px2=0.0 if inside is None else float(np.count_nonzero(~inside)),
            blank_px2=with_noise(blank.areas_px2(), measures),
            spoilt=spoilt(measures),
            impaired=impaired(measures),
            unsteady=unsteady(measures),
            tells_sharpness=tells_sharpness(measures),
            device=attempt.device,
            runtime=chosen.options.runtime,
            precision=chosen.options.precision,
            notices=(
                *colour.notices(),
                *veil.notices(),
                *chosen.notices,
                *_fallback(self.options, self.card, attempt),
            ),
        )

    def begin_bands(
        self, image: OpenImage, inside: Array | None, folder: Path
    ) -> tuple[BandFiles, Axis, PredictOptions]:
        """Return what ``predict`` would go on from, its rows of tiles, and how they are read.

        The options name the runtime and the precision that suit this machine, for all others.

        Raises:
            Errors of ``predict`` before it reads anything.
        """
        attempt = next(_attempts(self.card, self.options))
        chosen = self._open_on(attempt.device).options
        size = (image.info.height_px, image.info.width_px)
        rows, _ = plan_tiles(size, self.card, attempt)
        store = BandFiles(size, folder, _made_of(image, self.card, chosen, attempt, inside))
        return store, rows, replace(attempt, runtime=chosen.runtime, precision=chosen.precision)

    def read_bands(
        self, image: OpenImage, inside: Array | None, part: range
    ) -> Iterator[tuple[list[Array], float]]:
        """Yield what some rows of tiles finish of each plane, and the seconds in the network.

        The rows before them that reach into them are read, too. That is all that ``predict`` needs
        to go on after them.

        Args:
            image: an open image.
            inside: (H, W) bool, where to look; None: everywhere.
            part: numbers of the rows of tiles, one after the other.

        Raises:
            MemoryError: a batch of one does not fit.
            Errors of ``predict``.
        """
        options = self.options
        batcher = self._batcher(options)
        tiles = TileRows(image, self.card, options, batcher, inside)
        for i, finished in tiles.read(range(first_again(tiles.rows, part.start), part.stop)):
            if i in part:
                yield finished, batcher.seconds

    def open_here(self) -> Forward:
        """Return the forward function on the device of the options; see ``runtimes``."""
        return self._open_on(self.options.device).forward

    def lanes_here(self) -> int:
        """Return how many threads may call the forward function at a time, at least 1."""
        return max(self._open_on(self.options.device).lanes, 1)

    def _open_on(self, device: str) -> Chosen:
        """Return what runs on a device; what another one holds is released first."""
        if self._opened is None or self._opened[0] != device:
            self._opened = self._batch = None
            self._opened = device, choose(self.model, replace(self.options, device=device))
        return self._opened[1]

    def _batcher(self, attempt: PredictOptions) -> Batcher:
        """Return what reads tiles as often as is asked for, so many at once as pay."""
        chosen = self._open_on(attempt.device)
        forward = _read_often(chosen.forward, attempt.readings, attempt.reread_from)
        batch = attempt.batch or self._batch_on(attempt.device, tile_px_of(self.card, attempt))
        return Batcher(forward, batch, chosen.lanes)

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
    sinks: tuple[_Counters, Progress | None],
    inside: Array | None,
    store: BandFiles,
) -> Runs | None:
    """Fill the planes of probability: of crack and, where the network tells it, of other lines.

    Of bands that were kept, only those are read again that reach into the first that was not.

    Returns:
        (H, W) validity; None: every pixel counts.
    """
    counters, progress = sinks
    tiles = TileRows(image, card, options, batcher, inside)
    count = len(tiles.rows.starts)
    tiles.add_maps(len(store.planes))
    valid = Validity(image.info.width_px)

    def seen(i: int, loaded: Loaded) -> None:
        pixels, _, counts = loaded
        row = tiles.rows.starts[i]
        for counter in counters:
            counter.add(row, pixels, counts)
        valid.add(row, len(pixels), counts)

    first = first_again(tiles.rows, store.finished)
    for i in range(first):
        seen(i, tiles.load(i))
    for i, finished in tiles.read(range(first, count), seen, progress or (lambda share: None)):
        if i >= store.finished:
            store.take(tiles.rows.starts[i], finished, batcher.seconds)
    return valid.runs()


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
        "tiles": [tile_px_of(card, attempt), attempt.overlap_px],
        "readings": [attempt.readings, attempt.reread_from],
        "inside": None if inside is None else zlib.crc32(np.ascontiguousarray(inside).data),
    }


def _attempts(card: ModelCard, options: PredictOptions) -> Iterator[PredictOptions]:
    """Yield what to try, each only when memory ran out before: smaller tiles, then the CPU."""
    for device in dict.fromkeys((options.device, "cpu")):
        tile = tile_px_of(card, options)
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
    if tile_px_of(card, attempt) != tile_px_of(card, options):
        text = f"memory ran out: tiles of {attempt.tile_px} px were used."
        return (Notice(code="smaller_tiles", message=text),)
    return ()
