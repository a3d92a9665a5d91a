"""The operator's ``[analyze]`` table: defaults of every analysis, below what a request gives."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from service_process import finished, running
from test_surveys import make_survey
from tiny_model import picture

from crackseg.config import AnalyzeOptions, read_options, to_plain
from crackseg.errors import ConfigError
from service.schemas import Options
from service.settings import Settings

TABLE: dict[str, Any] = {
    "predict": {"runtime": "openvino", "device": "GPU", "readings": 2, "threads": 3},
    "mask": {"threshold": 0.6, "gap_px": 0.0},
    "scale": {"face_batter": 0.1, "use_metadata": False},
}


def test_every_option_of_a_request_has_its_place() -> None:
    values: dict[str, Any] = {
        "mm_per_px": 0.5, "distance_m": 7.0, "marker_mm": 90.0, "use_metadata": False,
        "threshold": 0.7, "threshold_low": 0.3, "min_area_px": 20, "gap_px": 3.0,
        "min_length_px": 44.0, "face_batter": 0.8, "face_azimuth_deg": 215.0,
    }  # fmt: skip
    assert set(values) == set(Options.model_fields)
    options = to_plain(Options.model_validate(values).over(AnalyzeOptions()))
    flat = {k: v for table in options.values() if isinstance(table, dict) for k, v in table.items()}
    assert {name: flat[name] for name in values} == values
    assert Options().over(AnalyzeOptions()) == AnalyzeOptions()


def test_a_request_is_laid_over_the_operators_table(tmp_path: Path) -> None:
    settings = read_options(Settings, {"data": tmp_path, "analyze": TABLE})
    assert Settings.from_json(settings.to_json()) == settings
    options = Options(threshold=0.4, use_metadata=True).over(settings.analyze)
    assert (options.mask.threshold, options.mask.gap_px) == (0.4, 0.0)
    assert (options.scale.face_batter, options.scale.use_metadata) == (0.1, True)
    assert options.predict == settings.analyze.predict
    assert settings.slot_memory_mb == 0  # a driver reserves address space without end
    assert Settings(data=tmp_path).slot_memory_mb == 8192


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"model": "other"}, "set `model`"),
        ({"exports": ["json"]}, "analyze.exports"),
        ({"max_megapixels": 5}, "max_image_megapixels"),
        ({"predict": {"runtime": "onxx"}}, "known: onnx"),
        ({"predict": {"reading": 1}}, "reading"),
    ],
)
def test_what_would_be_left_out_is_refused(tmp_path: Path, table: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_options(Settings, {"data": tmp_path, "analyze": table})


def test_the_table_reaches_the_slots(tmp_path: Path, model_folder: Path) -> None:
    config = tmp_path / "more.toml"
    config.write_text(
        "min_free_mb = 1\nslots = 1\nimage_memory_mb = 6144\n"
        "[analyze.predict]\nreadings = 1\noverlap_px = 32\nthreads = 1\n"
        "[analyze.measure]\nmin_length_px = 400.0\n[analyze.scale]\nmm_per_px = 0.5\n"
    )
    with running(tmp_path, model_folder, "--config", str(config)) as service:
        client = service.client()
        done = finished(client, client.post("/v1/analyses", content=picture(1)).headers["location"])
        report = client.get(done["links"]["report.json"]).json()
        assert (done["cracks"], report["scale"]["mm_per_px"]) == (0, 0.5)  # none is so long
        predict = report["options"]["predict"]
        assert (predict["readings"], predict["overlap_px"], predict["threads"]) == (1, 32, 1)
        over = client.post(
            "/v1/analyses", content=picture(1), params={"options": json.dumps({"min_length_px": 9})}
        )
        assert finished(client, over.headers["location"])["cracks"] == 2


DRONE = Path(__file__).parents[2] / "data" / "samples" / "drone_rotated.jpg"  # with its distance


def test_one_image_has_a_scale_of_its_own(client: Any) -> None:
    survey = make_survey(client, {"drone.jpg": DRONE.read_bytes(), "a.png": picture(1)})
    job = client.post(f"{survey}/execution", json={"mm_per_px": 0.5}).headers["location"]
    assert finished(client, job)["counts"]["failed"] == 1
    own = f"{survey}/images/drone.jpg/options"
    answer = client.put(own, json={"use_metadata": False})
    assert answer.status_code == 200, answer.text
    assert answer.json()["options"] == {"use_metadata": False}
    assert client.post(f"{job}/retry").status_code == 200
    assert finished(client, job)["counts"]["succeeded"] == 2
    assert scales(client, job) == {"drone.jpg": 0.5, "a.png": 0.5}
    # A source of its own replaces that of the survey, in the next analysis too.
    assert client.put(own, json={"mm_per_px": 0.25, "use_metadata": False}).status_code == 200
    again = client.post(f"{survey}/execution", json={"mm_per_px": 0.4}).headers["location"]
    finished(client, again)
    assert scales(client, again) == {"drone.jpg": 0.25, "a.png": 0.4}
    assert client.put(own, json={}).json()["options"] is None
    for body, status in (({"mm_per_px": 0}, 422), ({"threshold": 0.5}, 422), ({"x": 1}, 422)):
        assert client.put(own, json=body).status_code == status
    assert client.put(f"{survey}/images/b.png/options", json={}).status_code == 404
    changes = client.get(f"{survey}/changes").json()["changes"]
    assert [c["after"]["options"] for c in changes] == [
        {}, {"mm_per_px": 0.25, "use_metadata": False}, {"use_metadata": False}
    ]  # fmt: skip
    assert client.delete(survey).status_code == 204


def scales(client: Any, job: str) -> dict[str, float]:
    """Return the size of a pixel of each image of a job."""
    rows = client.get(f"{job}/images").json()["images"]
    return {row["name"]: row["summary"]["mm_per_px"] for row in rows}


def test_tables_of_the_options_are_all_known() -> None:
    names = {field.name for field in dataclasses.fields(AnalyzeOptions)}
    assert {"predict", "mask", "measure", "scale"} <= names
