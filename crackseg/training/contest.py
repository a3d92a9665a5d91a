"""One network, one seed -> trained on a pool of crops and scored on whole pictures, on one device.

The loop is ``fit``'s without its conveniences: the same loss, optimizer, schedule and running mean,
but crops from a pool, scores by ``batch_judge`` that stay on the device, and on a GPU a step that
is recorded once and replayed. So a run of minutes becomes one of half a minute, and a comparison of
dozens is affordable. A run depends on its options, seed and pool alone, and repeats to the last bit
on one kind of device, also where it was stopped on the way and went on from its state.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
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
from crackseg.training.recorded import Recorded

LEVELS = tuple(range(10, 100, 10))  # thresholds tried on val, in %
PRECISIONS = ("32-true", "bf16-mixed")
STATE_S = 60.0  # between two states of a training: what a kill costs


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


def learn(
    run: TrainOptions, crops: Pool, device: Any, every: int, state: Path | None = None
) -> Iterator[tuple[int, Any]]:
    """Train, and give step number and module after every ``every`` steps and the last one.

    Args:
        run: the options.
        crops: that it learns from.
        device: of torch.
        every: steps.
        state: file that holds how far this training came, renewed on the way; one that is there is
            taken up, and the weights are those of a training that was never stopped.

    Raises:
        ConfigError: a precision that needs its losses scaled.
        TrainingError: the loss is not finite.
    """
    if run.precision not in PRECISIONS:
        choice = " or ".join(f"`{name}`" for name in PRECISIONS)
        raise ConfigError(f"a comparison runs in {choice}, got `precision` {run.precision!r}.")
    torch.manual_seed(run.seed)
    module = Segmenter(run).to(device).train()
    (optimizer,), (plan,) = module.configure_optimizers()
    # a network with a loss of its own chooses its targets by their values, which no recording can
    records = device.type == "cuda" and not hasattr(module.network, "loss")
    gradients = Recorded(lambda *batch: _gradients(module, batch), records=records)
    mean = Recorded(_mean_of(module), records=records)
    parts = {"module": module, "optimizer": optimizer, "scheduler": plan["scheduler"]}
    first, stored = _take_up(state, parts), time.monotonic()
    for step in range(first, run.fit.steps):
        torch.manual_seed(run.seed * 1_000_003 + step)
        loss = gradients(*(part.to(device, non_blocking=True) for part in crops.read(step)))
        optimizer.step()
        plan["scheduler"].step()
        if run.fit.ema and step:
            mean()
        elif run.fit.ema:
            module.average.update_parameters(module.network)  # the first mean is a copy
        if (step + 1) % every == 0 or step + 1 == run.fit.steps:
            if not bool(torch.isfinite(loss)):
                raise TrainingError(f"{run.name}: the loss is not finite at step {step + 1}.")
            yield step + 1, module
        if state and step + 1 < run.fit.steps and time.monotonic() - stored > STATE_S:
            _store(state, step + 1, parts)
            stored = time.monotonic()


def _take_up(state: Path | None, parts: Mapping[str, Any]) -> int:
    """Bring module, optimizer and schedule to what is stored; return the steps done."""
    if state is None or not state.exists():
        return 0
    stored = torch.load(state, weights_only=True)  # noqa: TID251 - tensors and plain values only
    for name, part in parts.items():
        part.load_state_dict(stored[name])
    return int(stored["steps"])


def _store(state: Path, steps: int, parts: Mapping[str, Any]) -> None:
    part = state.with_suffix(".part")
    torch.save({name: each.state_dict() for name, each in parts.items()} | {"steps": steps}, part)
    part.replace(state)


def _gradients(module: Any, batch: Sequence[Any]) -> Any:
    """Return the loss of a batch, with its gradients beside the weights."""
    module.network.zero_grad(set_to_none=True)
    with _precision(module):
        loss = module.loss_of(*batch)
    loss.backward()
    limit = module.options.fit.clip_norm
    if limit:
        torch.nn.utils.clip_grad_norm_(module.network.parameters(), limit)
    return loss.detach()


def _precision(module: Any) -> Any:
    """Return in what a module's network is called: as Lightning does for the same option."""
    if module.options.precision == "32-true":
        return nullcontext()
    return torch.autocast(module.device.type, torch.bfloat16)


def _mean_of(module: Any) -> Callable[[], None]:
    """Return what moves the running mean of the weights, as ``AveragedModel`` does after a step.

    Its own method asks the device for the number of steps each time, and so waits for it.
    """
    average = module.average
    by_type: dict[Any, list[tuple[Any, Any]]] = defaultdict(list)
    for mean, value in zip(_tensors(average.module), _tensors(module.network), strict=True):
        by_type[mean.dtype].append((mean.detach(), value.detach()))
    columns = [tuple(map(list, zip(*pairs, strict=True))) for pairs in by_type.values()]

    def move() -> None:
        for means, values in columns:
            average.multi_avg_fn(means, values, average.n_averaged)
        average.n_averaged += 1

    return move


def _tensors(network: Any) -> Iterator[Any]:
    return itertools.chain(network.parameters(), network.buffers())


def predictor(module: Any) -> Callable[[Any], Any]:
    """Return (n, 3, H, W) uint8 -> (n, 1, H, W) logits by the judged weights of a module."""
    network = module.judged
    multiple = getattr(network, "multiple", 32)

    def predict(image: Any) -> Any:
        height, width = image.shape[-2:]
        with _precision(module):
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
