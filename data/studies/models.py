"""Judge several models in one run: ``models.py FOLDER_OF_THE_SETS HAIR OUT LABEL=MODEL ...``.

MODEL is the name of a shipped model or a model folder, with ``@READINGS`` (1, 2 or 4) and, where
the picture is to be read enlarged twice as well, ``x2`` behind it: ``"1.5.0, two scales=old@1x2"``.
Several joined by ``+`` are judged by the mean of what they see, at the first one's thresholds.
HAIR is the folder that ``crackseg data hair MANIFEST --sets ...`` makes of the lists below. All
validation pictures are judged at the thresholds of each model's card, by the product's own steps;
those with hair cracks at others too, so that models can be held against each other at the precision
of the first. What is counted stays in OUT, so the same command goes on where it was stopped.
The tables of docs/model.md come from here. Truths take five minutes of a core, a model three.
"""

from __future__ import annotations

import pickle
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from crackseg.config import MaskOptions, PredictOptions
from crackseg.imagery.files import open_image
from crackseg.inference.models import thresholds
from crackseg.inference.predictor import Predictor
from crackseg.records import Sample
from crackseg.training.evaluate import load_samples
from crackseg.training.judge import (
    CLASSES,
    LineCounts,
    Truth,
    count_levels,
    judge,
    line_widths,
    pool,
    read_truth,
)
from crackseg.training.manifest import read_pair

Array = NDArray[Any]
Pair = tuple[int, int]  # lower and upper threshold, %
Tally = dict[Pair, dict[str, list[LineCounts]]]  # -> set -> pictures
Counted = tuple[
    Pair, Tally, Tally
]  # thresholds of the card; all lines, and those of hair width alone
MANIFEST = Path("data/manifests/cracks.csv")
HAIR_SETS = ("quay_hair", "wall_hair", "hair_shrunk", "hair_drawn")
SETS = (*HAIR_SETS, "deepcrack", "uav_seawall", "sdnet_wall", "masonry", "cfd", "crack_free")
GRID = [(low, high) for low in (20, 30, 40, 50, 60, 70) for high in (90, 95, 98, 99)]
KINDS = (("quay_hair", "wall_hair"), ("hair_shrunk",), ("hair_drawn",))  # real, shrunk, drawn
HAIR_PX = 1.0, 2.5  # widths of cracks of which a model may miss least
THIN = 2  # width classes under 2.5 px
LEAST_PX = 50  # of labelled line, for a share to be told


def main(root: Path, hair: Path, out: Path, models: Sequence[str]) -> None:
    """Count what is missing, then print both tables."""
    out.mkdir(parents=True, exist_ok=True)
    real = load_samples(
        MANIFEST,
        root=root,
        split="val",
        sets=[s for s in SETS if s not in ("hair_shrunk", "hair_drawn")],
    )
    samples = [*real, *load_samples(hair, split="val")]
    truths = read_truths(samples, out / "truths.pickle")
    hairs = [of_hair_width(s, t) for s, t in zip(samples, truths, strict=True)]
    tallies = {}
    for spec in models:
        label, model = spec.split("=", 1)
        file = out / f"{label.replace(' ', '_').replace(',', '')}.pickle"
        if not file.is_file():
            file.write_bytes(pickle.dumps(count(model, samples, truths, hairs)))
        tallies[label] = pickle.loads(file.read_bytes())
    for line in (*by_set(tallies), "", *in_all(tallies)):
        print(line)


def read_truths(samples: Sequence[Sample], file: Path) -> list[Truth]:
    """Return the truth of each picture, from ``file`` where it is there."""
    if not file.is_file():
        file.write_bytes(pickle.dumps([read_truth(s, *read_pair(s)) for s in samples]))
    truths: list[Truth] = pickle.loads(file.read_bytes())
    if len(truths) != len(samples):
        raise SystemExit(f"{file} is of other pictures: delete it.")
    return truths


def of_hair_width(sample: Sample, truth: Truth) -> Truth | None:
    """Return what of a labelled line is ``HAIR_PX`` wide, as the first class; None: no hair set."""
    if sample.source not in HAIR_SETS:
        return None
    width = line_widths(truth.line, read_pair(sample)[1], truth.picture)
    inside = (width >= HAIR_PX[0]) & (width < HAIR_PX[1])
    return replace(truth, width_class=np.where(inside, 0, len(CLASSES) - 1))


def count(
    spec: str,
    samples: Sequence[Sample],
    truths: Sequence[Truth],
    hairs: Sequence[Truth | None],
) -> Counted:
    """Return the pair of thresholds of a model's card, and the counts at it and at others."""
    readers = [Reader.of(part) for part in spec.split("+")]
    card = readers[0].predictor.card
    high, low = (round(100 * value) for value in thresholds(MaskOptions(), card))
    tally: Tally = {pair: {} for pair in {(low, high), *GRID}}
    hair_tally: Tally = {(low, high): {}}
    for sample, truth, hair in zip(samples, truths, hairs, strict=True):
        levels = list(tally) if sample.source in HAIR_SETS else [(low, high)]
        probability = mean([reader.read(sample.image) for reader in readers])
        for pair, counts in count_levels(probability, truth, levels, MaskOptions()).items():
            tally[pair].setdefault(sample.source, []).append(counts)
        if hair is not None:
            (counts,) = count_levels(probability, hair, [(low, high)], MaskOptions()).values()
            hair_tally[low, high].setdefault(sample.source, []).append(counts)
    return (low, high), tally, hair_tally


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """A model, and how a picture is put before it."""

    predictor: Predictor
    enlarged: bool  # at twice the size as well

    @classmethod
    def of(cls, spec: str) -> Reader:
        """Return the reader of ``MODEL@READINGSx2``."""
        model, _, reading = spec.partition("@")
        readings, _, scale = (reading or "1").partition("x")
        options = PredictOptions(
            runtime="onnx", precision="float", readings=int(readings), reread_from=0.0
        )
        return cls(predictor=Predictor.open(model, options), enlarged=bool(scale))

    def read(self, path: Path) -> Array:
        """Return the (H, W) uint8 probability."""
        with open_image(path) as image:
            once = np.asarray(self.predictor.predict(image).probability)
            if not self.enlarged:
                return once
            pixels = image.read()
        with tempfile.TemporaryDirectory() as folder:
            twice = Path(folder) / "twice.png"
            cv2.imwrite(str(twice), cv2.resize(pixels, None, fx=2, fy=2)[..., ::-1])
            with open_image(twice) as image:
                large = np.asarray(self.predictor.predict(image).probability)
        return mean([once, cv2.resize(large, once.shape[::-1], interpolation=cv2.INTER_AREA)])


def mean(seen: Sequence[Array]) -> Array:
    """Return the (H, W) uint8 mean of several probabilities."""
    middle: Array = np.rint(np.mean(seen, axis=0)).astype(np.uint8)
    return middle


def by_set(tallies: Mapping[str, Counted]) -> Iterator[str]:
    """Yield the rows of every set and model at the thresholds of the card."""
    widths = "< 1.5 px | 1.5 to 2.5 | 2.5 to 4 | 4 to 8 | > 8"
    yield f"| set | model | precision | recall | F1 | {widths} | invented |"
    yield "|---" * 11 + "|"
    for source in SETS[:-1]:
        for label, (pair, tally, _) in tallies.items():
            counts = pool(tally[pair][source])
            recalls = [
                recall if labelled >= LEAST_PX else None
                for recall, labelled in zip(counts.recalls[:-1], counts.labelled_px, strict=False)
            ]
            cells = map(share, (counts.precision, counts.recall, counts.f1, *recalls))
            first = source if label == next(iter(tallies)) else ""
            invented = f"{counts.false_px_per_megapixel:.0f}"
            yield f"| {first} | {label} | {' | '.join(cells)} | {invented} |"


def in_all(tallies: Mapping[str, Counted]) -> Iterator[str]:
    """Yield what all sets say together, and thin cracks at the precision of the first model."""
    yield f"| | {' | '.join(tallies)} |"
    yield "|---" * (len(tallies) + 1) + "|"
    rows: dict[str, list[str]] = {}
    precision = 0.0
    for pair, tally, hairs in tallies.values():
        recall, now = thin(tally[pair])
        precision = precision or now
        free = pool(tally[pair]["crack_free"])
        hair = {name: pool(counts) for name, counts in hairs[pair].items()}
        most = max((r for r, p in map(thin, tally.values()) if p >= precision), default=None)
        for name, value in {
            "score": share(judge(tally[pair])),
            "recall below 2.5 px, mean of the four sets with hair cracks": share(recall),
            "their precision": share(now),
            f"the same recall at a precision of {precision:.3f} or more, best thresholds": share(
                most
            ),
            "missed of 1 to 2.5 px, real, shrunk and drawn alike": share(
                alike({name: 1 - counts.recalls[0] for name, counts in hair.items()}), 4
            ),
            "precision, the three alike": share(
                alike({name: counts.precision for name, counts in hair.items()}), 4
            ),
            f"crack-free pictures with a listed crack, of {free.free}": str(free.listed),
        }.items():
            rows.setdefault(name, []).append(value)
    for name, values in rows.items():
        yield f"| {name} | {' | '.join(values)} |"


def thin(of_sets: Mapping[str, Sequence[LineCounts]]) -> tuple[float, float]:
    """Return recall of cracks under 2.5 px and precision, each hair set counting alike."""
    pooled = [pool(of_sets[name]) for name in HAIR_SETS]
    recalls = [sum(c.found_px[:THIN]) / sum(c.labelled_px[:THIN]) for c in pooled]
    return float(np.mean(recalls)), float(np.mean([c.precision for c in pooled]))


def alike(of_sets: Mapping[str, float]) -> float:
    """Return the mean of real, shrunk and drawn cracks, and among the real ones of their sets."""
    return float(np.mean([np.mean([of_sets[name] for name in kind]) for kind in KINDS]))


def share(value: float | None, digits: int = 3) -> str:
    """Return a share as tables show it."""
    return "–" if value is None else f"{value:.{digits}f}".removeprefix("0")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
