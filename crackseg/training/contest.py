"""One network, one seed -> trained on a pool of crops and scored on whole pictures, on one device.

The loop is ``fit``'s without its conveniences: the same loss, optimizer, schedule and running mean,
but crops from a pool, no checkpoints, and scores by ``batch_judge`` that stay on the device. So a
run of minutes becomes one of half a minute on a GPU, and a comparison of dozens is affordable. A
run depends on its options, seed and pool alone, and repeats to the last bit on one kind of device.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from crackseg.errors import ConfigError, TrainingError
from crackseg.networks.layers import pad_to_multiple
from crackseg.records import Array
from crackseg.training.batch_judge import Exam, count_exam, line_counts, predict_exam
from crackseg.training.crop_pool import Pool
from crackseg.training.fit import Segmenter
from crackseg.training.judge import LineCounts, judge, pool
from crackseg.training.options import TrainOptions

LEVELS = tuple(range(10, 100, 10))  # thresholds tried on val, in %


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """How a network stands at one step of its training."""

    step: int
    score: float  # of ``judge`` on val, at the best threshold
    threshold: float
    f1: float  # of the centre lines, mean over the sets with cracks


def settle_device() -> Any:
    """Return the device to train on, with every operation repeatable."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def learn(run: TrainOptions, crops: Pool, device: Any, every: int) -> Iterator[tuple[int, Any]]:
    """Train, and give step number and module after every ``every`` steps and the last one.

    Raises:
        ConfigError: a precision other than full.
        TrainingError: the loss is not finite.
    """
    if run.precision != "32-true":
        raise ConfigError(f"a comparison runs in `32-true`, got `precision` {run.precision!r}.")
    torch.manual_seed(run.seed)
    module = Segmenter(run).to(device).train()
    (optimizer,), (plan,) = module.configure_optimizers()
    weights = list(module.network.parameters())
    for step in range(run.fit.steps):
        torch.manual_seed(run.seed * 1_000_003 + step)
        image, labels = (part.to(device, non_blocking=True) for part in crops.read(step))
        loss = module.loss_of(image, labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if run.fit.clip_norm:
            torch.nn.utils.clip_grad_norm_(weights, run.fit.clip_norm)
        optimizer.step()
        plan["scheduler"].step()
        if run.fit.ema:
            module.average.update_parameters(module.network)
        if (step + 1) % every == 0 or step + 1 == run.fit.steps:
            if not bool(torch.isfinite(loss)):
                raise TrainingError(f"{run.name}: the loss is not finite at step {step + 1}.")
            yield step + 1, module


def predictor(module: Any) -> Callable[[Any], Any]:
    """Return (n, 3, H, W) uint8 -> (n, 1, H, W) logits by the judged weights of a module."""
    network = module.judged
    multiple = getattr(network, "multiple", 32)

    def predict(image: Any) -> Any:
        height, width = image.shape[-2:]
        logits = network(module.normalize(pad_to_multiple(image.float(), multiple)))
        return logits[:, :1, :height, :width]

    return predict


def predict_by(module: Any, exam: Exam) -> list[Any]:
    """Return the (n, H, W) uint8 probabilities of each group of pictures by the judged weights."""
    module.judged.eval()
    maps = predict_exam(exam, predictor(module))
    module.judged.train()
    return maps


def mark_on(module: Any, step: int, exam: Exam) -> Mark:
    """Score the judged weights on ``val``: the best of ``LEVELS`` for all sets together."""
    counts = count_exam(exam, predict_by(module, exam), LEVELS)
    by_level = [by_set(exam, counts[:, column]) for column in range(len(LEVELS))]
    values = [judge(of_sets) for of_sets in by_level]
    best = int(np.argmax(values))
    f1s = [pooled.f1 for pooled in map(pool, by_level[best].values()) if sum(pooled.labelled_px)]
    return Mark(
        step=step,
        score=values[best],
        threshold=LEVELS[best] / 100,
        f1=float(np.mean(f1s)) if f1s else 0.0,
    )


def by_set(exam: Exam, counts: Array) -> dict[str, list[LineCounts]]:
    """Return the centre-line counts of each set's pictures.

    Args:
        exam: the pictures.
        counts: (pictures, fields) at one threshold.
    """
    of_sets: dict[str, list[LineCounts]] = {}
    for source, row in zip(exam.sources, counts, strict=True):
        of_sets.setdefault(source, []).append(line_counts(row))
    return of_sets


def digest_of(module: Any) -> str:
    """Return the sha256 of the judged weights, by which a repeated run is told to be the same."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.judged.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
