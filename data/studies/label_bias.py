"""How much wider than the dark line are labels drawn? ``label_bias.py FOLDER_OR_MANIFEST [ROOT]``.

Annotators draw some lists fat and some exact. A network learns the outline of its train labels; a
list that is labelled otherwise scores it lower, and thresholds chosen there are bent: labels that
are narrower than those learned from ask for higher ones. The width of the line is the one that
``crackseg measure`` reads from the photograph, whatever the label.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from crackseg.config import MaskOptions, MeasureOptions
from crackseg.metrology.cracks import measure
from crackseg.records import SPLITS, Array, Crack, Sample, Window
from crackseg.training.manifest import index_folder, photograph_of, read_manifest, read_pair

SHORTEST_PX = 20.0  # a shorter label is mostly ends, and its area over length tells no width
UNREAD = {"width_from_mask", "not_dark"}  # flags of cracks whose width is not the photograph's


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelBias:
    """Mean widths of one list, weighted by length; nan where no width could be read."""

    source: str
    split: str
    places: int  # photographs (crops of one count once), or sites where they are known
    cracks: int
    label_px: float  # area of the label over its length
    line_px: float  # width of the dark line in the photograph
    bias_px: float  # label less line
    u_px: float  # standard error of the bias over places; nan for a single one


def main(data: Path, root: Path | None) -> None:
    """Print a line for each list of a manifest or of a folder of sets."""
    samples = read_manifest(data, root=root) if data.is_file() else index_folder(data, hashes=False)
    print("set             split       places  cracks  label px  line px  bias px")
    for row in label_bias(samples):
        name = f"{row.source:15} {row.split:11} {row.places:6} {row.cracks:7}"
        widths = f"{row.label_px:9.2f} {row.line_px:8.2f}  {row.bias_px:+.2f} ± {row.u_px:.2f}"
        print(f"{name} {widths if row.cracks else '   no width could be read'}")


def label_bias(samples: Sequence[Sample]) -> tuple[LabelBias, ...]:
    """Return the bias of every set, as they come in, and split, from train to test.

    Args:
        samples: labelled pairs.

    Raises:
        DataError: a picture and its mask are no pair.
        ImageError: a file is unreadable.
    """
    rows: dict[tuple[str, str], list[tuple[str, float, float, float]]] = {}
    for sample in samples:
        of_list = rows.setdefault((sample.source, sample.split), [])
        picture, mask = read_pair(sample)
        cracks, _ = measure(
            mask,
            image=partial(_window, picture),
            mask_options=MaskOptions(),
            options=MeasureOptions(),
        )
        for length, label, line in _read_widths(cracks):
            of_list.append((photograph_of(sample), length, label, line))
    sets = list(dict.fromkeys(sample.source for sample in samples))
    lists = sorted(rows, key=lambda key: (sets.index(key[0]), SPLITS.index(key[1])))
    return tuple(_mean(*key, rows[key]) for key in lists)


def _window(picture: Array, window: Window) -> Array:
    cut: Array = picture[window.slices]
    return cut


def _read_widths(cracks: Iterable[Crack]) -> Iterable[tuple[float, float, float]]:
    """Yield length, width of the label and width of the line of cracks whose line was read."""
    for crack in cracks:
        length, line = crack.length.px, crack.width_mean.px
        if length is None or line is None or length < SHORTEST_PX or UNREAD & set(crack.flags):
            continue
        yield length, crack.mask_area_px2 / length, line


def _mean(source: str, split: str, rows: list[tuple[str, float, float, float]]) -> LabelBias:
    names = np.array([row[0] for row in rows])
    length, label, line = (np.array([row[k] for row in rows], float) for k in (1, 2, 3))
    weight = length / length.sum() if rows else length
    bias = float(weight @ (label - line)) if rows else float("nan")
    return LabelBias(
        source=source,
        split=split,
        places=len(set(names)),
        cracks=len(rows),
        label_px=float(weight @ label) if rows else float("nan"),
        line_px=float(weight @ line) if rows else float("nan"),
        bias_px=bias,
        u_px=_standard_error(names, weight * (label - line - bias)),
    )


def _standard_error(names: Array, shares: Array) -> float:
    """Return that of a weighted mean whose parts, given as deviations, come in groups."""
    groups = [shares[names == name].sum() for name in set(names)]
    if len(groups) < 2:
        return float("nan")
    return float(np.sqrt(np.square(groups).sum() * len(groups) / (len(groups) - 1)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
