"""One run on several devices: how its crops and pictures are dealt out, and what stays as it is.

A run depends on its crops alone, not on how many devices share them: ``data.batch`` counts the
crops of all of them together, the pictures of val are dealt out and their counts brought together
in the order of the list. One process (the first) writes. Where one of them fails, all end: a rest
that goes on waiting for it in an exchange would hang without a word.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch.utils.data import Sampler

from crackseg.errors import ConfigError, TrainingError
from crackseg.training.options import TrainOptions

_RANKS = ("RANK", "SLURM_PROCID", "LOCAL_RANK")  # of torchrun, Slurm, Lightning's own start
_EXCHANGES = 1 << 40  # seeds of dropout that lie between two ranks


def processes(options: TrainOptions) -> int:
    """Return how many processes share a run, each with its device."""
    return options.devices * options.nodes


def rank(options: TrainOptions) -> int:
    """Return the number of this process among those that share a run.

    A run that nobody shares has one process, whatever number a job of Slurm gave it.
    """
    if processes(options) == 1:
        return 0
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return int(torch.distributed.get_rank())
    numbers = (os.environ.get(name, "") for name in _RANKS)
    return next((int(number) for number in numbers if number.isdecimal()), 0)


def dropout_seed(options: TrainOptions, step: int) -> int:
    """Return the seed of what is drawn within the network at a step, on this process's device."""
    return options.seed * 1_000_003 + step + rank(options) * _EXCHANGES


def crops_of_each(options: TrainOptions) -> int:
    """Return how many crops of a batch a device takes.

    Raises:
        ConfigError: the devices cannot share a batch evenly.
    """
    batch, sharers = options.data.batch, processes(options)
    if batch % sharers:
        more = -(-batch // sharers) * sharers
        raise ConfigError(
            f"`data.batch` must be a multiple of {sharers}, as so many devices share it, got "
            f"{batch}; take {more}."
        )
    return batch // sharers


class Dealt(Sampler):
    """The pictures of val that this process reads: every n-th, and at least one.

    Args:
        count: of pictures.
        number: of this process.
        sharers: how many processes there are.
    """

    def __init__(self, count: int, number: int = 0, sharers: int = 1) -> None:
        self.numbers = range(number % count, count, sharers)

    def __iter__(self) -> Iterator[int]:
        return iter(self.numbers)

    def __len__(self) -> int:
        return len(self.numbers)


def gather(found: dict[int, Any]) -> dict[int, Any]:
    """Return what all processes found, picture by picture in the order of their numbers."""
    parts: list[dict[int, Any]] = [found]
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        parts = [{} for _ in range(torch.distributed.get_world_size())]
        torch.distributed.all_gather_object(parts, found)
    whole = {number: value for part in parts for number, value in part.items()}
    return {number: whole[number] for number in sorted(whole)}


def end_others(trainer: Any) -> None:
    """End the processes that this one started; they would wait for it for ever."""
    for process in getattr(getattr(trainer.strategy, "launcher", None), "procs", ()):
        process.kill()


def refuse_lost(options: TrainOptions, error: Exception) -> None:
    """Raise where an exchange failed, as it does where another process has gone.

    Raises:
        TrainingError: it did.
    """
    exchange = isinstance(error, torch.distributed.DistError) or "gloo" in str(error)
    if exchange and processes(options) > 1:
        raise TrainingError(
            "another process of the run has ended; where it tells no reason, it was killed "
            "from outside or its machine had no memory. The same command goes on."
        ) from error


def is_out_of_memory(error: Exception) -> bool:
    """Return whether a device, or the machine itself, has no room; on a CPU only the text tells."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def split_batch(options: TrainOptions, error: Exception) -> TrainOptions:
    """Return options with smaller batches and more accumulation: the same steps, less memory.

    Raises:
        ConfigError: the batch is one crop already, or other devices share the run: they are in the
            middle of a step, and a start anew of one of them would leave them waiting.
    """
    batch, of_each = options.data.batch, crops_of_each(options)
    if of_each == 1:
        raise ConfigError(
            f"`crop_px` {options.data.crop_px} does not fit into memory even with a batch of 1; "
            "use smaller crops or a narrower network."
        ) from error
    divisor = next(n for n in range(2, of_each + 1) if of_each % n == 0)
    part, accumulate = batch // divisor, options.fit.accumulate * divisor
    if processes(options) > 1:
        raise ConfigError(
            f"a device has no room for its {of_each} crops of a batch: set `data.batch` to {part} "
            f"and `fit.accumulate` to {accumulate}, which makes the same steps."
        ) from error
    print(f"out of memory with a batch of {batch}: continuing with {part}", file=sys.stderr)
    torch.cuda.empty_cache()
    return replace(
        options,
        data=replace(options.data, batch=part),
        fit=replace(options.fit, accumulate=accumulate),
    )
