"""What a network found in a large picture is kept band by band, so that a killed run goes on.

A photograph's probability stays in memory. That of a large picture lies in files, in a folder that
outlives the run, with a note of the bands that are finished: of what they were made, and a checksum
of each. The same picture, model and options go on after the last band whose checksum holds;
anything else begins anew. Without a folder the files are temporary, and nothing is kept.
"""

from __future__ import annotations

import json
import tempfile
import weakref
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from crackseg.disk import OnDisk, Plane, in_file
from crackseg.folders import lock
from crackseg.records import Array

IN_MEMORY_PX = 64_000_000  # pictures of more pixels are kept in files
_PROGRESS, _LOCK = "progress.json", "lock"


class BandFiles:
    """The planes of one picture, filled from top to bottom.

    Args:
        size: (H, W) of the picture.
        folder: where to keep large ones; None, or in use by another process: nowhere.
        made_of: what decides the numbers: what differs in it has nothing to go on from.

    Raises:
        OSError: the folder cannot be written.
    """

    def __init__(
        self, size: tuple[int, int], folder: Path | None, made_of: Mapping[str, Any]
    ) -> None:
        self.size, self.planes = size, list[Plane]()
        self.forward_s = 0.0  # seconds in the network in the runs before this one
        self.finished = 0  # bands of them
        self._is_large = size[0] * size[1] > IN_MEMORY_PX
        self._made_of = json.loads(json.dumps(made_of))
        self._bands: list[dict[str, Any]] = []
        self._folder, lock_file = _lock(folder if self._is_large else None)
        if lock_file is not None:
            weakref.finalize(self, lock_file.close)
        if self._folder is not None:
            self._go_on(self._folder)

    @property
    def is_kept(self) -> bool:
        """Whether what is finished outlives this run."""
        return self._folder is not None

    def add_plane(self) -> None:
        """Make one more plane of zeros."""
        if not self._is_large:
            self.planes.append(np.zeros(self.size, np.uint8))
        elif self._folder is not None:
            path = self._folder / f"plane{len(self.planes)}.bin"
            self.planes.append(in_file(path, self.size, np.uint8))
        else:
            file = tempfile.TemporaryFile(prefix="crackseg-")  # noqa: SIM115
            self.planes.append(OnDisk(file, self.size, np.uint8))

    def take(self, row: int, bands: Sequence[Array], forward_s: float) -> None:
        """Take the finished (n, W) rows of every plane from a row on.

        Args:
            row: of the picture.
            bands: uint8 values of each plane; a plane that is not among them is 0 there.
            forward_s: seconds in the network so far, of this run.
        """
        while len(self.planes) < len(bands):
            self.add_plane()
        bands = [*bands, *[np.zeros_like(bands[0])] * (len(self.planes) - len(bands))]
        for plane, values in zip(self.planes, bands, strict=True):
            if isinstance(plane, OnDisk):
                plane.write(row, values)
            else:
                plane[row : row + len(values)] = values
        if self._folder is not None:
            sums = [zlib.crc32(np.ascontiguousarray(values).data) for values in bands]
            self._bands.append({"row": row, "rows": len(bands[0]), "sums": sums})
            note = {"made_of": self._made_of, "forward_s": self.forward_s + forward_s}
            part = self._folder / f"{_PROGRESS}.part"
            part.write_text(json.dumps({**note, "bands": self._bands}), encoding="utf-8")
            part.replace(self._folder / _PROGRESS)

    def _go_on(self, folder: Path) -> None:
        """Take over the bands of an earlier run that are whole."""
        note: dict[str, Any] = {}
        with suppress(OSError, ValueError):
            note = json.loads((folder / _PROGRESS).read_text(encoding="utf-8"))
        if note.get("made_of") != self._made_of:
            for path in folder.glob("plane*.bin"):
                path.unlink()
            return
        self.forward_s = note["forward_s"]
        for _ in note["bands"][-1]["sums"]:
            self.add_plane()
        for band in note["bands"]:
            if not self._holds(band):
                break
            self._bands.append(band)
        self.finished = len(self._bands)

    def _holds(self, band: Mapping[str, Any]) -> bool:
        planes = [plane for plane in self.planes if isinstance(plane, OnDisk)]
        return all(
            zlib.crc32(plane.read_rows(band["row"], band["rows"]).data) == expected
            for plane, expected in zip(planes, band["sums"], strict=False)
        )


def _lock(folder: Path | None) -> tuple[Path | None, IO[str] | None]:
    """Return the folder, and what keeps other processes out of it; None where one is in it."""
    if folder is None:
        return None, None
    folder.mkdir(parents=True, exist_ok=True)
    lock_file = (folder / _LOCK).open("w")
    if lock(lock_file):
        return folder, lock_file
    lock_file.close()
    return None, None
