"""A bench runs real processes in turns on a model of a millisecond and tells of each."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from dark_model import write_dark_model
from typer.testing import CliRunner

from crackseg.bench import peak
from crackseg.bench.command import run_bench
from crackseg.bench.comparing import count_operations, render
from crackseg.bench.variants import read_variant
from crackseg.commands import app
from crackseg.errors import ConfigError, ModelError, OutputError
from crackseg.inference.models import load_model, read_card


@pytest.fixture(scope="module")
def dark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dark_model(tmp_path_factory.mktemp("models") / "dark")


def bench(texts: list[str], **changed: object) -> dict[str, object]:
    values = {"pictures": [], "megapixels": 0.05, "count": 2, "rounds": 2, "json_file": None}
    return run_bench(texts, **{**values, **changed})  # type: ignore[arg-type]


def test_two_variants_take_turns_and_agree_on_the_cracks(dark: Path, tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    figures = bench([f"model={dark}", f"model={dark},tile_px=256,batch=2"], json_file=file)
    first, second = figures["variants"]  # type: ignore[misc]
    assert json.loads(file.read_text()) == figures
    assert first["cracks"] > 0
    assert first["length_px"] == pytest.approx(second["length_px"], rel=0.05)
    assert (first["options"]["tile_px"], second["options"]["tile_px"]) == (None, 256)
    assert first["megapixels"] == pytest.approx(0.1, rel=0.05)  # of two photographs
    assert first["times_the_first"] == {"wall_s": 1.0, "cpu_s": 1.0}
    assert len(first["wall_s_each"]) == 2
    assert first["megapixels_per_s"] == pytest.approx(first["megapixels"] / first["wall_s"])
    assert set(first["share_by_stage"]) >= {"decode", "forward", "measure", "export"}
    assert first["peak_mb"] > 20
    assert [tile["batch"] for tile in first["forward"]] == [1]  # no ladder on a CPU
    assert set(figures["peak_gflop_per_s"]) == {"float32", "int8"}  # type: ignore[arg-type]
    assert all(value > 0.1 for value in figures["peak_gflop_per_s"].values())  # type: ignore[attr-defined]


def test_own_pictures_are_analyzed_where_they_are_given(dark: Path, tmp_path: Path) -> None:
    pictures = render(tmp_path, 0.03, 1)
    figures = bench([f"model={dark}"], pictures=[str(pictures.paths[0])], rounds=1)
    assert figures["variants"][0]["megapixels"] == pytest.approx(0.03, rel=0.05)  # type: ignore[index]
    assert sorted(tmp_path.iterdir()) == [*pictures.paths]  # no result is left beside them


def test_a_variant_that_fails_says_why(dark: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"`model=.*nowhere` cannot be run: .*unknown model"):
        bench([f"model={tmp_path / 'nowhere'}"], rounds=1)
    with pytest.raises(ModelError, match="cannot be started"):
        bench([f"model={dark},python={tmp_path / 'no_python'}"], rounds=1)
    damaged = tmp_path / "damaged.jpg"
    damaged.write_bytes(b"\xff\xd8\xff\xe0 and no more")
    with pytest.raises(ModelError, match=r"damaged\.jpg"):
        bench([f"model={dark}"], pictures=[str(damaged)], rounds=1)


def test_a_file_of_another_kind_is_not_replaced(dark: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("not figures")
    with pytest.raises(OutputError, match="notes"):
        bench([f"model={dark}"], json_file=notes)
    assert notes.read_text() == "not figures"


def test_variants_are_read_and_mistakes_named() -> None:
    variant = read_variant("model=open,runtime=torch,device=cuda,batch=16,exports=csv+mask")
    assert variant.options == {
        "model": "open",
        "predict": {"runtime": "torch", "device": "cuda", "batch": 16},
        "exports": ["csv", "mask"],
    }
    assert variant.python == sys.executable
    assert read_variant("default").options == {"predict": {}}
    elsewhere = read_variant("python=/other/python,fast=1")
    assert elsewhere.options == {"predict": {"fast": 1}}
    with pytest.raises(ConfigError, match=r"unknown key `bach`.*known: batch"):
        read_variant("bach=4")
    with pytest.raises(ConfigError, match="settings as `batch=4`, got `fast`"):
        read_variant("fast")
    with pytest.raises(ConfigError, match="must be int, got"):
        read_variant("batch=many")
    with pytest.raises(ConfigError, match="must be 1 or larger"):
        bench([], rounds=0)


@pytest.mark.parametrize(
    ("kind", "types", "dtypes"),
    [
        ("MatMul", (1, 1, 1), ("float32", "float32")),
        ("MatMulInteger", (2, 3, 6), ("uint8", "int8")),
    ],
)
def test_the_graph_of_a_matrix_product_multiplies(
    kind: str, types: tuple[int, int, int], dtypes: tuple[str, str]
) -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.integers(0, 100, (160, 160)).astype(dtype) for dtype in dtypes)
    session = onnxruntime.InferenceSession(
        peak.matrix_product(kind, types, 160), providers=["CPUExecutionProvider"]
    )
    product = session.run(None, {"a": a, "b": b})[0]
    assert np.array_equal(product, a.astype(np.int64) @ b.astype(np.int64))


def test_operations_of_the_shipped_network_are_counted() -> None:
    pytest.importorskip("torch")
    card = load_model("default").card
    assert count_operations(card) == pytest.approx(39, rel=0.5)


def test_operations_of_a_strange_network_are_unknown(dark: Path) -> None:
    pytest.importorskip("torch")
    from crackseg.errors import UnknownName

    with pytest.raises(UnknownName):
        count_operations(read_card(dark))


def test_the_command_prints_a_table(dark: Path) -> None:
    done = CliRunner().invoke(
        app,
        ["bench", f"model={dark}", "--megapixels", "0.02", "--photographs", "1", "--rounds", "1"],
    )
    assert done.exit_code == 0, done.output
    assert "MP/s" in done.output
    assert "medians of 1 round over 1 photograph;" in done.output
