"""The options of a training run, as they stand in RUN.toml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crackseg.config import read_options, to_plain
from crackseg.errors import ConfigError
from crackseg.training.augment import AugmentOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class DataOptions:
    """Which pictures, and how often each set is drawn."""

    manifest: Path
    root: Path | None = None  # folder the manifest's paths are relative to; None: its own
    sets: tuple[str, ...] = ()  # trained on; all when empty
    val_sets: tuple[str, ...] = ()  # validated on; those of `sets` when empty
    weights: Mapping[str, float] = field(default_factory=dict)  # set -> share of crops; default 1
    joints: tuple[str, ...] = ()  # sets whose long dark lines outside the masks are other lines
    crop_px: int = 256
    batch: int = 8
    aim: float = 0.7  # share of crops laid so that they hold crack, in pictures that have some
    workers: int = 0
    augment: AugmentOptions = field(default_factory=AugmentOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class FitOptions:
    """How the weights are found."""

    steps: int = 5000
    steps_per_epoch: int = 250  # validation, checkpoint and log come once an epoch
    loss: str = "dice_bce"
    branch_weight: float = 0.5
    other_weight: float = 0.5  # of a network's second output, other lines
    optimizer: str = "adamw"  # adamw | adam | sgd
    lr: float = 1e-3
    encoder_lr_ratio: float = 0.5  # pretrained weights move more slowly
    weight_decay: float = 1e-2
    schedule: str = "wsd"  # constant | cosine | paper (1e-4, 1e-5, 1e-6 in thirds) | wsd
    warmup_steps: int = 200
    decay_share: float = 0.35  # wsd: last part of the run, in which lr falls to zero
    ema: float = 0.998  # 0 switches the running mean of the weights off
    accumulate: int = 1
    clip_norm: float = 1.0
    patience_epochs: int = 0  # stop after so many epochs without a better score; 0: never
    keep: str = "best"  # weights the run ends with: best (by the score on val) | last
    threads: int = 2

    def __post_init__(self) -> None:
        if self.steps < 1 or self.steps_per_epoch < 1:
            raise ConfigError(
                f"`steps` and `steps_per_epoch` must be at least 1, got {self.steps} and "
                f"{self.steps_per_epoch}."
            )
        if not 0 <= self.ema < 1:
            raise ConfigError(f"`ema` must lie in [0, 1), got {self.ema}; 0.998 is usual.")
        if self.keep not in ("best", "last"):
            raise ConfigError(f"`keep` must be best or last, got {self.keep!r}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """One run: everything that its result depends on."""

    name: str
    out: Path
    network: str
    data: DataOptions
    arguments: Mapping[str, Any] = field(default_factory=dict)  # of the network's function
    initial_weights: Path | None = None  # safetensors of a model folder to start from
    fit: FitOptions = field(default_factory=FitOptions)
    seed: int = 0
    mean: tuple[float, float, float] = (127.0, 127.0, 127.0)
    std: tuple[float, float, float] = (128.0, 128.0, 128.0)
    accelerator: str = "auto"  # cpu | gpu | auto
    devices: int = 1  # above 1: distributed data parallel
    precision: str = "32-true"  # "16-mixed" or "bf16-mixed" on a GPU


def same_options(before: Mapping[str, Any], options: TrainOptions) -> bool:
    """Tell whether the options that a run was stored with are these.

    One that is not named there came with a later release, and the run had what is its default.
    """
    try:
        stored = read_options(TrainOptions, before)
    except ConfigError:  # it had an option that this release does not know
        return False
    return bool(to_plain(stored) == to_plain(options))
