"""A model folder is used only as its card says it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from crackseg import __version__
from crackseg.config import MaskOptions
from crackseg.errors import ModelError, UnknownName
from crackseg.exports.tables import model_to_dict
from crackseg.inference import models
from crackseg.inference.models import (
    CARD,
    Model,
    default_model,
    load_model,
    lowered,
    read_card,
    shipped_models,
    thresholds,
    write_card,
    write_probe,
)
from crackseg.inference.runtimes import PROBE_TOLERANCE, check_probe
from crackseg.records import Certainty

MakeModel = Callable[..., Model]


def test_a_card_survives_writing_and_reading(make_model: MakeModel) -> None:
    model = make_model()
    card = replace(
        model.card,
        data=({"name": "mine", "licence": "CC-BY-4.0", "images": 3},),
        scores={"val": {"f1": 0.5}},
        network_arguments={"width": 0.25, "blocks": [1, 2]},
    )
    written = write_card(model.folder, card)
    assert read_card(model.folder) == written
    assert set(written.sha256) == {"model.onnx", "probe.npz"}
    assert not list(model.folder.glob("*.tmp"))


@pytest.mark.parametrize(
    ("needs", "message"),
    [
        ("99.0", "needs crackseg 99.0 or later, this is"),
        ("0.99.1", "upgrade"),
        ("0.5.0 or so", "`needs` must be a release"),
        (5, "`needs` must be a release"),
    ],
)
def test_a_card_of_a_later_release_is_refused_by_its_release(
    make_model: MakeModel, needs: object, message: str
) -> None:
    path = make_model().folder / CARD
    values = json.loads(path.read_text(encoding="utf-8"))
    assert values["needs"] == __version__
    later = {**values, "needs": needs, "what_nobody_knows_yet": 1}
    path.write_text(json.dumps(later), encoding="utf-8")
    with pytest.raises(ModelError, match=message):
        read_card(path.parent)
    del values["needs"]  # as cards of releases before this one
    path.write_text(json.dumps(values), encoding="utf-8")
    assert read_card(path.parent).needs == ""


def test_the_shipped_models_name_the_release_that_they_need() -> None:
    for folder in shipped_models().values():
        assert read_card(folder).needs  # or it would have been refused


def test_a_model_is_the_same_one_whatever_release_wrote_its_card(make_model: MakeModel) -> None:
    card = make_model().card
    assert model_to_dict(card, None) == model_to_dict(replace(card, needs="0.1.0"), None)


@pytest.mark.parametrize("name", ["model.onnx", "probe.npz"])
def test_an_altered_file_is_refused(make_model: MakeModel, name: str) -> None:
    path = make_model().folder / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelError, match=f"{name}` was altered"):
        load_model(path.parent)


@pytest.mark.parametrize("name", ["model.onnx", "probe.npz", "card.json"])
def test_a_missing_file_is_refused_by_name(make_model: MakeModel, name: str) -> None:
    folder = make_model().folder
    (folder / name).unlink()
    with pytest.raises(ModelError, match=name):
        load_model(folder)


def test_a_file_without_digest_is_refused(make_model: MakeModel) -> None:
    path = make_model().folder / "card.json"
    card = json.loads(path.read_text())
    del card["sha256"]["model.onnx"]
    path.write_text(json.dumps(card))
    with pytest.raises(ModelError, match=r"sha256 of model\.onnx.*is missing"):
        load_model(path.parent)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("threshold", 1.5, "threshold"),
        ("threshold_low", 0.9, "threshold_low"),
        ("input_multiple", 0, "input_multiple"),
        ("tile_px", 100, "multiple of 32"),
        ("std", [1.0, 0.0, 1.0], "std"),
        ("mean", [1.0], "card.mean"),
        ("name", 5, "card.name"),
        ("no_such_key", 5, "no_such_key"),
    ],
)
def test_an_impossible_card_is_refused(
    make_model: MakeModel, key: str, value: object, words: str
) -> None:
    path = make_model().folder / "card.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(ModelError, match=words):
        load_model(path.parent)


def test_a_card_keeps_its_certainty_and_refuses_a_feature_it_does_not_know(
    make_model: MakeModel,
) -> None:
    folder = make_model().folder
    card = replace(
        read_card(folder),
        certainty=Certainty(intercept=-3.0, weights={"contrast": 2.5}, limit=0.8, fitted_on="x"),
    )
    write_card(folder, card)
    assert read_card(folder).certainty == card.certainty
    unknown = Certainty(intercept=0.0, weights={"colour": 1.0}, limit=0.5)
    write_card(folder, replace(card, certainty=unknown))
    with pytest.raises(ModelError, match="got colour"):
        read_card(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\xff", "[" * 100000])
def test_a_card_that_is_not_json_is_refused(make_model: MakeModel, text: str) -> None:
    path = make_model().folder / "card.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ModelError, match="not a model card"):
        load_model(path.parent)


def test_an_unknown_name_lists_what_is_shipped(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_model().folder
    monkeypatch.setattr(models, "SHIPPED", folder.parent)
    with pytest.raises(UnknownName, match="unknown model `modl-3`; shipped: model-3"):
        load_model("modl-3")
    assert load_model("default").folder == load_model("model-3").folder == folder


def test_the_default_of_several_is_written_down(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = make_model(radius=1).folder.parent
    make_model(radius=2)
    monkeypatch.setattr(models, "SHIPPED", shipped)
    with pytest.raises(ModelError, match="no default model"):
        default_model()
    (shipped / "default.txt").write_text("model-2\n")
    assert load_model("default").folder.name == "model-2"


def test_the_probe_tells_a_sound_from_a_wrong_model(make_model: MakeModel) -> None:
    model = make_model()
    assert check_probe(model) < 1e-5
    with np.load(model.folder / "probe.npz") as probe:
        image, expected = probe["image"], probe["probability"]
    write_probe(model.folder, image, expected + np.float32(0.1))
    assert check_probe(model) == pytest.approx(0.1, abs=1e-4)
    write_probe(model.folder, image, expected[:, :-1])
    with pytest.raises(ModelError, match="of shape"):
        check_probe(model)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"\x80\x04K\x01."])
def test_a_broken_probe_is_an_error(make_model: MakeModel, data: bytes) -> None:
    model = make_model()
    Path(model.folder / "probe.npz").write_bytes(data)
    with pytest.raises(ModelError, match="not a probe"):
        check_probe(model)


@pytest.mark.skipif(not shipped_models(), reason="no model is shipped yet")
def test_the_shipped_model_gives_its_probe() -> None:
    assert check_probe(load_model("default")) < PROBE_TOLERANCE


@pytest.mark.skipif("open" not in shipped_models(), reason="no open model is shipped")
def test_the_open_model_learned_only_from_what_companies_may_use() -> None:
    model = load_model("open")
    assert check_probe(model) < PROBE_TOLERANCE
    licences = {str(row["licence"]) for row in model.card.data}
    assert licences <= {"CC0-1.0", "MIT", "CC BY-SA 4.0", "weights Apache-2.0"}
    assert all(row["source"] for row in model.card.data), "authors are named"
    assert not any("through" in row for row in model.card.data), "no other weights shaped it"


def test_the_shipped_models_are_small_together() -> None:
    files = [path for path in models.SHIPPED.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 25e6


def test_thresholds_come_from_the_card_unless_given(make_model: MakeModel) -> None:
    card = make_model(threshold=0.5, threshold_low=0.3).card
    assert thresholds(MaskOptions(), card) == (0.5, 0.3)
    assert thresholds(MaskOptions(threshold=0.2), card) == (0.2, 0.2)
    assert thresholds(MaskOptions(threshold=0.8, threshold_low=0.6), card) == (0.8, 0.6)


def test_a_lower_threshold_that_was_not_used_is_said(make_model: MakeModel) -> None:
    card = make_model(threshold=0.5, threshold_low=0.3).card
    for options, high in (
        (MaskOptions(threshold_low=0.9), 0.5),
        (MaskOptions(threshold=0.2, threshold_low=0.9), 0.2),
    ):
        assert thresholds(options, card) == (high, high)
        assert f"at most `threshold` ({high:g}), got 0.9: {high:g} was used" in lowered(
            options, card
        )
    for silent in (MaskOptions(), MaskOptions(threshold=0.2), MaskOptions(threshold_low=0.5)):
        assert lowered(silent, card) == "", "the card's own is below it, or nothing was asked for"
