"""Ask what a photograph must be like: ``quality.py TASK FOLDER_OF_THE_SETS HAIR OUT``.

Validation pictures are blurred, moved, darkened, overexposed, recompressed and resized in steps.
Tasks, in this order, each taken up where it was stopped:

- ``detect`` lets the model read each and counts how much of the labelled centre line it still finds
  (20 minutes on a core; ``OUT/counts.jsonl``),
- ``measure`` keeps what ``crackseg.imagery.clarity`` measures in each (``OUT/measures``),
- ``limits`` finds the step at which a tenth is lost, fits the scores of blur on the validation and
  training pictures and on rendered walls, says how often a fit without them warns of validation
  pictures, and how often the product as it stands warns, also of sets that no fit sees,
- ``noise`` fits the score of blur under noise on the training pictures and on rendered walls, and
  says how often the product as it stands warns of validation pictures (8 minutes),
- ``widths`` draws cracks on sound walls, makes them worse, and says by how much the widths read
  there are off where the product calls the place soft, blurred or spoilt; of cracks that are sharp
  by their own look, which the product believes there, it says how many lie in their intervals.

HAIR is the folder that ``crackseg data hair`` made of the same sets.
"""

from __future__ import annotations

import json
import pickle
import re
import sys
import tempfile
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logsumexp, softmax
from skimage.morphology import skeletonize

from crackseg.config import MaskOptions, MeasureOptions, PredictOptions
from crackseg.imagery.clarity import (
    WEIGHTS,
    WORTH_BLURRED,
    ClarityCounter,
    Measures,
    impaired,
    is_worth_a_word,
    spoilt,
)
from crackseg.imagery.files import open_image
from crackseg.imagery.structure import tells_sharpness
from crackseg.inference.models import thresholds
from crackseg.inference.predictor import Predictor
from crackseg.metrics import dilate
from crackseg.metrology.cracks import measure as measure_cracks
from crackseg.metrology.masks import probability_to_mask
from crackseg.metrology.phantoms import Look, draw, wandering
from crackseg.metrology.unclear import OFF_PX
from crackseg.records import Crack, Sample
from crackseg.training.evaluate import load_samples
from crackseg.training.judge import CLASSES, TOLERANCE_PX, read_truth
from crackseg.training.manifest import read_pair
from crackseg.training.rendered import render

Array = NDArray[Any]
SETS = ("quay_hair", "wall_hair", "uav_seawall", "sdnet_wall", "masonry", "deepcrack")
HAIR_SETS = ("hair_drawn", "hair_shrunk")
MORE = ("quay_hair", "uav_seawall", "sdnet_wall", "masonry", "deepcrack", "crack_free")
FRESH = ("cfd", "crack500", "uavcrackx", "ceramic", "ceramic_more", "crack_free_cc0")  # no fit
RENDERED, LINED = 80, 64  # walls rendered, smooth walls with one sharp line
EVERY = {"wall_hair": 3, "deepcrack": 9, "sdnet_wall": 4, "masonry": 5, "hair_drawn": 2,
         "hair_shrunk": 2}  # fmt: skip  # `detect` reads one of so many
STEPS: dict[str, tuple[float, ...]] = {
    "sharp": (0,),
    "focus": (0.8, 1.1, 1.3, 1.5, 1.75, 2.0, 2.8),  # standard deviation of the blur, px
    "motion": (3, 4, 5, 6, 9),  # px, in any direction
    "dark": (0.03, 0.015, 0.008, 0.004),  # share of the light
    "lifted": (0.004, 0.0015),  # the same, brightened afterwards: noise
    "bright": (2, 4, 6),  # times the light
    "jpeg": (30, 20, 15, 10, 7, 5),  # quality
    "resized": (2, 3, 4),  # made so many times smaller, then as large again
    "fog": (0.7, 0.5, 0.35),  # share of the contrast, the rest is veil
}
ASKED: dict[str, tuple[float, ...]] = {
    "sharp": (0,),
    "taken": (0,),  # as it is, by a sensor and a JPEG: what blurred ones have besides
    "noisy": (2, 4),  # as it is, with noise of so many grey levels
    "focus": (
        0.8,
        1.1,
        1.4,
        1.6,
        2.0,
        2.8,
        4.0,
    ),  # a tenth is lost at 1.4, by the table of `limits`
    "grain": (1.6, 2.0),  # out of focus, and with noise of 3 grey levels
    "motion": (3, 4, 5, 6, 9),  # at 4
    "resized": (2, 3),  # at 3
    "dark": (0.018,),
    "lifted": (0.003,),
    "bright": (3.5,),
    "jpeg": (50, 30, 20, 15, 9),  # at 9
}
ASKED_OF_MORE: dict[str, tuple[float, ...]] = {  # of pictures that no model is asked of
    "sharp": (0,),
    "taken": (0,),
    "noisy": (2, 4),
    "focus": (1.4, 1.6, 2.0, 2.8, 4.0),
    "grain": (1.6, 2.0),
    "motion": (4, 5, 6, 9),
    "resized": (3,),
    "jpeg": (30, 9),
}
AS_IT_IS = ("sharp 0", "taken 0", "noisy 2", "noisy 4")
# What the scores are fitted on, with weights: each start on one kind, then all on all.
FITTED = (
    {"focus 1.4": 2.0, "focus 1.6": 1.0, "focus 2": 1.0, "focus 2.8": 0.5, "grain 1.6": 0.7,
     "grain 2": 0.7},
    {"motion 4": 2.5, "motion 5": 1.5, "motion 6": 1.0, "motion 9": 1.0},
    {"resized 3": 2.0},
)  # fmt: skip
AGAINST = {"sharp 0": 4.0, "taken 0": 4.0, "noisy 2": 2.0, "noisy 4": 2.0}
COPIES = (1, 1, 1, 2, 0)  # of which of them further scores start, moved a little at random
SOFTNESS, FREEDOM = 0.5, 6.0  # of the maximum while fitting; against large weights
FALSE_ALARMS = 0.01  # of the validation pictures as they are, by blur
FOLDS = 4
BLURS = (("focus", 1.4), ("focus", 2.0), ("focus", 2.8), ("motion", 4), ("motion", 6))
# Noise, standard deviation in grey levels, by itself and over blur: some levels of each picture.
NOISES = (3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 11.0)
UNDER_NOISE = (("sharp", 0), ("focus", 2), ("focus", 3), ("focus", 5), ("focus", 8), ("focus", 12),
               ("motion", 7), ("motion", 10), ("motion", 15))  # fmt: skip
NOISES_EACH, NOISE_BINS, NOISE_SIDE_PX = 2, (5.5, 8.5), 512
DRAWN_PX = (0.7, 1.0, 2.0, 4.0, 8.0)  # widths of drawn cracks
TERMS = len(WEIGHTS[0]) - 1
BLOCKS = 4  # of a picture that a fit looks at
SIDE_PX = 256  # of the part round a crack that is read


# Degrading ------------------------------------------------------------------------------------


def degrade(pixels: Array, name: str, kind: str, step: float) -> Array:
    """Return a picture made worse, alike each time for a name; light is made worse, not levels."""
    rng = np.random.default_rng(zlib.crc32(f"{name}|{kind}".encode()))
    if kind == "sharp":
        return pixels
    electrons = float(rng.choice([60000, 8000, 3000]))  # of white: noise of 0.3 to 1.5 levels
    light = (pixels.astype(np.float32) / 255) ** 2.2
    if kind in ("focus", "grain"):
        light = cv2.GaussianBlur(light, (0, 0), step, borderType=cv2.BORDER_REFLECT)
    elif kind == "motion":
        kernel = line_kernel(step, rng.uniform(0, np.pi))
        light = cv2.filter2D(light, -1, kernel, borderType=cv2.BORDER_REFLECT)
    if kind in ("focus", "motion", "taken"):
        exposure = sensor(light, electrons, rng)
        return jpeg(exposure, int(rng.integers(85, 97))) if rng.random() < 0.5 else exposure
    if kind == "noisy":
        return noisy(pixels, step, rng)
    if kind == "grain":
        return noisy(sensor(light, electrons, rng), 3, rng)
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


def noisy(pixels: Array, spread: float, rng: np.random.Generator) -> Array:
    """Return a picture with noise of a standard deviation in grey levels."""
    noise = spread * rng.standard_normal(pixels.shape).astype(np.float32)
    return np.clip(np.rint(pixels + noise), 0, 255).astype(np.uint8)


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


def more_pictures(root: Path) -> Iterator[tuple[str, Sample]]:
    """Yield the name and the sample of every training picture: limits of few need many."""
    for name in MORE:
        for sample in load_samples(root, split="train", sets=(name,)):
            yield f"{name}:train/{sample.image.name}", sample


def fresh_pictures(root: Path) -> Iterator[tuple[str, Sample]]:
    """Yield the name and the sample of every picture of the sets that no fit sees."""
    for name in FRESH:
        for sample in load_samples(root, split="train", sets=(name,)):
            if is_asked(sample.image.name):
                yield f"{name}:fresh/{sample.image.name}", sample


def drawn_pictures() -> Iterator[tuple[str, Array]]:
    """Yield the name and the pixels of sharp walls that are drawn."""
    for number in range(RENDERED):
        yield f"rendered:train/{number}", render(number).picture
    for number in range(LINED):
        yield f"lined:train/{number}", lined_wall(number)


def lined_wall(number: int) -> Array:
    """Return a smooth wall with one sharp line in any direction, and noise."""
    rng = np.random.default_rng(number)
    grey = np.full((SIDE_PX, SIDE_PX), rng.uniform(90, 220), np.float32)
    first = int(rng.integers(60, 190))
    grey[:, first : first + int(rng.integers(1, 13))] *= rng.uniform(0.2, 0.9)
    turn = cv2.getRotationMatrix2D((SIDE_PX / 2, SIDE_PX / 2), rng.uniform(0, 180), 1)
    grey = cv2.warpAffine(grey, turn, grey.shape, borderMode=cv2.BORDER_REPLICATE)
    grey = cv2.GaussianBlur(grey, (0, 0), 0.6)
    grey += rng.uniform(0, 5) * rng.standard_normal(grey.shape).astype(np.float32)
    levels = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
    return np.repeat(levels[..., None], 3, axis=2)


def is_read(name: str) -> bool:
    """Return whether ``detect`` reads a picture."""
    of, file = name.split("/")
    return zlib.crc32(b"e" + file.encode()) % EVERY.get(of, 1) == 0


def is_asked(name: str) -> bool:
    """Return whether a fresh picture is looked at: every second."""
    return zlib.crc32(b"a" + name.encode()) % 2 == 0


def is_first_half(name: str) -> bool:
    """Return whether limits may be chosen on a picture: by its photograph, in whatever set."""
    return ":train/" in name or zlib.crc32(photograph_of(name).encode()) % 2 == 0


def fold_of(name: str) -> int:
    """Return the part of the first half that a picture is in, with all of its photograph."""
    return zlib.crc32(b"f" + photograph_of(name).encode()) % FOLDS


def photograph_of(name: str) -> str:
    """Return the name of the photograph that a picture was made of."""
    of, file = name.split("/")
    stem = file.rsplit(".", 1)[0]
    stem = re.sub(r"_\d$", "", stem) if of == "hair_drawn" else stem
    return re.sub(r"^(crack_free|deepcrack|sdnet_wall|masonry|cfd|uav_seawall)_", "", stem)


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


def measure(root: Path, hair: Path, out: Path) -> None:
    """Keep the measures of every picture as it is, and of its part made worse."""
    folder = out / "measures"
    folder.mkdir(exist_ok=True)
    listed = chain(pictures(root, hair, "crack_free"), more_pictures(root), fresh_pictures(root))
    for name, source in chain(listed, drawn_pictures()):
        file = folder / f"{name.replace('/', '-')}.pickle"
        if file.is_file():
            continue
        pixels, label = read_pair(source) if isinstance(source, Sample) else (source, None)
        part = pixels if label is None else part_of(pixels, label)[0]
        by_step = {}
        for kind, steps in steps_of(name).items():
            for step in steps:
                picture = pixels if kind == "sharp" else degrade(part, name, kind, step)
                if (measures := measures_of(picture)) is not None:
                    by_step[f"{kind} {step:g}"] = measures
        file.write_bytes(pickle.dumps((name, by_step)))


def steps_of(name: str) -> dict[str, tuple[float, ...]]:
    """Return what is asked of a picture."""
    if name.startswith("lined"):
        return {"sharp": (0,)}
    return ASKED_OF_MORE if ":" in name else ASKED


def measured(out: Path) -> dict[str, dict[str, Measures]]:
    """Return what ``measure`` kept."""
    files = sorted((out / "measures").glob("*.pickle"))
    pairs = (pickle.loads(file.read_bytes()) for file in files)
    return {name: by_step for name, by_step in pairs if by_step}


def fit(of_pictures: dict[str, dict[str, Measures]]) -> tuple[Array, dict[str, dict[str, float]]]:
    """Return the weights of the scores of blur, and by step the level of each validation picture.

    Each fold is judged by scores fitted on the others: those of pictures that a fit has seen are
    lower than of new ones. From these levels comes the constant.
    """
    known = {name: of for name, of in of_pictures.items() if ":fresh/" not in name}
    levels: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for fold in range(FOLDS):
        weights = fit_scores({n: of for n, of in known.items() if fold_of(n) != fold})
        for name, of in known.items():
            if fold_of(name) == fold and ":" not in name:
                for step, measures in of.items():
                    levels[step][name] = level_of(measures, weights)
    sharp = list(levels["sharp 0"].values())
    limit = float(np.quantile(sharp, 1 - FALSE_ALARMS, method="lower"))
    weights = fit_scores(known)
    weights[:, 0] -= limit
    return weights, {step: {n: v - limit for n, v in of.items()} for step, of in levels.items()}


def level_of(measures: Measures, weights: Array) -> float:
    """Return what the highest score exceeds in as much of a picture as is worth a word."""
    scores = weights[:, :1, None] + np.tensordot(weights[:, 1:], measures.terms(), axes=1)
    level = np.where(np.isfinite(measures.blur()), scores.max(axis=0), -1e3)
    return float(np.quantile(level, 1 - WORTH_BLURRED, method="lower"))


def fit_scores(chosen: dict[str, dict[str, Measures]]) -> Array:
    """Return constants and weights of scores the highest of which parts blurred from sharp.

    Sharp is what lies below all of them: a region of the terms without dents.
    """
    terms, kind, share = blocks_of(chosen)
    mean, spread = terms.mean(axis=0), terms.std(axis=0)
    design = np.column_stack([np.ones(len(terms)), (terms - mean) / spread])
    starts = []
    for k in range(len(FITTED)):
        of_kind = (kind < 0) | (kind == k)
        start = np.zeros((1, design.shape[1]))
        starts.append(fit_from(start, design[of_kind], kind[of_kind] >= 0, share[of_kind])[0])
    rng = np.random.default_rng(0)
    moved = [starts[k] + 0.5 * rng.standard_normal(len(starts[0])) for k in COPIES]
    first = np.array([*starts, *moved])
    first[:, 0] -= 1
    scaled = fit_from(first, design, kind >= 0, share)
    weights = scaled[:, 1:] / spread
    return np.column_stack([scaled[:, 0] - weights @ mean, weights])


def blocks_of(chosen: dict[str, dict[str, Measures]]) -> tuple[Array, Array, Array]:
    """Return the terms of some blocks of every picture, the kind of blur (-1: none), the weight.

    Every set counts by the root of its size.
    """
    sets = Counter(name.split("/")[0] for name in chosen)
    terms, kinds, shares = [], [], []
    for name, of in chosen.items():
        for step, measures in of.items():
            kind = next((k for k, steps in enumerate(FITTED) if step in steps), -1)
            share = (AGAINST if kind < 0 else FITTED[kind]).get(step)
            decidable = np.isfinite(measures.blur()).ravel()
            if share is None or not decidable.any():
                continue
            rows = measures.terms().reshape(TERMS, -1).T[decidable]
            blocks = BLOCKS if decidable.size < 30 else 2 * BLOCKS
            places = np.unique(np.linspace(0, len(rows) - 1, blocks).astype(int))
            terms.append(rows[places])
            kinds += [kind] * len(places)
            shares += [share / np.sqrt(sets[name.split("/")[0]]) / len(places)] * len(places)
    return np.concatenate(terms), np.array(kinds), np.array(shares) / np.mean(shares)


def fit_from(start: Array, design: Array, blurred: Array, share: Array) -> Array:
    """Return the (scores, terms) weights of a logistic regression on the softened maximum."""

    def loss(flat: Array) -> tuple[float, Array]:
        weights = flat.reshape(start.shape)
        scores = design @ weights.T
        score = SOFTNESS * logsumexp(scores / SOFTNESS, axis=1)
        part = softmax(scores / SOFTNESS, axis=1)
        free = weights * (np.arange(start.shape[1]) > 0)
        fits = share * (np.logaddexp(0, score) - blurred * score)
        slope = (part * (share * (expit(score) - blurred))[:, None]).T @ design
        return float(fits.sum() + FREEDOM * (free**2).sum()), (slope + 2 * FREEDOM * free).ravel()

    options = {"maxiter": 300}
    fitted = minimize(loss, start.ravel(), jac=True, method="L-BFGS-B", options=options)
    return fitted.x.reshape(start.shape)


def print_warnings(of_pictures: dict[str, dict[str, Measures]]) -> None:
    """Print what share of the pictures the product as it stands warns of, by where they are."""
    print("| pictures | validation | training | rendered | fresh |")
    print("|---" * 5 + "|")
    for step in dict.fromkeys(step for of in of_pictures.values() for step in of):
        shares = []
        for where in ("", "train", "drawn", "fresh"):
            of_set: defaultdict[str, list[bool]] = defaultdict(list)
            for name, of in of_pictures.items():
                if where_of(name) == where and step in of:
                    of_set["" if step in AS_IT_IS else name.split("/")[0]].append(warns(of[step]))
            means = [np.mean(warned) for warned in of_set.values()]
            shares.append(f"{np.mean(means):.3f}" if means else "–")
        print(f"| {step} | " + " | ".join(shares) + " |")


def where_of(name: str) -> str:
    """Return "" for a validation picture, "train", "drawn", "fresh" for others."""
    if name.startswith(("rendered", "lined")):
        return "drawn"
    return name.split("/")[0].partition(":")[2]


def warns(measures: Measures) -> bool:
    """Return whether the report warns of a picture."""
    parts = (*impaired(measures), *spoilt(measures))
    shares: defaultdict[str, float] = defaultdict(float)
    for part in parts:
        shares[part.code] += part.share
    return is_worth_a_word(shares)


def limits(_root: Path, _hair: Path, out: Path) -> None:
    """Print what is lost, the weights, and what is warned of."""
    rows = read_rows(out / "counts.jsonl")
    print_losses(rows)
    plot_losses(rows, out / "quality.png")
    of_pictures = measured(out)
    weights, levels = fit(of_pictures)
    for row in weights:
        print("weights:", ", ".join(f"{weight:.2f}" for weight in row))
    print("validation pictures that a fit without them calls blurred, mean over sets:")
    for step, of in levels.items():
        of_set: defaultdict[str, list[bool]] = defaultdict(list)
        for name, level in of.items():
            of_set["" if step in AS_IT_IS else name.split("/")[0]].append(level > 0)
        print(f"  {step}: {np.mean([np.mean(warned) for warned in of_set.values()]):.3f}")
    print_warnings(of_pictures)


def noise(root: Path, _hair: Path, _out: Path) -> None:
    """Print the weights of the score of blur under noise, and what is warned of under noise."""
    print("weights:", ", ".join(f"{weight:.2f}" for weight in fit_under_noise(root)))
    print_noise(root)


def fit_under_noise(root: Path) -> Array:
    """Return constant and weights of one score, over the terms of both sizes.

    The constant leaves a hundredth of the sharp pictures with noise above it.
    """
    rows: list[tuple[Array, bool]] = []
    levels = []
    train = (pair for pair in sound_or_not(root, "train") if is_asked(pair[0]))
    for name, pixels in chain(train, drawn_pictures()):
        for kind, _, _, measures in under_noise(name, pixels):
            asked, sharp = measures.tells_under_noise(), kind == "sharp"
            both = np.concatenate([measures.terms(), measures.terms(half=True)])
            if asked.any():
                rows.append((both[:, asked].T, not sharp))
            if sharp:
                levels.append((both, asked))
    chosen = [terms[np.linspace(0, len(terms) - 1, BLOCKS).astype(int)] for terms, _ in rows]
    terms, blurred = np.concatenate(chosen), np.repeat([b for _, b in rows], BLOCKS)
    mean, spread = terms.mean(axis=0), terms.std(axis=0)
    design = np.column_stack([np.ones(len(terms)), (terms - mean) / spread])
    share = np.where(blurred, 0.5 / blurred.mean(), 0.5 / (1 - blurred.mean()))
    weights = fit_from(np.zeros((1, design.shape[1])), design, blurred, share)[0][1:] / spread
    scores = (np.where(asked, np.tensordot(weights, both, axes=1), -1e3) for both, asked in levels)
    highest = [np.quantile(score, 1 - WORTH_BLURRED, method="lower") for score in scores]
    return np.append(-np.quantile(highest, 1 - FALSE_ALARMS, method="lower"), weights)


def print_noise(root: Path) -> None:
    """Print by noise what share of the validation pictures the product as it stands warns of.

    The second number adds those of which it says that they tell nothing of their sharpness.
    """
    told: defaultdict[tuple[str, float, int], list[tuple[bool, bool]]] = defaultdict(list)
    for name, pixels in sound_or_not(root, "val"):
        for kind, step, level, measures in under_noise(name, pixels):
            warned = warns(measures)
            silent = not tells_sharpness(measures)
            told[kind, step, np.digitize(level, NOISE_BINS)].append((warned, warned or silent))
    print("| noise of | 3 to 5 | 6 to 8 | 9 and 11 |")
    for kind, step in UNDER_NOISE:
        shares = (np.mean(told[kind, step, k], axis=0) for k in range(len(NOISE_BINS) + 1))
        print(f"| {kind} {step:g} | " + " | ".join(f"{a:.3f}, {b:.3f}" for a, b in shares) + " |")


def sound_or_not(root: Path, split: str) -> Iterator[tuple[str, Array]]:
    """Yield the name and a part of every picture of a split."""
    for of in MORE:
        for sample in load_samples(root, split=split, sets=(of,)):
            part = read_pair(sample)[0][:NOISE_SIDE_PX, :NOISE_SIDE_PX]
            yield f"{of}/{sample.image.name}", np.ascontiguousarray(part)


def under_noise(name: str, pixels: Array) -> Iterator[tuple[str, float, float, Measures]]:
    """Yield kind, step, noise and measures of a picture made worse, two levels of noise each.

    The noise is alike in all channels, as of black and white, or each channel's own; a third is
    stored as JPEG.
    """
    rng = np.random.default_rng(zlib.crc32(f"{name}|under noise".encode()))
    for kind, step in UNDER_NOISE:
        worse = degrade(pixels, name, kind, step)
        for level in rng.choice(NOISES, NOISES_EACH, replace=False):
            channels = rng.choice([1, 3])
            grain = level * rng.standard_normal((*worse.shape[:2], channels))
            grainy = np.clip(np.rint(worse + grain), 0, 255).astype(np.uint8)
            if rng.random() < 1 / 3:
                grainy = jpeg(grainy, int(rng.integers(85, 97)))
            if (measures := measures_of(grainy)) is not None:
                yield kind, step, float(level), measures


# What widths are read -------------------------------------------------------------------------


def widths(root: Path, _hair: Path, _out: Path) -> None:
    """Print by how much widths are off of cracks drawn on sound walls, where blur is told.

    The mask is the crack's own, fatter by the blur and a pixel, as a network marks it.
    """
    off: defaultdict[str, list[tuple[bool, float]]] = defaultdict(list)
    believed: list[bool] = []
    samples = load_samples(root, split="val", sets=("crack_free",))
    for sample in samples:
        wall, _ = part_of(*read_pair(sample))
        if min(wall.shape[:2]) < SIDE_PX // 2 or measures_of(wall) is None:
            continue
        rng = np.random.default_rng(zlib.crc32(sample.image.name.encode()))
        for kind, step in BLURS:
            for width_px in DRAWN_PX:
                code, crack = read_width(wall, width_px, kind, step, rng)
                if not code or crack is None or crack.width_mean.px is None:
                    continue
                read = crack.width_mean
                off[code].append((is_first_half(f"x/{sample.image.name}"), read.px - width_px))
                if crack.sharp:
                    believed.append(read.low_px <= width_px <= read.high_px)
    print("| where | cracks | 95 % of a half read too thin, too wide by | held by the product |")
    print("|---" * 4 + "|")
    for code, errors in off.items():
        low, high = np.quantile([error for first, error in errors if first], (0.025, 0.975))
        wider, thinner = OFF_PX[code]
        proof = np.array([error for first, error in errors if not first])
        held = np.mean((proof >= -thinner) & (proof <= wider))
        print(
            f"| {code} | {len(errors)} | {-low:.1f}, {high:.1f} px | {held:.3f} of {len(proof)} |"
        )
    print(f"sharp by their own look: {len(believed)}, {np.mean(believed):.3f} in their intervals")


def read_width(
    wall: Array, width_px: float, kind: str, step: float, rng: np.random.Generator
) -> tuple[str, Crack | None]:
    """Return what the middle of a wall is called under a blur, and the crack measured there."""
    height, width = wall.shape[:2]
    start = (height / 2 + rng.uniform(-10, 10), width * 0.15)
    stroke = wandering(start, rng.uniform(-15, 15), width * 0.65, width_px, rng, bend_deg=10)
    look = Look(background=255, contrast=1, blur_px=0.6, noise=0)
    drawn = draw((height, width), [stroke], look, rng)
    light = 1 - rng.uniform(0.6, 0.93) * (1 - drawn.picture / 255)
    worse = degrade(np.rint(wall * light).astype(np.uint8), f"{width_px}", kind, step)
    fatter = 2 * round(1 + step / (1 if kind == "focus" else 3)) + 1
    ellipse = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (fatter, fatter))
    mask = cv2.dilate(drawn.mask.astype(np.uint8), ellipse) > 0
    cracks, _ = measure_cracks(
        mask,
        image=lambda window: worse[window.slices],
        mask_options=MaskOptions(),
        options=MeasureOptions(),
    )
    return called(measures_of(worse)), cracks[0] if cracks else None


def called(measures: Measures | None) -> str:
    """Return what most of a picture is called: "soft", "blurred", or nothing."""
    shares: defaultdict[str, float] = defaultdict(float)
    for part in (*impaired(measures), *spoilt(measures)):
        shares[part.code] += part.share
    blurred, soft = shares["blurred"], shares["soft"]
    return "" if blurred + soft < 0.5 else "blurred" if blurred > soft else "soft"


def main(task: str, root: Path, hair: Path, out: Path) -> None:
    """Run one of the tasks."""
    out.mkdir(parents=True, exist_ok=True)
    tasks = {
        "detect": detect,
        "measure": measure,
        "limits": limits,
        "noise": noise,
        "widths": widths,
    }
    tasks[task](root, hair, out)


if __name__ == "__main__":
    main(sys.argv[1], *map(Path, sys.argv[2:5]))
