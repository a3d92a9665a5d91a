"""A trained network -> a model folder: ONNX graph, probe and card.

The graph takes uint8 RGB pixels and gives probability, so that no caller can normalise wrongly.
"""

from __future__ import annotations

import copy
import json
import math
import shutil
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch

from crackseg.errors import ModelError
from crackseg.folders import refuse_file
from crackseg.inference.models import (
    CARD,
    SAFETENSORS,
    is_classifier,
    own_files,
    read_card,
    write_card,
    write_probe,
)
from crackseg.inference.weights import read_weights
from crackseg.networks import build
from crackseg.records import Array, ModelCard
from crackseg.training.checkpoints import write_weights
from crackseg.training.export_scan import scan_pictures
from crackseg.training.joins import split_joined
from crackseg.training.stored import store_trained

OPSET = 18
TILE_PX = 512
# Of a model of which nobody has said what it was tested on: it claims nothing.
NOT_TESTED = (
    "Photographs of the kind that it learned from: see data. At which widths of cracks it may be "
    "used was not tested. Finds candidates for an inspector to confirm."
)
LIMITS_NOT_TESTED = (
    "What it takes for cracks and how thin a crack it finds was not tested beyond its scores. Not "
    "for deciding on the safety of a structure without an engineer."
)
PARITY = 1e-4  # largest difference allowed between torch, or the truth, and the written graph


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """What the card says beyond what the run knows."""

    name: str
    version: str
    threshold: float
    threshold_low: float
    tile_px: int | None = None  # None: `TILE_PX`, of a tile classifier the crop it learned from
    intended_use: str = NOT_TESTED
    limits: str = LIMITS_NOT_TESTED
    scores: Mapping[str, Any] = field(default_factory=dict)


class PixelsToProbability(torch.nn.Module):
    """(n, h, w, 3) uint8 RGB -> float32 probability, (n, h, w) or with other lines (n, h, w, 2)."""

    def __init__(self, network: torch.nn.Module, mean: Any, std: Any) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, 3, 1, 1))

    def forward(self, image: Any) -> Any:
        """Normalise, run the network, apply the sigmoid."""
        x = (image.permute(0, 3, 1, 2).to(self.mean.dtype) - self.mean) / self.std
        probability = torch.sigmoid(self.network(x))
        return probability[:, 0] if probability.shape[1] == 1 else probability.permute(0, 2, 3, 1)


def write_graph(
    network: torch.nn.Module, file: Path, *, mean: Any, std: Any, multiple: int
) -> float:
    """Write the ONNX graph of a network and return its largest difference from torch.

    Args:
        network: (N, 3, H, W) -> (N, 1, H, W) logits, or two with other lines second; any batch,
            sides a multiple of ``multiple``.
        file: where to write.
        mean: of 0..255 RGB.
        std: of 0..255 RGB.
        multiple: what the sides must divide by.

    Raises:
        ModelError: the network cannot be exported, or the graph differs by more than ``PARITY``
            from torch in single and in double precision.
    """
    module = PixelsToProbability(network.eval(), mean, std).eval()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporters warn of their own internals
            if getattr(network, "one_by_one", False):
                onnx.save(scan_pictures(module, _example(multiple), OPSET), str(file))
            else:
                graph = split_joined(_export_free(module, multiple).model_proto)
                store_trained(graph, network, 4 * multiple)
                _forget_sources(graph.graph)
                onnx.save(graph, str(file))
    except torch.onnx.errors.OnnxExporterError as error:
        raise ModelError(f"this network has no ONNX graph: {str(error)[:200]}") from error
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    shapes = [(1, multiple, 3 * multiple, 3), (3, 2 * multiple, 2 * multiple, 3)]
    away = [_away(session, module, _noise(shape)) for shape in shapes]
    worst = float(np.max(away))  # a nan stays one, which the built-in `max` may drop
    if not worst <= PARITY:
        raise ModelError(f"`{file.name}` differs from torch by {worst:.1e}, allowed {PARITY:.0e}.")
    return worst


def _away(session: Any, module: torch.nn.Module, image: Array) -> float:
    """Return how far a graph is from torch, in double precision where the single one disagrees.

    Deep networks add up hundreds of maps: of `smp:unet:densenet121` torch itself is up to 1.2e-4
    off in single precision, its graph 4e-5.
    """
    answer = session.run(None, {"image": image})[0]

    def differs(judge: torch.nn.Module) -> float:
        with torch.inference_mode():
            return float(np.abs(answer - judge(torch.from_numpy(image)).numpy()).max())

    away = differs(module)
    return away if away <= PARITY else differs(copy.deepcopy(module).double())


def _forget_sources(graph: onnx.GraphProto) -> None:
    """Drop what the exporter notes of its own run: it names files of the machine it ran on."""
    for part in (*graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


def _export_free(module: torch.nn.Module, multiple: int) -> Any:
    """Return torch's ONNX program with free batch and sides that are multiples."""
    size = torch.export.Dim
    sides = {1: multiple * size("h", min=1, max=1024), 2: multiple * size("w", min=1, max=1024)}
    return torch.onnx.export(
        module,
        (_example(multiple),),
        dynamo=True,
        input_names=["image"],
        output_names=["probability"],
        dynamic_shapes={"image": {0: size("n", min=1, max=256), **sides}},
        opset_version=OPSET,
        verbose=False,
    )


def _example(multiple: int) -> Any:
    return torch.from_numpy(_noise((2, 4 * multiple, 5 * multiple, 3)))


def export_run(
    run: Path, folder: Path, options: ExportOptions, others: Sequence[Path] = ()
) -> ModelCard:
    """Write the model folder of a finished run, or of the mean of several.

    Args:
        run: a run folder with ``run.json`` and ``weights.safetensors``; the card names its data.
        folder: where to write; made if missing. One that holds a model of the same name and
            version is written anew.
        options: threshold (chosen on validation data) and what the card says.
        others: runs of the same network that went on from each other's weights; the mean of all
            is exported (Wortsman et al. 2022, Model soups). Runs from other starts do not mix.

    Raises:
        ModelError: a run is not finished, the networks differ, the graph differs from torch, or
            the folder holds other files or another model.
    """
    identity, weights = _read_run(run)
    trained = identity["options"]
    weights = _mean([weights, *(_same_network(identity, other) for other in others)])
    arguments = {k: v for k, v in trained["arguments"].items() if k != "encoder_weights"}
    network = build(trained["network"], **arguments)
    weights = {name: _halve(tensor) for name, tensor in weights.items()}
    _require_finite(weights, run)
    network.load_state_dict(weights)  # back to float32: the graph and the file hold one network
    multiple = int(getattr(network, "multiple", 32))
    mean, std = trained["mean"], trained["std"]
    card = ModelCard(
        name=options.name,
        version=options.version,
        network=trained["network"],
        network_arguments=arguments,
        input_multiple=multiple,
        mean=tuple(mean),
        std=tuple(std),
        threshold=options.threshold,
        threshold_low=options.threshold_low,
        tile_px=options.tile_px or _usual_tile(trained, multiple),
        sha256={},
        intended_use=options.intended_use,
        limits=options.limits,
        data=tuple(identity["data"]),
        scores=options.scores,
    )
    with taking_place_of(folder, card) as part:
        write_graph(network, part / "model.onnx", mean=mean, std=std, multiple=multiple)
        if not _holds(part / "model.onnx", weights):
            write_weights(weights, part / SAFETENSORS)
        image = _probe_image(4 * multiple)
        with torch.inference_mode():
            probability = PixelsToProbability(network, mean, std).eval()(torch.from_numpy(image))
        write_probe(part, image, probability.numpy())
        return write_card(part, card)


def _holds(graph: Path, weights: Mapping[str, Any]) -> bool:
    """Return whether a graph gives every weight back as it is; a counter of batches is none."""
    try:
        tensors = read_weights(graph)
    except ModelError:
        return False
    return all(
        name in tensors
        and (name.endswith("num_batches_tracked") or torch.equal(tensors[name], tensor))
        for name, tensor in weights.items()
    )


@contextmanager
def taking_place_of(folder: Path, card: ModelCard) -> Iterator[Path]:
    """Give a fresh folder whose files go into ``folder`` when the block ends well, the card last.

    Raises:
        ModelError: the folder holds other files, or another model.
        OutputError: it, or one that it lies in, is a file.
    """
    earlier = files_of_earlier(folder, card.name, card.version)
    part = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.part")
    part.mkdir(parents=True)
    try:
        yield part
        folder.mkdir(exist_ok=True)
        files = sorted(part.iterdir(), key=lambda path: path.name == CARD)
        for name in earlier - {file.name for file in files}:  # no card would list it any more
            (folder / name).unlink(missing_ok=True)
        for file in files:
            file.replace(folder / file.name)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def files_of_earlier(folder: Path, name: str, version: str) -> set[str]:
    """Return the files of the model that is exported anew; refuse whatever else is in the way.

    Raises:
        ModelError: the folder holds other files, or another model.
        OutputError: it, or one that it lies in, is a file.
    """
    refuse_file(folder)
    if not folder.exists() or not any(folder.iterdir()):
        return set()
    if not (folder / CARD).is_file():
        raise ModelError(f"`--out` {folder} holds other files and no model; choose a new folder.")
    try:
        before = read_card(folder)
    except ModelError as error:
        raise ModelError(
            f"`{folder / CARD}` is not of a model that crackseg wrote and would be replaced "
            f"({str(error).rstrip('.')}); choose a new folder."
        ) from error
    if (before.name, before.version) != (name, version):
        raise ModelError(
            f"`--out` {folder} holds the model {before.name} {before.version}, which "
            f"{name} {version} would replace; choose a new folder. Only a model of the "
            "same name and version is exported anew."
        )
    return own_files(folder, before)


_OPTIONS = ("network", "arguments", "mean", "std")  # of a run that its card tells


def _read_run(run: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what ``run.json`` says and the weights."""
    try:
        identity = json.loads((run / "run.json").read_text(encoding="utf-8"))
        trained = identity["options"]
        _ = identity["data"], [trained[name] for name in _OPTIONS], trained["data"]["crop_px"]
        return identity, read_weights(run / SAFETENSORS)
    except (ValueError, LookupError, TypeError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(
            f"`{run / 'run.json'}` does not say what was trained ({error}); copy the folder anew."
        ) from error
    except OSError as error:
        raise ModelError(
            f"`{run}` is not a finished run: {error}; run `crackseg train`."
        ) from error


def _usual_tile(trained: Mapping[str, Any], multiple: int) -> int:
    """Return the tile of a run's network; one decision counts for a square as large as a crop."""
    if not is_classifier(trained["network"]):
        return TILE_PX
    crop_px: int = trained["data"]["crop_px"]
    return math.ceil(crop_px / multiple) * multiple


def _same_network(identity: dict[str, Any], other: Path) -> dict[str, Any]:
    """Return the weights of another run, whose tensors and normalisation must be the same."""
    record, weights = _read_run(other)
    for key in ("network", "mean", "std"):
        if record["options"][key] != identity["options"][key]:
            raise ModelError(
                f"`{other}` has the `{key}` {record['options'][key]}, the first run "
                f"{identity['options'][key]}; only runs of one network can be averaged."
            )
    return weights


def _mean(states: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the mean of the weights, tensor by tensor; integers are the first's."""
    first = states[0]
    if any(
        {k: v.shape for k, v in s.items()} != {k: v.shape for k, v in first.items()} for s in states
    ):
        raise ModelError("the runs hold tensors of different shapes; they cannot be averaged.")
    return {
        name: torch.stack([s[name].double() for s in states]).mean(0).to(tensor.dtype)
        if tensor.is_floating_point()
        else tensor
        for name, tensor in first.items()
    }


def _halve(tensor: Any) -> Any:
    """Return float32 weights as float16, for half the file; running statistics stay as they are.

    Statistics (one dimension) are small and span too many orders of magnitude for float16.
    """
    return tensor.half() if tensor.dtype == torch.float32 and tensor.dim() > 1 else tensor


def _require_finite(weights: Mapping[str, Any], run: Path) -> None:
    """Refuse weights that are not numbers, or too large for the file's float16."""
    broken = [name for name, tensor in weights.items() if not bool(torch.isfinite(tensor).all())]
    if broken:
        raise ModelError(
            f"`{run}`: {len(broken)} of {len(weights)} weight tensors are not finite as they are "
            f"stored, first `{broken[0]}`; the training went astray: train again with a lower `lr`."
        )


def _noise(shape: tuple[int, ...]) -> Array:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def _probe_image(size: int) -> Array:
    """Return (1, size, size, 3) uint8: even grey with noise and one dark wavy line."""
    rng = np.random.default_rng(7)
    rows, cols = np.mgrid[:size, :size]
    line = np.abs(rows - size / 2 - 8 * np.sin(cols / 17)) < 2
    grey = 150 + 12 * rng.standard_normal((size, size)) - 90 * line
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[None, ..., None], 3, axis=3)
