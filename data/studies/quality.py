"""Ask what a photograph must be like: ``quality.py {detect,limits} FOLDER_OF_THE_SETS HAIR OUT``.

Validation pictures are blurred, moved, darkened, overexposed, recompressed and resized in steps.
``detect`` lets the model read each and counts how much of the labelled centre line it still finds
(hours; what is counted stays in ``OUT/counts.jsonl``). ``limits`` finds the step at which a tenth
is lost, fits the score of blur of ``crackseg.imagery.clarity`` on half of the photographs and says
on the other half how often it warns there, and how often of the pictures as they are.

HAIR is the folder that ``crackseg data hair`` made of the same sets.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from skimage.morphology import skeletonize

from crackseg.config import MaskOptions, PredictOptions
from crackseg.imagery.clarity import (
    ClarityCounter,
    Measures,
    impaired,
    is_worth_a_word,
    spoilt,
)
from crackseg.imagery.files import open_image
from crackseg.inference.models import thresholds
from crackseg.inference.predictor import Predictor
from crackseg.metrics import dilate
from crackseg.metrology.masks import probability_to_mask
from crackseg.records import Sample
from crackseg.training.evaluate import load_samples
from crackseg.training.judge import CLASSES, TOLERANCE_PX, read_truth
from crackseg.training.manifest import read_pair

Array = NDArray[Any]
SETS = ("quay_hair", "wall_hair", "uav_seawall", "sdnet_wall", "masonry", "deepcrack")
HAIR_SETS = ("hair_drawn", "hair_shrunk")
EVERY = {"wall_hair": 3, "deepcrack": 9, "sdnet_wall": 4, "masonry": 5, "hair_drawn": 2,
         "hair_shrunk": 2}  # fmt: skip  # `detect` reads one of so many
STEPS: dict[str, tuple[float, ...]] = {
    "sharp": (0,),
    "focus": (0.8, 1.1, 1.5, 2.0, 2.8),  # standard deviation of the blur, px
    "motion": (3, 4.5, 6, 9),  # px, in any direction
    "dark": (0.03, 0.015, 0.008, 0.004),  # share of the light
    "lifted": (0.004, 0.0015),  # the same, brightened afterwards: noise
    "bright": (2, 4, 6),  # times the light
    "jpeg": (20, 10, 5),  # quality
    "resized": (2, 3, 4),  # made so many times smaller, then as large again
    "fog": (0.7, 0.5, 0.35),  # share of the contrast, the rest is veil
}
TENTH = {"focus": 1.4, "motion": 4, "dark": 0.02, "lifted": 0.0025, "bright": 3, "jpeg": 8,
         "resized": 3}  # fmt: skip  # where about a tenth is lost, by the table of `limits`
WORSE = (("focus", 2.0), ("focus", 2.8), ("motion", 6.0))  # besides
FITTED = {"sharp": 0.0, "focus 1.4": 1.0, "resized 3": 1.0, "motion 4": 1.0, "motion 6": 0.5}
SIDE_PX = 256  # of the part round a crack that is read


# Degrading ------------------------------------------------------------------------------------


def degrade(pixels: Array, name: str, kind: str, step: float) -> Array:
    """Return a picture made worse, alike each time for a name; light is made worse, not levels."""
    rng = np.random.default_rng(zlib.crc32(f"{name}|{kind}".encode()))
    if kind == "sharp":
        return pixels
    electrons = float(rng.choice([60000, 8000, 3000]))  # of white: noise of 0.3 to 1.5 levels
    light = (pixels.astype(np.float32) / 255) ** 2.2
    if kind == "focus":
        light = cv2.GaussianBlur(light, (0, 0), step, borderType=cv2.BORDER_REFLECT)
    elif kind == "motion":
        kernel = line_kernel(step, rng.uniform(0, np.pi))
        light = cv2.filter2D(light, -1, kernel, borderType=cv2.BORDER_REFLECT)
    if kind in ("focus", "motion"):
        exposure = sensor(light, electrons, rng)
        return jpeg(exposure, int(rng.integers(85, 97))) if rng.random() < 0.5 else exposure
    if kind in ("dark", "lifted"):
        return sensor(light * step, 20000, rng, 1.0 if kind == "dark" else 1 / step)
    if kind == "bright":
        return sensor(light * step, 20000, rng)
    if kind == "fog":
        return sensor(light * step + (1 - step) * 0.5, 20000, rng)
    return jpeg(pixels, int(step)) if kind == "jpeg" else resized(pixels, step)


def sensor(light: Array, electrons: float, rng: np.random.Generator, gain: float = 1.0) -> Array:
    """Return levels of light as a sensor counts it: shot noise, and 3 electrons of reading."""
    count = rng.poisson(np.clip(light, 0, 4) * electrons).astype(np.float32)
    count += 3 * rng.standard_normal(light.shape).astype(np.float32)
    levels = np.clip(np.clip(count, 0, None) / electrons * gain, 0, 1) ** (1 / 2.2) * 255
    return np.rint(levels).astype(np.uint8)


def line_kernel(length: float, angle: float) -> Array:
    """Return the kernel of a straight motion."""
    side, fine = (int(np.ceil(length)) | 1) + 2, 9
    kernel = np.zeros((side * fine, side * fine), np.float32)
    middle = (side * fine - 1) / 2
    reach = length * fine / 2 * np.array([np.cos(angle), np.sin(angle)])
    start, end = (tuple(np.rint(middle + sign * reach).astype(int).tolist()) for sign in (-1, 1))
    cv2.line(kernel, start, end, 1.0, fine)
    kernel = cv2.resize(kernel, (side, side), interpolation=cv2.INTER_AREA)
    return kernel / kernel.sum()


def jpeg(pixels: Array, quality: int) -> Array:
    """Return a picture that was stored as JPEG."""
    stored = cv2.imencode(".jpg", pixels[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, quality))[1]
    return cv2.cvtColor(cv2.imdecode(stored, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def resized(pixels: Array, factor: float) -> Array:
    """Return a picture that was made smaller, then as large again."""
    height, width = pixels.shape[:2]
    size = (max(round(width / factor), 1), max(round(height / factor), 1))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


# The pictures ---------------------------------------------------------------------------------


def pictures(root: Path, hair: Path, *more: str) -> Iterator[tuple[str, Sample]]:
    """Yield the name and the sample of every validation picture."""
    for folder, names in ((hair, HAIR_SETS), (root, (*SETS, *more))):
        for name in names:
            for sample in load_samples(folder, split="val", sets=(name,)):
                yield f"{name}/{sample.image.name}", sample


def is_read(name: str) -> bool:
    """Return whether ``detect`` reads a picture."""
    of, file = name.split("/")
    return zlib.crc32(b"e" + file.encode()) % EVERY.get(of, 1) == 0


def is_first_half(name: str) -> bool:
    """Return whether limits may be chosen on a picture: by its photograph, in whatever set."""
    of, file = name.split("/")
    stem = file.rsplit(".", 1)[0]
    stem = re.sub(r"_\d$", "", stem) if of == "hair_drawn" else stem
    photograph = re.sub(r"^(crack_free|deepcrack|sdnet_wall|masonry|cfd|uav_seawall)_", "", stem)
    return zlib.crc32(photograph.encode()) % 2 == 0


def part_of(pixels: Array, label: Array) -> tuple[Array, Array]:
    """Return the part of a pair round a crack."""
    height, width = label.shape
    if max(height, width) <= SIDE_PX or not label.any():
        return pixels, label
    places = np.argwhere(label)
    row, col = places[len(places) // 2]
    top = int(np.clip(row - SIDE_PX // 2, 0, max(height - SIDE_PX, 0)))
    left = int(np.clip(col - SIDE_PX // 2, 0, max(width - SIDE_PX, 0)))
    part = (slice(top, top + SIDE_PX), slice(left, left + SIDE_PX))
    return np.ascontiguousarray(pixels[part]), label[part]


# What is lost ---------------------------------------------------------------------------------


def detect(root: Path, hair: Path, out: Path) -> None:
    """Count the labelled line that is found at every step; what is counted already is passed."""
    predictor = Predictor.open("default", PredictOptions(threads=1))
    counts = out / "counts.jsonl"
    done = {row["name"] for row in read_rows(counts)}
    for name, sample in pictures(root, hair):
        if name in done or not is_read(name):
            continue
        pixels, label = part_of(*read_pair(sample))
        if not label.any():
            continue
        alone = replace(sample, mask=Path("nowhere/masks") / sample.mask.name)  # no zones of a part
        truth = read_truth(alone, pixels, label)
        hits = {}
        for kind, steps in STEPS.items():
            for step in steps:
                marked = lines(predictor, degrade(pixels, name, kind, step))
                near = dilate(marked, TOLERANCE_PX)[truth.line]
                hits[f"{kind} {step:g}"] = by_class(truth.width_class[near])
        row = {"name": name, "labelled": by_class(truth.width_class), "found": hits}
        with counts.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(name, flush=True)


def lines(predictor: Predictor, pixels: Array) -> Array:
    """Return the (H, W) bool centre lines that the product marks."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "picture.png"
        file.write_bytes(cv2.imencode(".png", pixels[..., ::-1])[1].tobytes())
        with open_image(file) as image:
            prediction = predictor.predict(image)
    high, low = thresholds(MaskOptions(), predictor.card)
    mask = probability_to_mask(
        prediction.probability, threshold=high, threshold_low=low, options=MaskOptions()
    )
    return skeletonize(mask) if mask.any() else mask


def by_class(classes: Array) -> list[int]:
    """Return pixels of line by width class."""
    return np.bincount(classes, minlength=len(CLASSES)).tolist()


def read_rows(file: Path) -> list[dict[str, Any]]:
    """Return what was counted."""
    if not file.is_file():
        return []
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def recall(rows: Iterable[dict[str, Any]], step: str, classes: Iterable[int]) -> float:
    """Return the share of the line that is found, the mean over the sets with 50 px of it."""
    of_set: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
    chosen = list(classes)
    for row in rows:
        sums = of_set[row["name"].split("/")[0]]
        sums[0] += sum(row["found"][step][k] for k in chosen)
        sums[1] += sum(row["labelled"][k] for k in chosen)
    shares = [hits / labelled for hits, labelled in of_set.values() if labelled >= 50]
    return float(np.mean(shares)) if shares else float("nan")


def print_losses(rows: list[dict[str, Any]]) -> None:
    """Print what share of the sharp pictures' recall is left at every step."""
    print("| made worse by | step | all widths | < 1.5 px | 1.5-2.5 | 2.5-4 | 4-8 |")
    print("|---" * 7 + "|")
    for kind, steps in STEPS.items():
        columns = [left_of(rows, kind, of) for of in (range(len(CLASSES)), (0,), (1,), (2,), (3,))]
        for step, *shares in zip(steps, *columns, strict=True):
            print(f"| {kind} | {step:g} | " + " | ".join(f"{share:.2f}" for share in shares) + " |")


def left_of(rows: list[dict[str, Any]], kind: str, classes: Iterable[int]) -> list[float]:
    """Return what share of the sharp pictures' recall is left at the steps of a kind."""
    chosen, shares = list(classes), []
    for step in STEPS[kind]:
        name = f"{kind} {step:g}"
        read = [row for row in rows if name in row["found"]]
        shares.append(recall(read, name, chosen) / recall(read, "sharp 0", chosen))
    return shares


def plot_losses(rows: list[dict[str, Any]], file: Path) -> None:
    """Draw what is left at every step."""
    import matplotlib.pyplot as plt

    titles = {
        "focus": "blur, standard deviation in px",
        "motion": "motion, px",
        "resized": "times made smaller, then as large again",
        "dark": "share of the light",
        "bright": "times the light",
        "jpeg": "JPEG quality",
    }
    figure, axes = plt.subplots(2, 3, figsize=(9, 5), sharey=True)
    for axis, (kind, title) in zip(axes.flat, titles.items(), strict=True):
        for name, classes, colour in (
            ("all widths", range(len(CLASSES)), "#1d2126"),
            ("< 1.5 px", (0,), "#c8442c"),
            ("1.5 to 2.5 px", (1,), "#2f78b7"),
        ):
            places = [f"{step:g}" for step in STEPS[kind]]
            shares = left_of(rows, kind, classes)
            axis.plot(places, shares, "o-", ms=3, lw=1.3, c=colour, label=name)
        axis.axhline(0.9, c="#999999", lw=0.8, ls="--")
        axis.set(ylim=(0.15, 1.05))
        axis.set_xlabel(title, fontsize=8)
        axis.tick_params(labelsize=7)
    axes[0, 0].legend(fontsize=7, frameon=False)
    figure.supylabel("recall over that of the sharp pictures", fontsize=8)
    figure.tight_layout()
    figure.savefig(file, dpi=90)


# What tells it --------------------------------------------------------------------------------


def measures_of(pixels: Array) -> Measures | None:
    """Return what the product measures in a picture."""
    counter = ClarityCounter(*pixels.shape[:2])
    counter.add(0, np.ascontiguousarray(pixels), None)
    return counter.measures()


def measured(root: Path, hair: Path) -> dict[str, dict[str, Measures]]:
    """Return the measures of every picture as it is, and of its part made worse."""
    measures: dict[str, dict[str, Measures]] = {}
    for name, sample in pictures(root, hair, "crack_free"):
        pixels, label = read_pair(sample)
        whole = measures_of(pixels)
        if whole is None:
            continue
        measures[name] = {"sharp": whole}
        if name.startswith("crack_free"):
            continue
        part, _ = part_of(pixels, label)
        for kind, step in (*WORSE, *TENTH.items()):
            worse = measures_of(degrade(part, name, kind, step))
            if worse is not None:
                measures[name][f"{kind} {step:g}"] = worse
    return measures


def fit(of_pictures: dict[str, dict[str, Measures]]) -> Array:
    """Return the weights of the score of blur: a logistic regression on half of the photographs.

    Pictures as they are against those blurred to where a tenth is lost, every set counting alike.
    The constant is then moved until the median block of 1.5 % of the sharp pictures is above 0.
    """
    chosen = {name: of for name, of in of_pictures.items() if is_first_half(name)}
    sets = [name.split("/")[0] for name in of_pictures]
    rows, blurred, weight = [], [], []
    for name, of in chosen.items():
        for step, measures in of.items():
            if step not in FITTED:
                continue
            rows.append(np.median(measures.terms().reshape(9, -1), axis=1))
            blurred.append(float(step != "sharp"))
            share = FITTED[step] / sum(FITTED.values()) / sets.count(name.split("/")[0])
            weight.append(40 * share if step != "sharp" else 4.0)
    design = np.column_stack([np.ones(len(rows)), np.array(rows)])

    def loss(weights: Array) -> float:
        score = design @ weights
        fits = np.array(weight) * (np.logaddexp(0, score) - np.array(blurred) * score)
        return float(fits.sum()) + 0.05 * float((weights[1:] ** 2).sum())

    weights = minimize(loss, np.zeros(design.shape[1]), method="BFGS").x
    medians = [
        float(np.median(weights[0] + np.tensordot(weights[1:], of["sharp"].terms(), axes=1)))
        for of in chosen.values()
    ]
    weights[0] -= np.quantile(medians, 0.985)
    return weights


def print_warnings(measures: dict[str, dict[str, Measures]]) -> None:
    """Print, for each half, what share of the pictures the product as it stands warns of."""
    print("| pictures | chosen on | proved on |")
    print("|---|---|---|")
    for step in dict.fromkeys(step for of in measures.values() for step in of):
        shares = []
        for first in (True, False):
            of_set: defaultdict[str, list[bool]] = defaultdict(list)
            for name, of in measures.items():
                if is_first_half(name) == first and step in of:
                    of_set["" if step == "sharp" else name.split("/")[0]].append(warns(of[step]))
            shares.append(f"{np.mean([np.mean(warned) for warned in of_set.values()]):.3f}")
        print(f"| {step} | " + " | ".join(shares) + " |")


def warns(measures: Measures) -> bool:
    """Return whether the report warns of a picture."""
    parts = (*impaired(measures), *spoilt(measures))
    shares: defaultdict[str, float] = defaultdict(float)
    for part in parts:
        shares[part.code] += part.share
    return is_worth_a_word(shares)


def limits(root: Path, hair: Path, out: Path) -> None:
    """Print what is lost, the weights, and what is warned of."""
    rows = read_rows(out / "counts.jsonl")
    print_losses(rows)
    plot_losses(rows, out / "quality.png")
    measures = measured(root, hair)
    print("weights:", ", ".join(f"{weight:.3f}" for weight in fit(measures)))
    print_warnings(measures)


def main(task: str, root: Path, hair: Path, out: Path) -> None:
    """Run one of the two tasks."""
    out.mkdir(parents=True, exist_ok=True)
    {"detect": detect, "limits": limits}[task](root, hair, out)


if __name__ == "__main__":
    main(sys.argv[1], *map(Path, sys.argv[2:5]))
