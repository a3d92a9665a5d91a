"""PyTorch, for CUDA devices (mixed precision, channels last). Needs the extra ``torch``."""

from __future__ import annotations

from typing import Any

import torch

from crackseg.errors import ConfigError, ModelError
from crackseg.inference.models import GRAPHS, SAFETENSORS, Model
from crackseg.inference.runtimes import Forward
from crackseg.inference.weights import read_weights
from crackseg.networks import build
from crackseg.records import Array


def open_runtime(
    model: Model,
    *,
    device: str = "cpu",
    threads: int | None = None,
    precision: str = "float",
    lanes: int = 1,
) -> Forward:
    """Return a function from (n, h, w, 3) uint8 tiles to probability, see ``runtimes``.

    All threads work on one call, however many ``lanes`` there are.

    Raises:
        ConfigError: the device is not there.
        MissingExtra: the network's own library is not installed.
        ModelError: the folder holds no trained tensors, or they do not fit the network.
    """
    if precision != "float":
        raise ConfigError(f"`precision` {precision} is not there for the runtime `torch`.")
    place = _device(device)
    if threads and place.type == "cpu":
        torch.set_num_threads(threads)
    network = _network(model).eval().to(place, memory_format=torch.channels_last)
    mean, std = (
        torch.tensor(values, dtype=torch.float32, device=place).view(1, 3, 1, 1)
        for values in (model.card.mean, model.card.std)
    )

    def forward(tiles: Array) -> Array:
        try:
            answer: Array = _run(network, _upload(tiles, place), mean, std).cpu().numpy()
        except torch.OutOfMemoryError as error:
            torch.cuda.empty_cache()
            raise MemoryError(str(error)[:300]) from error
        return answer

    return forward


@torch.inference_mode()
def _run(network: Any, batch: Any, mean: Any, std: Any) -> Any:
    """Return float32 probability, (n, h, w) or (n, h, w, 2), of an (n, 3, h, w) uint8 batch."""
    on_gpu = batch.device.type == "cuda"
    normal = ((batch.float() - mean) / std).contiguous(memory_format=torch.channels_last)
    # float16: of the shipped models bfloat16 puts single pixels .015 to .047 off, this .002
    with torch.autocast(batch.device.type, dtype=torch.float16, enabled=on_gpu):
        logits = network(normal)
    if isinstance(logits, tuple | list):  # networks with skip branches: the fused map is first
        logits = logits[0]
    probability = torch.sigmoid(logits.float())
    return probability[:, 0] if probability.shape[1] == 1 else probability.permute(0, 2, 3, 1)


def _upload(tiles: Array, place: Any) -> Any:
    batch = torch.tensor(tiles).permute(0, 3, 1, 2)
    if place.type == "cuda":
        return batch.pin_memory().to(place, non_blocking=True)
    return batch


def _device(device: str) -> Any:
    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(f"`device` must be like cpu, cuda or cuda:1, got {device}.") from error
    there = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    name = "cpu" if place.type == "cpu" else f"{place.type}:{place.index or 0}"
    if name not in there:
        raise ConfigError(
            f"`device` {device} is not there for the runtime `torch`; expected one of "
            f"{', '.join(there)}."
        )
    return place


def _network(model: Model) -> Any:
    own = SAFETENSORS in model.card.sha256
    path = model.folder / (SAFETENSORS if own else GRAPHS["float"])
    weights = read_weights(path)
    network = build(model.card.network, **model.card.network_arguments)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise ModelError(f"`{path}` does not fit its network: {str(error)[:300]}") from error
    return network
