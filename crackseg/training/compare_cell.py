"""What the processes of a comparison do: write crops and truths, tune a row, run a cell.

Each leaves its result as files below the comparison's folder and is skipped where they are there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from crackseg.config import to_plain
from crackseg.errors import ConfigError, CracksegError, TrainingError
from crackseg.networks import build
from crackseg.networks.cost import measure_cost
from crackseg.records import Array, Sample
from crackseg.training.batch_judge import (
    Exam,
    count_exam,
    prepare_truths,
    read_exam,
    truths_fit,
)
from crackseg.training.checkpoints import write_weights
from crackseg.training.compare_options import CompareOptions, Contestant, file_name, run_options
from crackseg.training.contest import Mark, digest_of, learn, mark_on, predict_by, settle_device
from crackseg.training.crop_pool import Pool, name_pool, write_chunk
from crackseg.training.dataset import Crops, split_samples
from crackseg.training.fit import Segmenter
from crackseg.training.manifest import index_folder, read_manifest, read_pair
from crackseg.training.options import DataOptions, TrainOptions, same_options

Cell = dict[str, Any]
CELL, CURVE = "cell.json", "curve.json"


def start_worker() -> None:
    """Cut crops with one thread: the processes beside this one have the other cores."""
    cv2.setNumThreads(1)


def write_truths(options: CompareOptions, split: str) -> None:
    """Write the labelled centre lines of a split's pictures, also where there are older ones."""
    file, samples = _truths(options, split), _samples(options, split)
    if not truths_fit(samples, file):
        prepare_truths(samples, file)


def write_crops(options: CompareOptions, seed: int, number: int) -> None:
    """Write a chunk of the crops of one seed."""
    crops = _pool(options, seed)
    if not crops.chunk(number).exists():
        data = _data(options)
        write_chunk(crops, _crops(data, _samples(options, "train"), seed), number)


def tune(options: CompareOptions, row: Contestant) -> None:
    """Try the values of ``row.tune``, one option after the other, and write what was best."""
    file = options.out / f"{file_name(row.name)}-tuned.json"
    trials: list[dict[str, Any]] = _read(file)["trials"] if file.exists() else []
    best: dict[str, Any] = {}
    for name, values in row.tune.items():
        of_name = []
        for value in values:
            run = _trial(options, row, {**best, name: value})
            made = [t for t in trials if same_options(t["run"], run)]
            if not made:
                mark = _last_mark(options, run)
                made = [{"option": name, "value": value, "run": to_plain(run), **mark}]
                trials += made
                _write(file, {"trials": trials})
            of_name.append((made[0]["score"], value))
        best[name] = max(of_name, key=lambda pair: pair[0])[1]
    _write(file, {"trials": trials, "best": best})


def tuned(options: CompareOptions, row: Contestant) -> dict[str, Any]:
    """Return the settings that tuning chose; empty for a row that is not tuned."""
    file = options.out / f"{file_name(row.name)}-tuned.json"
    return dict(_read(file)["best"]) if row.tune else {}


def run_cell(options: CompareOptions, row: Contestant, seed: int) -> Cell:
    """Return the finished cell of a network and a seed, running it first if needed.

    Raises:
        ConfigError: it was made with other options.
    """
    run = run_options(row, seed, options, tuned(options, row))
    file = run.out / CELL
    for made in (file, run.out / CURVE):
        if made.exists() and not same_options(_read(made).get("run", to_plain(run)), run):
            raise ConfigError(
                f"{made} was made with other options; choose another `out`, or delete its folder."
            )
    if file.exists():
        return _read(file)
    head = {"name": row.name, "seed": seed, "run": to_plain(run)}
    try:
        cell = head | _run(options, run)
    except (CracksegError, torch.OutOfMemoryError) as error:
        return head | {"failed": str(error)}
    _write(file, cell)
    return cell


def labels_of(options: CompareOptions) -> dict[str, Array]:
    """Return the (H, W) bool labels of the pictures that a comparison shows."""
    if not options.pictures:
        return {}
    named = {f"{s.source}/{s.image.stem}": s for s in _samples(options, "test")}
    return {name: read_pair(named[name])[1] for name in options.pictures if name in named}


def steps_of(options: CompareOptions, row: Contestant) -> int:
    """Return how many steps a cell of a row takes."""
    return run_options(row, options.seeds[0], options).fit.steps


def _run(options: CompareOptions, run: TrainOptions) -> Cell:
    """Train or take up what is trained, and score it on test."""
    device = settle_device()
    marks, module = _train(options, run, device)
    cost = measure_cost(build(run.network, **run.arguments), options.tile_px, options.tile_px)
    test = _exam(options, "test", str(device))
    maps = predict_by(module, test)
    threshold = round(marks[-1]["threshold"] * 100)
    counts = count_exam(test, maps, (threshold,))[:, 0]
    np.save(run.out / "counts.npy", counts.astype(np.int32))
    for name in options.pictures:
        if name in test.names:
            _keep_map(run.out / "pictures", name, _map_of(test, maps, name))
    return {
        "parameters": cost.parameters,
        "gmac": cost.gmac,
        "curve": marks,
        "threshold": threshold / 100,
        "weights_sha256": digest_of(module),
        "pictures": list(test.names),
        "photographs": list(test.photographs),
    }


def _train(options: CompareOptions, run: TrainOptions, device: Any) -> tuple[list[Any], Any]:
    """Return the marks of a training and its module; one that was finished is read.

    One that was stopped goes on, and its marks beyond the stored state are made again.
    """
    run.out.mkdir(parents=True, exist_ok=True)
    weights, log = run.out / "weights.safetensors", run.out / CURVE
    if weights.exists():
        module = Segmenter(run).to(device)
        module.judged.load_state_dict(load_file(weights))
        return list(_read(log)["curve"]), module
    val = _exam(options, "val", str(device))
    state = run.out / "state.ckpt"
    before = _read(log)["curve"] if state.exists() and log.exists() else []
    marks = {mark["step"]: mark for mark in before}
    torch.set_num_threads(run.fit.threads)  # on a CPU the last bits depend on it
    _write(log, {"run": to_plain(run), "curve": list(marks.values())})
    for step, module in learn(run, _pool(options, run.seed), device, options.score_every, state):
        marks[step] = asdict(mark_on(module, step, val))
        _write(log, {"run": to_plain(run), "curve": list(marks.values())})
    tensors = {k: v.detach().cpu() for k, v in module.judged.state_dict().items()}
    write_weights(tensors, weights)
    state.unlink(missing_ok=True)
    return list(marks.values()), module


def _last_mark(options: CompareOptions, run: TrainOptions) -> dict[str, Any]:
    """Return how a trial ends; one that goes astray has the score of nothing found."""
    device = settle_device()
    torch.set_num_threads(run.fit.threads)
    val = _exam(options, "val", str(device))
    try:
        ((step, module),) = learn(run, _pool(options, run.seed), device, run.fit.steps)
        return asdict(mark_on(module, step, val))
    except TrainingError:
        return asdict(Mark(step=run.fit.steps, score=0.0, threshold=0.5, f1=0.0))


def _trial(options: CompareOptions, row: Contestant, values: Mapping[str, Any]) -> TrainOptions:
    run = run_options(row, options.tune_seed, options, values)
    steps = options.tune_steps
    fit = replace(run.fit, steps=steps, steps_per_epoch=min(run.fit.steps_per_epoch, steps))
    return replace(run, fit=fit)


def _keep_map(folder: Path, name: str, probability: Array) -> None:
    file = folder / f"{name.replace('/', '-')}.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(probability).save(file)


def _map_of(exam: Exam, maps: list[Any], name: str) -> Array:
    number = exam.names.index(name)
    for group, of_group in zip(exam.groups, maps, strict=True):
        if number in group.numbers:
            probability: Array = of_group[group.numbers.index(number)].cpu().numpy()
            return probability
    raise AssertionError(name)


def _data(options: CompareOptions) -> DataOptions:
    return run_options(options.network[0], 0, options).data


def _samples(options: CompareOptions, split: str) -> tuple[Sample, ...]:
    """Return the pictures of a split, in order of set and name."""
    data = _data(options)
    sets = (data.val_sets or data.sets) if split == "val" else data.sets
    part = split_samples(_all_samples(data.manifest, data.root, split), split, sets)
    part.sort(key=lambda sample: (sample.source, sample.image.name))
    every = options.test_every if split == "test" else {}
    names = [sample.source for sample in part]
    place = {id(s): names[:k].count(s.source) for k, s in enumerate(part)}
    return tuple(s for s in part if place[id(s)] % every.get(s.source, 1) == 0)


@lru_cache(maxsize=4)
def _all_samples(manifest: Path, root: Path | None, _: str) -> tuple[Sample, ...]:
    if manifest.is_dir():
        return index_folder(manifest)
    return read_manifest(manifest, root=root)


def _pool(options: CompareOptions, seed: int) -> Pool:
    cache = options.cache or options.out / "crops"
    return name_pool(cache, _samples(options, "train"), _data(options), seed)


def _truths(options: CompareOptions, split: str) -> Path:
    return options.out / f"truths-{split}.npz"


_EXAMS: dict[tuple[Path, str, str], Exam] = {}  # pictures that this process holds on its device


def _exam(options: CompareOptions, split: str, device: str) -> Exam:
    key = (options.out, split, device)
    if key not in _EXAMS:
        samples = _samples(options, split)
        _EXAMS[key] = read_exam(samples, _truths(options, split), torch.device(device))
    return _EXAMS[key]


_PAIRS: dict[tuple[Sample, ...], Crops] = {}  # training pictures that this process has decoded


def _crops(data: DataOptions, samples: tuple[Sample, ...], seed: int) -> Crops:
    if samples not in _PAIRS:
        _PAIRS.clear()
        _PAIRS[samples] = Crops(samples, data, seed, lines=False)
    crops = _PAIRS[samples]
    crops.seed = seed
    return crops


def _read(file: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return values


def _write(file: Path, values: Mapping[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    part.write_text(json.dumps(values, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    part.replace(file)
