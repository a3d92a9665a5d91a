"""The mean of runs is exported like one run, and only runs of one network have a mean."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

torch = pytest.importorskip("torch")
from safetensors.torch import save_file  # noqa: E402

from crackseg.commands import app  # noqa: E402
from crackseg.errors import DataError, ModelError, OutputError  # noqa: E402
from crackseg.inference.models import load_model  # noqa: E402
from crackseg.inference.runtimes import check_probe  # noqa: E402
from crackseg.inference.weights import SAFETENSORS, read_weights, weights_file  # noqa: E402
from crackseg.networks import build  # noqa: E402
from crackseg.training import export_onnx  # noqa: E402
from crackseg.training.evaluate import (  # noqa: E402
    EvaluateOptions,
    choose_threshold,
    load_samples,
)
from crackseg.training.export_onnx import PARITY, ExportOptions, export_run  # noqa: E402
from crackseg.training.manifest import index_folder, write_manifest  # noqa: E402

OPTIONS = ExportOptions(name="mean", version="1", threshold=0.5, threshold_low=0.5)


def write_run(
    folder: Path, seed: int, width: float = 0.03125, mean: float = 127.0, name: str = "unet"
) -> Path:
    torch.manual_seed(seed)
    arguments = {"width": width} if name == "unet" else {}
    folder.mkdir()
    save_file(build(name, **arguments).state_dict(), folder / "weights.safetensors")
    trained = {
        "network": name,
        "arguments": arguments,
        "data": {"crop_px": 200},
        "mean": [mean] * 3,
        "std": [128.0] * 3,
    }
    (folder / "run.json").write_text(json.dumps({"options": trained, "data": []}))
    return folder


def test_the_mean_of_two_runs(tmp_path: Path) -> None:
    one, other = write_run(tmp_path / "one", 1), write_run(tmp_path / "other", 2)
    export_run(one, tmp_path / "model", OPTIONS, [other])
    first, second, tensors = (
        read_weights(weights_file(folder)) for folder in (one, other, tmp_path / "model")
    )
    for name, tensor in tensors.items():
        if tensor.is_floating_point():
            expected = 0.5 * (first[name] + second[name])
            assert torch.allclose(tensor.float(), expected, atol=1e-3)
    assert any(not torch.equal(first[name], second[name]) for name in tensors)


def test_runs_of_other_networks_have_no_mean(tmp_path: Path) -> None:
    one = write_run(tmp_path / "one", 1)
    with pytest.raises(ModelError, match="different shapes"):
        export_run(one, tmp_path / "out", OPTIONS, [write_run(tmp_path / "wide", 1, 0.0625)])
    with pytest.raises(ModelError, match=r"has the `mean` \[0.0"):
        export_run(one, tmp_path / "out", OPTIONS, [write_run(tmp_path / "dark", 1, mean=0.0)])
    with pytest.raises(ModelError, match="not a finished run"):
        export_run(one, tmp_path / "out", OPTIONS, [tmp_path / "none"])


@pytest.mark.slow
def test_a_classifier_is_exported_for_squares_of_its_crops(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 1, name="classifier:mobilenet_v2")
    card = export_run(run, tmp_path / "model", replace(OPTIONS, threshold=0.999))
    assert card.tile_px == 256  # 200 brought to what the graph takes
    assert check_probe(load_model(tmp_path / "model")) < PARITY


def test_thresholds_are_chosen_on_the_runs_own_validation_pictures(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 1)
    for kind, values in (("images", line_picture()), ("masks", line_picture() < 90)):
        (tmp_path / "set" / kind).mkdir(parents=True)
        for name in ("p", "q"):
            Image.fromarray(np.asarray(values)).save(tmp_path / "set" / kind / f"{name}.png")
    (tmp_path / "set" / "val.txt").write_text("p\n")
    (tmp_path / "set" / "test.txt").write_text("q\n")
    write_manifest(index_folder(tmp_path / "set"), tmp_path / "m.csv")
    identity = json.loads((run / "run.json").read_text())
    identity["options"]["data"] |= {
        "manifest": str(tmp_path / "m.csv"),
        "root": None,
        "sets": [],
        "val_sets": [],
    }
    (run / "run.json").write_text(json.dumps(identity))
    command = [
        "export",
        str(run),
        "--out",
        str(tmp_path / "model"),
        "--name",
        "n",
        "--version",
        "1",
    ]
    answer = CliRunner().invoke(app, command)
    assert answer.exit_code == 0, answer.output
    card = load_model(tmp_path / "model").card
    samples = load_samples(tmp_path / "m.csv", split="val")
    choice = choose_threshold(samples, EvaluateOptions(model=str(tmp_path / "model"), split="val"))
    assert (card.threshold, card.threshold_low) == (choice.threshold, choice.threshold_low)
    assert card.scores["choice"]["pictures"] == 1
    (tmp_path / "m.csv").unlink()
    answer = CliRunner().invoke(app, command)
    assert isinstance(answer.exception, DataError)
    assert "--threshold" in str(answer.exception)


def test_a_card_claims_nothing_that_nobody_tested(tmp_path: Path) -> None:
    command = ["export", str(write_run(tmp_path / "run", 1)), "--out", str(tmp_path / "model")]
    command += ["--name", "m", "--version", "1", "--threshold", "0.5"]
    assert CliRunner().invoke(app, command).exit_code == 0
    card = load_model(tmp_path / "model").card
    texts = f"{card.intended_use} {card.limits}"
    assert texts.count("not tested") == 2
    assert not re.search(r"\d|concrete|drone|joint|moss", texts)
    assert (card.scores, card.detection, card.certainty) == ({}, None, None)
    command += ["--intended-use", "Quay walls from 5 m.", "--limits", "Misses cracks under 2 px."]
    assert CliRunner().invoke(app, command).exit_code == 0
    card = load_model(tmp_path / "model").card
    assert card.intended_use == "Quay walls from 5 m."
    assert card.limits == "Misses cracks under 2 px."


def line_picture() -> np.ndarray:
    """Return (96, 96) uint8: a dark line on even noise."""
    grey = np.random.default_rng(0).normal(170, 6, (96, 96))
    grey[40:44] = 40
    return np.clip(grey, 0, 255).astype(np.uint8)


def test_a_folder_that_is_no_model_is_not_written_to(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 1)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(ModelError, match="holds other files"):
        export_run(run, tmp_path / "mine", OPTIONS)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "run"]


def test_two_outputs_are_exported_and_every_runtime_answers_alike(tmp_path: Path) -> None:
    torch.manual_seed(3)
    arguments = {"outputs": 2, "stem_units": 2}
    (tmp_path / "run").mkdir()
    state = build("cdds_lite", **arguments).state_dict()
    save_file({k: v.contiguous() for k, v in state.items()}, tmp_path / "run/weights.safetensors")
    trained = {"network": "cdds_lite", "arguments": arguments, "data": {"crop_px": 64}}
    trained |= {"mean": [127.0] * 3, "std": [128.0] * 3}
    (tmp_path / "run/run.json").write_text(json.dumps({"options": trained, "data": []}))
    card = export_run(tmp_path / "run", tmp_path / "model", OPTIONS)
    assert card.network_arguments == arguments
    model = load_model(tmp_path / "model")
    for runtime in ("onnx", "torch"):
        assert check_probe(model, runtime=runtime) < PARITY
    with np.load(tmp_path / "model/probe.npz") as probe:
        assert probe["probability"].shape == (*probe["image"].shape[:3], 2)


def test_the_graph_alone_holds_the_weights_in_half_the_bytes(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 1, width=0.125)
    export_run(run, tmp_path / "model", OPTIONS)
    assert not (tmp_path / "model" / SAFETENSORS).exists()
    graph = tmp_path / "model" / "model.onnx"
    assert graph.stat().st_size < 0.6 * (run / SAFETENSORS).stat().st_size + 100_000
    assert b".py" not in graph.read_bytes()  # the exporter names its own files and the network's
    trained = read_weights(run / SAFETENSORS)
    tensors = read_weights(graph)
    assert tensors.keys() == trained.keys()
    for name, tensor in trained.items():
        exact = tensor.half() if tensor.dim() > 1 else tensor
        assert torch.equal(tensors[name], exact)
    for runtime in ("onnx", "torch"):
        assert check_probe(load_model(tmp_path / "model"), runtime=runtime) < PARITY


class Odd(torch.nn.Module):  # type: ignore[misc, name-defined]
    """Convolutions that feed normalisations in each way that there is."""

    multiple = 16

    def __init__(self) -> None:
        super().__init__()
        self.biased = torch.nn.Conv2d(3, 4, 3, padding=1)  # has a bias and a normalisation
        self.behind = torch.nn.BatchNorm2d(4, eps=1e-3)
        self.twice = torch.nn.Conv2d(4, 4, 1, bias=False)  # feeds two of them in turn
        self.norms = torch.nn.ModuleList(torch.nn.BatchNorm2d(4) for _ in range(2))
        self.plain = torch.nn.BatchNorm2d(4, affine=False)  # has no weight and bias
        self.last = torch.nn.Conv2d(4, 1, 1)
        self.unused = torch.nn.Parameter(torch.ones(3))

    def forward(self, x: Any) -> Any:
        x = self.behind(self.biased(x)).relu()
        for norm in self.norms:
            x = norm(self.twice(x)).relu()
        return self.last(self.plain(self.twice(x)))


def test_what_a_graph_does_not_hold_lies_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(5)
    network = Odd()
    with torch.no_grad():
        for _ in range(3):
            network(40 + 9 * torch.randn(4, 3, 32, 32))
    run = write_run(tmp_path / "run", 1)
    save_file(network.state_dict(), run / SAFETENSORS)
    monkeypatch.setattr(export_onnx, "build", lambda *_, **__: Odd())
    export_run(run, tmp_path / "model", OPTIONS)
    assert check_probe(load_model(tmp_path / "model")) < PARITY
    in_graph = read_weights(tmp_path / "model" / "model.onnx")
    state = network.state_dict()
    assert torch.equal(in_graph["biased.weight"], state["biased.weight"].half())
    for name in ("biased.bias", "behind.running_var", "behind.bias"):
        assert torch.equal(in_graph[name], state[name])
    assert "unused" not in in_graph
    beside = read_weights(weights_file(tmp_path / "model"))
    assert beside.keys() == state.keys()
    Odd().load_state_dict(beside)


def test_an_export_replaces_only_the_same_model(tmp_path: Path) -> None:
    """A user's own files, and a model of another name or version, stay as they are."""
    run, out = write_run(tmp_path / "run", 1), tmp_path / "out"
    out.mkdir()
    names = ("card.json", "model.onnx", "probe.npz", "weights.safetensors")
    for name in names:
        (out / name).write_text("mine")
    with pytest.raises(ModelError, match=r"card.json` is not of a model that crackseg wrote"):
        export_run(run, out, OPTIONS)
    assert all((out / name).read_text() == "mine" for name in names)

    model = tmp_path / "model"
    export_run(run, model, OPTIONS)
    for other in (replace(OPTIONS, name="other"), replace(OPTIONS, version="2")):
        with pytest.raises(ModelError, match="holds the model mean 1, which"):
            export_run(run, model, other)
    assert load_model(model).card.version == "1"
    export_run(run, model, replace(OPTIONS, threshold=0.7))  # the same model, exported anew
    assert load_model(model).card.threshold == 0.7

    (model / "weights.safetensors").write_text("mine")
    with pytest.raises(ModelError, match=r"weights.safetensors` is not the file"):
        export_run(run, model, OPTIONS)
    assert (model / "weights.safetensors").read_text() == "mine"
    with pytest.raises(OutputError, match="a file, not a folder"):
        export_run(run, model / "card.json", OPTIONS)
