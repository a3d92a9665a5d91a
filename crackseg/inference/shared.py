"""The network's pass over a large raster is shared out: rows of tiles go, finished bands return.

Whoever begins the raster keeps what returns where a killed run would go on from. Once all bands are
there, an analysis of the raster goes on from them as any run does, and comes to the same numbers. A
band that does not return is read by that analysis, with all that come after it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crackseg.config import AnalyzeOptions, PredictOptions
from crackseg.imagery.files import OpenImage, open_image
from crackseg.imagery.regions import read_region
from crackseg.inference import band_files
from crackseg.inference.predictor import Predictor
from crackseg.records import Array, ImageInfo

_LEAST_ROWS, _MOST_ROWS = 4, 16  # of tiles in a band: each band reads one row of tiles more
_BANDS_PER_ACTOR = 2
Packed = list[list[tuple[bytes, tuple[int, int]]]]  # of rows of tiles, of planes: bytes and shape


def is_large(info: ImageInfo) -> bool:
    """Return whether a picture is one whose bands are kept."""
    return info.height_px * info.width_px > band_files.IN_MEMORY_PX


@dataclass(frozen=True, slots=True)
class Bands:
    """Some rows of tiles of a raster, for whoever has the model open."""

    path: Path
    content: str  # sha256 of the raster
    options: AnalyzeOptions
    predict: PredictOptions  # with the runtime and the precision that all take
    start: int  # of the rows of tiles
    stop: int
    share: float  # of the raster that is finished with them


class Raster:
    """A raster whose bands are with others, and those that returned.

    Args:
        image: open; it may be closed afterwards.
        predictor: of the model that reads it.
        options: of its analysis.
        folder: where a killed analysis would go on from.
        actors: that read bands at a time.

    Raises:
        Errors of ``Predictor.predict`` before it reads anything.
    """

    def __init__(
        self,
        image: OpenImage,
        predictor: Predictor,
        options: AnalyzeOptions,
        folder: Path,
        actors: int,
    ) -> None:
        self._image, self._options = image.info, options
        inside = _inside(image, options)
        self._store, self._rows, self._predict = predictor.begin_bands(image, inside, folder)
        self._actors, self._is_broken, self._forward_s = actors, False, 0.0

    @property
    def is_kept(self) -> bool:
        """Whether what returns has a place: a raster that another run is at has none."""
        return self._store.is_kept

    def bands(self) -> Iterator[Bands]:
        """Yield what is not finished yet, from top to bottom."""
        info, first, count = self._image, self._store.finished, len(self._rows.starts)
        size = -(-(count - first) // (_BANDS_PER_ACTOR * self._actors))
        size = min(max(size, _LEAST_ROWS), _MOST_ROWS)
        for start in range(first, count, size):
            stop = min(start + size, count)
            share = stop / count
            yield Bands(info.path, info.sha256, self._options, self._predict, start, stop, share)

    def take(self, bands: Bands, answer: tuple[Packed, float] | None) -> None:
        """Keep the bands that returned; None: whoever read them died, or could not."""
        self._is_broken |= answer is None
        if self._is_broken or answer is None:
            return
        planes, seconds = answer
        self._forward_s += seconds
        for i, packed in zip(range(bands.start, bands.stop), planes, strict=True):
            rows = [_unpacked(data, shape) for data, shape in packed]
            self._store.take(self._rows.starts[i], rows, self._forward_s)


def read_bands(
    predictor_of: Callable[[PredictOptions], Predictor], bands: Bands
) -> tuple[Packed, float] | None:
    """Return the bands of a raster and the seconds in the network; None where memory runs out.

    Raises:
        ImageError: the raster cannot be read here, or changed.
        Errors of ``Predictor.predict``.
    """
    options = bands.options
    limit = options.max_megapixels
    with open_image(bands.path, max_megapixels=limit, sha256=bands.content) as image:
        part = range(bands.start, bands.stop)
        predictor = predictor_of(bands.predict)
        try:
            rows = predictor.read_bands(image, _inside(image, options), part)
            packed = [([_packed(plane) for plane in row], seconds) for row, seconds in rows]
        except MemoryError:
            return None
    return [row for row, _ in packed], packed[-1][1]


def _inside(image: OpenImage, options: AnalyzeOptions) -> Array | None:
    region = read_region(options.region, image.info)
    return None if region is None else region.inside


def _packed(plane: Array) -> tuple[bytes, tuple[int, int]]:
    height, width = plane.shape
    return zlib.compress(np.ascontiguousarray(plane).data, 1), (height, width)


def _unpacked(data: bytes, shape: tuple[int, int]) -> Array:
    return np.frombuffer(zlib.decompress(data), np.uint8).reshape(shape)
