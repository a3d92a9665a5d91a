"""The options of a training run, as they stand in RUN.toml, each with the reason of its default.

"Not varied alone" says that the default comes from the first training and was taken on because
the model was good: nobody has shown that another value is worse. E numbers are sections of
``data/EXPERIMENTS.md``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crackseg.config import MOST_THREADS, read_options, to_plain
from crackseg.errors import ConfigError
from crackseg.idle import idle_settings
from crackseg.training.augment import AugmentOptions

OPTIMIZERS = ("adamw", "adam", "sgd")
SCHEDULES = ("constant", "cosine", "paper", "wsd")
ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")
LOGGERS = ("mlflow", "wandb")
PRECISIONS = ("32-true", "16-mixed", "bf16-mixed")


@dataclass(frozen=True, slots=True, kw_only=True)
class DataOptions:
    """Which pictures, and how often each set is drawn."""

    manifest: Path  # of `crackseg data index`; its hashes say which pictures a run saw
    root: Path | None = None  # folder the manifest's paths are relative to; None: its own
    sets: tuple[str, ...] = ()  # trained on; all when empty, as who lists sets means to use them
    val_sets: tuple[str, ...] = ()  # validated on; those of `sets` when empty
    # set -> share of crops. 1: nobody knows beforehand that a set is worth more than another.
    weights: Mapping[str, float] = field(default_factory=dict)
    # sets whose long dark lines outside the masks are other lines; none: only who has looked at a
    # set knows that its masks leave no crack out
    joints: tuple[str, ...] = ()
    # sets whose labels' outline is to be met: its pixels weigh `fit.outline_weight` (E36)
    outlines: tuple[str, ...] = ()
    # Eight crops of this side take two cores a second and hold a crack with its surroundings. The
    # shipped model's last stage had 320 px (E28).
    crop_px: int = 256
    # crops of a batch, over all devices: about a step a second on two cores; not varied alone
    batch: int = 8
    # share of crops laid so that they hold crack, in pictures that have some, as most of a wall is
    # free of it. 0.4 was no better (E8).
    aim: float = 0.7
    workers: int = 0  # processes that cut crops beside the training; two cores have none to spare
    # that decoded pictures may take; 0: half of what is free, as the network needs the rest
    memory_gb: float = 0.0
    # folder for decoded pictures beyond that; None: in `out`, which need not be on a large disk
    cache: Path | None = None
    augment: AugmentOptions = field(default_factory=AugmentOptions)

    def __post_init__(self) -> None:
        _must(self.crop_px >= 16, "crop_px", "at least 16; 256 is usual", self.crop_px)
        _must(self.batch >= 1, "batch", "at least 1; 8 is usual", self.batch)
        _must(0 <= self.aim <= 1, "aim", "a share from 0 to 1", self.aim)
        _must(0 <= self.workers <= MOST_THREADS, "workers", f"0 to {MOST_THREADS}", self.workers)
        _must(
            0 <= self.memory_gb < math.inf, "memory_gb", "a finite number from 0 on", self.memory_gb
        )
        for name, weight in self.weights.items():
            finite = isinstance(weight, int | float) and math.isfinite(weight)
            _must(finite and weight >= 0, f"weights.{name}", "a finite number from 0 on", weight)


@dataclass(frozen=True, slots=True, kw_only=True)
class FitOptions:
    """How the weights are found."""

    steps: int = 5000  # from nothing; from the shipped model 1000 to 1500 are enough (E7, E20)
    # Validation, checkpoint and log come once an epoch: a kill costs four minutes of two cores.
    steps_per_epoch: int = 250
    # Dice, as crack pixels are few; cross entropy, as Dice hardly pulls where there is no crack.
    # Dice of the whole batch alone gained nothing and asked for another threshold (E16).
    loss: str = "dice_bce"
    # of the branches' own losses beside the result's. Equal weights won in Zou et al. 2019; half
    # was not the best of the comparison, where CDDS did best without them (docs/comparison.md).
    branch_weight: float = 0.5
    other_weight: float = 0.5  # of a second output, other lines: cracks count more; not varied
    # of crack pixels within 2 px of the outline of labels in `data.outlines`: above 1 it is met at
    # a threshold above a half, such as the hysteresis' lower one (E36)
    outline_weight: float = 1.0
    # adamw | adam | sgd. The decay stays apart from the gradient (Loshchilov and Hutter 2019).
    optimizer: str = "adamw"
    # AdamW's usual rate for a network from nothing. Go on from a trained one with 3e-4: at 1e-3 it
    # forgot walls (E28).
    lr: float = 1e-3
    encoder_lr_ratio: float = 0.5  # pretrained weights know edges already; not varied alone
    weight_decay: float = 1e-2  # torch's default of AdamW; not varied alone
    # constant | cosine | paper (1e-4, 1e-5, 1e-6 in thirds) | wsd: constant, then down to zero, so
    # that a run can be made longer without doing its first part again (Hu et al. 2024).
    schedule: str = "wsd"
    warmup_steps: int = 200  # AdamW's mean squares are noise at first; not varied alone
    decay_share: float = 0.35  # wsd: last part of the run, in which lr falls; not varied alone
    # Running mean of the weights, over about 500 steps: it is judged and exported, as single steps
    # scatter. 0 switches it off.
    ema: float = 0.998
    accumulate: int = 1  # batches to a step; more where the memory does not hold a larger `batch`
    clip_norm: float = 1.0  # so that one wrong label cannot throw the weights; 0: off; not varied
    # Stop after so many epochs without a better score; 0: never, as the score moves by more than
    # it gains from epoch to epoch before lr falls (E7).
    patience_epochs: int = 0
    keep: str = "best"  # weights it ends with: best by the score on val, as runs waver (E7) | last
    threads: int = 2  # cores of the machine it was made on; the weights do not depend on it

    def __post_init__(self) -> None:
        if self.steps < 1 or self.steps_per_epoch < 1:
            raise ConfigError(
                f"`steps` and `steps_per_epoch` must be at least 1, got {self.steps} and "
                f"{self.steps_per_epoch}."
            )
        if self.steps_per_epoch > self.steps:
            raise ConfigError(
                f"`steps_per_epoch` must be at most `steps`, {self.steps}, got "
                f"{self.steps_per_epoch}: weights are validated and kept once an epoch."
            )
        if not 0 <= self.ema < 1:
            raise ConfigError(f"`ema` must lie in [0, 1), got {self.ema}; 0.998 is usual.")
        if self.keep not in ("best", "last"):
            raise ConfigError(f"`keep` must be best or last, got {self.keep!r}.")
        for name, names in (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES)):
            value = getattr(self, name)
            _must(value in names, name, f"one of {', '.join(names)}", value)
        _must(0 < self.lr < math.inf, "lr", "a finite number above 0; 0.001 is usual", self.lr)
        for name in (
            "branch_weight", "other_weight", "encoder_lr_ratio", "weight_decay", "clip_norm"
        ):  # fmt: skip
            value = getattr(self, name)
            _must(0 <= value < math.inf, name, "a finite number from 0 on", value)
        for name in ("warmup_steps", "patience_epochs"):
            value = getattr(self, name)
            _must(value >= 0, name, "0 or more", value)
        for name in ("accumulate", "outline_weight"):
            value = getattr(self, name)
            _must(value >= 1, name, "at least 1", value)
        # A million threads is a fault of the system's allocator, not an error that could be told.
        _must(1 <= self.threads <= MOST_THREADS, "threads", f"1 to {MOST_THREADS}", self.threads)
        _must(0 <= self.decay_share <= 1, "decay_share", "a share from 0 to 1", self.decay_share)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """One run: everything that its result depends on."""

    name: str  # of the run, for tables and the card
    out: Path  # folder of the run: options, checkpoints, log
    network: str  # of `NETWORKS`; no default, as everything else hangs on it
    data: DataOptions
    arguments: Mapping[str, Any] = field(default_factory=dict)  # of the network; its own defaults
    # to start from: a shipped model's name ("default"), a model or run folder, or safetensors
    initial_weights: Path | None = None
    fit: FitOptions = field(default_factory=FitOptions)
    seed: int = 0  # of weights and crops: the same seed gives the same run
    # Brings 0 to 255 to about -1 to 1, as the shipped network's encoder, EfficientNet-Lite, learned
    # with. Other pretrained encoders want their own.
    mean: tuple[float, float, float] = (127.0, 127.0, 127.0)
    std: tuple[float, float, float] = (128.0, 128.0, 128.0)  # as `mean`
    accelerator: str = "auto"  # cpu | gpu | cuda | mps | auto: a GPU where there is one
    devices: int = 1  # of a machine; above 1: distributed data parallel, `data.batch` dealt out
    nodes: int = 1  # machines that share the run; each starts it, by torchrun or Slurm
    precision: str = "32-true"  # "bf16-mixed" takes a third less time (E10); "16-mixed" on old GPUs
    # beside CSV and TensorBoard: mlflow, wandb; none: nothing is installed for them unasked
    loggers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in self.loggers:
            _must(name in LOGGERS, "loggers", f"of {', '.join(LOGGERS)}", name)
        for name, names in (("accelerator", ACCELERATORS), ("precision", PRECISIONS)):
            value = getattr(self, name)
            _must(value in names, name, f"one of {', '.join(names)}", value)
        for name in ("devices", "nodes"):
            value = getattr(self, name)
            _must(value >= 1, name, "at least 1", value)
        _must(0 <= self.seed < 2**32, "seed", f"0 to {2**32 - 1}", self.seed)
        _must(all(map(math.isfinite, self.mean)), "mean", "three numbers", self.mean)
        usable = all(0 < value < math.inf for value in self.std)
        _must(usable, "std", "three positive numbers", self.std)


def idle_in_training(values: Mapping[str, Any], options: TrainOptions) -> list[str]:
    """Return a sentence for each setting of a RUN.toml that was written and changes nothing."""
    fit, data = options.fit, options.data
    return idle_settings(
        values,
        (
            ("fit.decay_share", fit.schedule != "wsd", "it is of the schedule wsd"),
            ("fit.warmup_steps", fit.schedule == "paper", "the schedule paper has no warm-up"),
            ("fit.weight_decay", fit.optimizer == "adam", "adam has no decay here; adamw has"),
            ("fit.outline_weight", not data.outlines, "`data.outlines` names no set"),
            ("data.outlines", fit.outline_weight == 1, "`fit.outline_weight` is 1"),
        ),
    )


# On these the result of a run does not depend, or they are compared by their content.
_BESIDE_THE_RESULT = frozenset(
    {
        "name",
        "out",
        "accelerator",
        "devices",
        "nodes",
        "initial_weights",
        "data.manifest",
        "data.root",
        "data.workers",
        "data.memory_gb",
        "data.cache",
        "fit.threads",
        "loggers",
    }
)


def same_options(before: Mapping[str, Any], options: TrainOptions) -> bool:
    """Tell whether the options that a run was stored with give the result that these give."""
    return not differences(before, options)


def differences(
    before: Mapping[str, Any], options: TrainOptions
) -> tuple[tuple[str, tuple[Any, Any]], ...]:
    """Return the options on which a result depends that differ: name -> old and new value.

    One that is not named in ``before`` came with a later release, and the run had what is its
    default. One that this release does not know is a difference.
    """
    try:
        stored = _flat(to_plain(read_options(TrainOptions, before)))
    except ConfigError as error:
        return (("options", (f"not readable by this release ({error})", "of this release")),)
    now = _flat(to_plain(options))
    names = sorted((stored.keys() | now.keys()) - _BESIDE_THE_RESULT)
    pairs = ((name, (stored.get(name), now.get(name))) for name in names)
    return tuple((name, (old, new)) for name, (old, new) in pairs if old != new)


def _flat(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Return nested tables as one, names joined by dots; of a path in them its last part."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{above}{key}"
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{name}.")
        else:
            flat[name] = Path(value).name if key == "encoder_weights" and value else value
    return flat


def _must(holds: bool, name: str, expected: str, value: object) -> None:
    if not holds:
        raise ConfigError(f"`{name}` must be {expected}, got {value!r}.")
