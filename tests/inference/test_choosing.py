"""What is left open is decided by probes and by time, remembered, and told."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dark_model import CARD, ONNX, probability_of, write_dark_model
from PIL import Image

from crackseg import batch
from crackseg.cache import cache_folder
from crackseg.config import AnalyzeOptions, PredictOptions
from crackseg.eight_bit import EightBit
from crackseg.errors import ConfigError, ModelError
from crackseg.inference import choosing
from crackseg.inference.choosing import choose
from crackseg.inference.models import (
    GRAPHS,
    Model,
    load_model,
    read_probe,
    write_card,
    write_probe,
)
from crackseg.processors import has_byte_products
from crackseg.records import Array

GOOD = EightBit(
    probe_tolerance=0.05, calibrated_on="tiles", judged_on="walls", judge=0.9, judge_float=0.901
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own, and a processor that multiplies bytes."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("crackseg.cache.sys.platform", "linux")
    monkeypatch.setattr(choosing, "has_byte_products", lambda: True)
    return tmp_path


@pytest.fixture
def make_model(home: Path) -> Callable[..., Model]:
    """Make a dark model with an "8-bit" graph, off from its probe by so much."""

    def make(about: EightBit | None = GOOD, away: float = 0.0) -> Model:
        folder = write_dark_model(home / f"model{len(list(home.iterdir()))}")
        (folder / GRAPHS["int8"]).write_bytes(ONNX)
        probe = np.random.default_rng(1).integers(0, 256, (1, 64, 64, 3), np.uint8)
        write_probe(folder, probe, probability_of(probe.mean(axis=3)) + away, "int8")
        write_card(folder, replace(CARD, name=folder.name, eight_bit=about))
        return load_model(folder)

    return make


def taken(model: Model, **options: Any) -> tuple[str, str]:
    choice = choose(model, PredictOptions(**options)).options
    return choice.runtime, choice.precision


@pytest.fixture
def without_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing.importlib.util, "find_spec", lambda name: None)


@pytest.mark.usefixtures("without_openvino")
def test_eight_bit_is_taken_where_model_and_processor_suit(
    make_model: Callable[..., Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model()
    assert taken(model) == ("onnx", "int8")
    assert taken(model, precision="float") == ("onnx", "float")
    assert taken(make_model(replace(GOOD, judge=0.895))) == ("onnx", "float")  # loses too much
    assert taken(make_model(replace(GOOD, judge=0.895)), precision="int8") == ("onnx", "int8")
    monkeypatch.setattr(choosing, "has_byte_products", lambda: False)
    assert taken(model) == ("onnx", "float")
    assert taken(model, precision="int8") == ("onnx", "int8")


@pytest.mark.usefixtures("without_openvino")
def test_a_probe_that_fails_is_never_silent(make_model: Callable[..., Model]) -> None:
    model = make_model(away=0.06)
    chosen = choose(model, PredictOptions())
    assert chosen.options.precision == "float"
    assert [notice.code for notice in chosen.notices] == ["runtime_refused"]
    assert "onnx in int8 is not used" in chosen.notices[0].message
    with pytest.raises(ModelError, match=r"does not give its probe's answer in `int8`"):
        choose(model, PredictOptions(precision="int8"))


@pytest.mark.usefixtures("without_openvino")
def test_eight_bit_that_is_not_there_is_an_error(home: Path) -> None:
    model = load_model(write_dark_model(home / "plain"))
    assert taken(model) == ("onnx", "float")
    with pytest.raises(ModelError, match="has no 8-bit graph"):
        choose(model, PredictOptions(precision="int8"))


def test_eight_bit_is_for_processors(make_model: Callable[..., Model]) -> None:
    for other in ({"runtime": "torch"}, {"device": "cuda"}):
        with pytest.raises(ConfigError, match="int8 is for the runtimes onnx and openvino"):
            choose(make_model(), PredictOptions(precision="int8", **other))
    with pytest.raises(ConfigError, match="`precision` must be auto, float or int8, got half"):
        PredictOptions(precision="half")


class Twins:
    """Two runtimes, of which one takes long by a clock of their own; they count the calls."""

    def __init__(self, slow: str, away: float = 0.0) -> None:
        self.slow, self.away = slow, away
        self.calls: dict[str, int] = {}
        self.now = 0.0

    def open(self, model: Model, *, runtime: str, **_: Any) -> Callable[[Array], Array]:
        def forward(tiles: Array) -> Array:
            self.calls[runtime] = self.calls.get(runtime, 0) + 1
            self.now += 2.0 if runtime == self.slow else 1.0
            off = self.away if runtime == "openvino" else 0.0
            return np.asarray(probability_of(tiles.mean(axis=3)) + off)

        return forward


@pytest.fixture
def twins(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Twins]:
    monkeypatch.setattr(choosing.importlib.util, "find_spec", lambda name: object())

    def make(slow: str, away: float = 0.0) -> Twins:
        both = Twins(slow, away)
        monkeypatch.setattr(choosing, "open_forward", both.open)
        monkeypatch.setattr(choosing.time, "perf_counter", lambda: both.now)
        return both

    return make


def test_the_faster_runtime_is_found_once_and_remembered(
    make_model: Callable[..., Model], twins: Callable[..., Twins]
) -> None:
    model = make_model()
    twins(slow="onnx")
    assert taken(model) == ("openvino", "int8")
    remembered = json.loads((cache_folder() / "runtimes.json").read_text())
    assert list(remembered.values()) == ["openvino"]
    again = twins(slow="openvino")  # what is remembered is not measured again
    assert taken(model) == ("openvino", "int8")
    assert again.calls == {"onnx": 1, "openvino": 1}  # the probes alone
    assert taken(model, runtime="openvino") == ("openvino", "int8")
    assert taken(model, threads=7)[0] == "openvino"  # else figures would hang on the threads
    assert taken(model, tile_px=256)[0] == "onnx"  # other tiles are measured anew


def test_a_runtime_with_wrong_answers_is_not_taken_however_fast(
    make_model: Callable[..., Model], twins: Callable[..., Twins]
) -> None:
    twins(slow="onnx", away=0.06)
    chosen = choose(make_model(), PredictOptions())
    assert (chosen.options.runtime, chosen.options.precision) == ("onnx", "int8")
    assert "openvino in int8 is not used" in chosen.notices[0].message
    assert not (cache_folder() / "runtimes.json").exists()  # there was nothing to choose


def test_a_broken_memory_is_made_anew(
    make_model: Callable[..., Model], twins: Callable[..., Twins], home: Path
) -> None:
    file = cache_folder() / "runtimes.json"
    file.parent.mkdir(parents=True)
    twins(slow="onnx")
    for text in ("{", "[]"):
        file.write_text(text)
        assert taken(make_model()) == ("openvino", "int8")
    file.unlink()
    file.parent.rmdir()
    file.parent.write_text("a file where the folder should be")
    assert taken(make_model()) == ("openvino", "int8")


@pytest.mark.usefixtures("without_openvino")
def test_the_report_says_what_was_taken_and_stays_current(
    make_model: Callable[..., Model], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model()
    picture = home / "wall.png"
    Image.fromarray(np.full((64, 64, 3), 180, np.uint8)).save(picture)
    options = AnalyzeOptions(model=str(model.folder), exports=())

    def run(options: AnalyzeOptions) -> tuple[str, dict[str, Any]]:
        (outcome,) = batch.run([picture], home / "out", options)
        assert outcome.folder is not None, outcome.reason
        return outcome.status, json.loads((outcome.folder / "report.json").read_text())

    status, report = run(options)
    predict = report["options"]["predict"]
    assert (status, predict["runtime"], predict["precision"]) == ("analyzed", "onnx", "int8")
    monkeypatch.setattr(choosing, "has_byte_products", lambda: False)
    assert run(options)[0] == "unchanged"  # left open: what is there will do
    forced = replace(options, predict=PredictOptions(precision="float"))
    status, report = run(forced)
    assert (status, report["options"]["predict"]["precision"]) == ("analyzed", "float")


def test_processors_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from crackseg import processors

    info = tmp_path / "cpuinfo"
    monkeypatch.setattr(processors, "_INFO", info)
    monkeypatch.setattr(processors.platform, "system", lambda: "Linux")
    monkeypatch.setattr(processors.platform, "machine", lambda: "x86_64")
    for text, expected in [
        ("model name\t: Xeon\nflags\t\t: fpu avx2 avx512f avx512_vnni\n", True),
        ("flags\t\t: fpu avx2 fma\n", False),
        ("Features\t: fp asimd asimddp\n", True),
        ("flags\t\t: fpu avx_vnni_int\n", False),
    ]:
        info.write_text(text)
        assert has_byte_products() is expected
    info.write_text("model name\t: Xeon 9\n")
    assert processors.processor_name() == "Xeon 9"
    info.unlink()
    assert has_byte_products() is False
    monkeypatch.setattr(processors.platform, "system", lambda: "Darwin")
    monkeypatch.setattr(processors.platform, "machine", lambda: "arm64")
    assert has_byte_products() is True


def test_a_gpu_that_gives_another_answer_is_refused(
    make_model: Callable[..., Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On an accelerator the probe decides also where there is nothing else to choose from."""
    model = make_model()
    _, expected = read_probe(model.folder, "float")
    for away, fits in ((0.004, True), (0.04, False)):
        answer = expected + np.float32(away)
        monkeypatch.setattr(choosing, "open_forward", lambda *_, a=answer, **__: lambda _: a)
        options = PredictOptions(device="cuda", runtime="onnx")
        if fits:
            assert choose(model, options).options.precision == "float"
        else:
            with pytest.raises(ModelError, match=r"`onnx` \(`cuda`\); take `--device cpu`"):
                choose(model, options)
