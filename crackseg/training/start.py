"""What is looked at before the first step of a training, and at every step: one sentence, no trace.

A network that cannot take the crops, weights of another one, a device that is not there, a loss
that is not finite: each stops the run with what to change, before hours are spent on it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from crackseg.errors import ConfigError, ModelError, TrainingError
from crackseg.inference.models import CARD, read_card
from crackseg.inference.weights import read_weights
from crackseg.networks import build
from crackseg.training.options import TrainOptions

_STARTERS = ("TORCHELASTIC_RUN_ID", "SLURM_JOB_ID", "NODE_RANK")  # of a run on machines


def check_machine(options: TrainOptions) -> None:
    """Refuse a device that this machine does not have, and other machines that nobody starts.

    Raises:
        ConfigError: names the option and what there is.
    """
    if options.nodes > 1 and not any(name in os.environ for name in _STARTERS):
        raise ConfigError(
            f"`nodes` is {options.nodes}, and this run would wait for the other machines for ever: "
            "start it on each by torchrun or Slurm (docs/own-model.md), or leave `nodes` out."
        )
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    mps = torch.backends.mps.is_available()
    accelerator = options.accelerator
    there = {"cuda": gpus > 0, "mps": mps, "gpu": gpus > 0 or mps}.get(accelerator, True)
    if not there:
        raise ConfigError(
            f"`accelerator` is {accelerator!r}, and torch can use no such device of this machine; "
            "take `cpu` or `auto`, or install a torch build for it."
        )
    if accelerator in ("cuda", "gpu") and options.devices > max(gpus, 1):
        raise ConfigError(f"`devices` must be at most {gpus} here, got {options.devices}.")
    if options.precision == "16-mixed" and (accelerator == "cpu" or not (gpus or mps)):
        raise ConfigError(
            "`precision` '16-mixed' needs a GPU, and this run has none: Lightning would take "
            "bf16 in its place; take `32-true`, or `bf16-mixed`."
        )


def start_network(options: TrainOptions) -> Any:
    """Return the network of a run with the weights that it starts from, tried on one crop.

    Raises:
        ConfigError: the weights are not of this network, or it cannot take crops of this size or
            pictures of another.
    """
    network = build(options.network, **options.arguments)
    if options.initial_weights is not None:
        _load(network, options.initial_weights, options.network)
    multiple = int(getattr(network, "multiple", 32))
    side = -(-options.data.crop_px // multiple) * multiple
    _try(network, options, (options.data.crop_px,) * 2, "crops")
    _try(network, options, (side + multiple, side), "whole pictures, as validation has them,")
    return network


def require_finite(what: str, values: Any, step: int, lr: float, options: TrainOptions) -> None:
    """Stop at the first loss or answer that is not finite.

    Raises:
        TrainingError: names step and rate, and what to change.
    """
    values = values.detach()
    if not bool(torch.isfinite(values).all()):
        value = float(values[~torch.isfinite(values)].flatten()[0])
        raise _astray(f"{what} is {value:g}", step, lr, options)


def require_finite_weights(module: Any, step: int, lr: float, options: TrainOptions) -> None:
    """Stop where a weight or a running statistic is not finite.

    Raises:
        TrainingError: names step and rate, and what to change.
    """
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise _astray(f"`{name}` is not finite", step, lr, options)


def _astray(what: str, step: int, lr: float, options: TrainOptions) -> TrainingError:
    fit = options.fit
    clip = "" if fit.clip_norm else ", set `fit.clip_norm` to 1"
    checkpoints = options.out / "checkpoints"
    advice = "there is no checkpoint yet, and the same command starts anew"
    if any(checkpoints.glob("*.ckpt")):
        advice = (
            f"the checkpoints before it stay in {checkpoints}, so give the new run another `out`"
        )
    return TrainingError(
        f"the training went astray at step {step}, lr {lr:.1e}: {what}. Lower `fit.lr` "
        f"({fit.lr:g}), warm up longer{clip} or check the data; {advice}."
    )


def _load(network: Any, file: Path, name: str) -> None:
    """Load the weights that a run starts from."""
    try:
        weights = read_weights(file)
    except ModelError as error:
        raise ConfigError(f"`initial_weights`: {error}") from error
    except OSError as error:
        raise ConfigError(f"`initial_weights` {file} cannot be read: {error}.") from error
    try:
        start_from(network, weights)
    except ConfigError as error:
        raise ConfigError(
            f"{str(error).rstrip('.')}, `{name}` with these arguments (got {file}){_own(file)}."
        ) from error


def _own(file: Path) -> str:
    """Return what network the weights of a model folder are of, as far as its card says."""
    if not (file.parent / CARD).is_file():
        return ""
    card = read_card(file.parent)
    arguments = ", ".join(f"{key} = {json.dumps(v)}" for key, v in card.network_arguments.items())
    return f'; they are of `network = "{card.network}"`, `arguments = {{ {arguments} }}`'


def start_from(network: Any, weights: Mapping[str, Any]) -> None:
    """Load weights, also those of the same network with one output or a shorter stem.

    Where this network has a second output, the old one comes first and the rest stays fresh.

    Raises:
        ConfigError: a tensor has no place, or another shape than its place.
    """
    own = network.state_dict()
    for name, value in weights.items():
        place = own.get(name)
        if place is None or not _fits(tuple(value.shape), tuple(place.shape)):
            raise ConfigError(
                f"`initial_weights` do not fit: `{name}` of shape {tuple(value.shape)} has no "
                "place in this network."
            )
        place[tuple(slice(size) for size in value.shape)].copy_(value)
    if missing := [name for name in own if name not in weights and not name.startswith("stem2.")]:
        raise ConfigError(
            f"`initial_weights` do not fit: `{missing[0]}` is missing for this network."
        )


def _fits(old: tuple[int, ...], new: tuple[int, ...]) -> bool:
    """Return whether shapes are equal, or one output became several."""
    return old == new or (old[:1] == (1,) and len(old) == len(new) and old[1:] == new[1:])


def _try(network: Any, options: TrainOptions, size: tuple[int, int], what: str) -> None:
    """Push one grey picture through a network that may be bound to other sizes."""
    training = network.training
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, 3, *size))
    except (AssertionError, ValueError, RuntimeError) as error:
        if "memory" in str(error):  # the batch is what is made smaller then
            return
        text = " ".join(str(error).split())[:160]
        raise ConfigError(
            f"network `{options.network}` cannot take {what} of {size[0]} x {size[1]} px: {text}. "
            "Transformers are bound to a size: try `arguments = { dynamic_img_size = true }` (ViT) "
            f"or `{{ img_size = {options.data.crop_px} }}` (Swin), or another `data.crop_px`."
        ) from error
    finally:
        network.train(training)
