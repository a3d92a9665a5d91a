"""``survey.toml``: what it may hold, where it is looked for, what it does and that it travels."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from crackseg import batch
from crackseg.commands import app
from crackseg.config import AnalyzeOptions, PredictOptions, ScaleOptions
from crackseg.errors import ConfigError
from crackseg.survey import (
    TEMPLATE,
    Drone,
    Earlier,
    Face,
    Survey,
    WidthBins,
    find_survey,
    read_survey,
    survey_from,
    survey_to_dict,
    with_face,
    write_template,
)

Photo = Callable[..., Path]
TEXT = """
dam = "Obere Sperre"
inspected_on = 2026-05-12
reservoir_level_m = 612
people = ["A. Name"]
[face]
batter = 0.7
azimuth_deg = 180
origin = [691203.2, 5334887.1, 598]
crs = "EPSG:25832"
[earlier]
folder = "../2025"
"""


def uncommented() -> str:
    """Return the template with every line of it in force, one of the two origins left out."""
    text = re.sub(r"^# (?=[a-z_]+ = )", "", TEMPLATE.read_text(encoding="utf-8"), flags=re.M)
    return re.sub(r"^origin_gps.*\n", "", text, flags=re.M)


def test_the_template_is_valid_as_it_is_and_with_every_line_in_force(tmp_path: Path) -> None:
    assert read_survey(write_template(tmp_path)) == Survey()
    (tmp_path / "survey.toml").write_text(uncommented(), encoding="utf-8")
    read_survey(tmp_path / "survey.toml")
    full = tomllib.loads(uncommented())
    tables = {"face": Face, "drone": Drone, "earlier": Earlier, "widths": WidthBins}
    assert full.keys() == {f.name for f in fields(Survey)}
    for name, kind in tables.items():
        known = {f.name for f in fields(kind)} - {"origin_gps"}  # which stands for the origin
        assert full[name].keys() == known


def test_a_file_becomes_a_record_and_goes_through_json(tmp_path: Path) -> None:
    (tmp_path / "survey.toml").write_text(TEXT, encoding="utf-8-sig")
    survey = read_survey(tmp_path / "survey.toml")
    assert (survey.dam, survey.inspected_on) == ("Obere Sperre", date(2026, 5, 12))
    assert survey.reservoir_level_m == 612.0
    assert survey.earlier.folder == tmp_path / "../2025"
    assert survey.face.elevation_m == 598.0
    assert survey_from(json.loads(json.dumps(survey_to_dict(survey)))) == survey
    assert survey_to_dict(Survey()).keys() == {"face", "widths"}


@pytest.mark.parametrize(
    ("azimuth", "side", "expected"),
    [(180, "right", 90), (180, "left", 270), (0, "right", 270), (90, "right", 0)],
)
def test_stations_grow_to_a_side_of_the_viewer(azimuth: float, side: str, expected: float) -> None:
    face = Face(azimuth_deg=azimuth, stations_grow_to=side)
    assert face.station_azimuth_deg == expected  # who looks at a face to the south looks north


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('dma = "x"', "unknown key `survey.toml.dma`; known: dam"),
        ("[face]\nazimut_deg = 1", "unknown key `survey.toml.face.azimut_deg`; known: azimuth_deg"),
        ('inspected_on = "12.05.2026"', "must be a date as 2026-05-12"),
        ("inspected_on = 2026-05-12T10:00:00", "must be a date as 2026-05-12"),
        ("inspected_on = 2026", "must be a date as 2026-05-12"),
        ("people = 'A'", "must be a list"),
        ("reservoir_level_m = nan", "must be a finite number"),
        ("reservoir_level_m = 1e300", "between -1000 and 10000, got 1e+300"),
        ("temperature_c = inf", "must be a finite number"),
        ("temperature_c = 400.0", "between -90 and 70, got 400.0"),
        ("[earlier]\ntemperature_c = -300.0", "`earlier.temperature_c` must be a finite number"),
        ("[face]\norigin_station_m = 1e12", "`face.origin_station_m` must be a finite number"),
        ("[face]\norigin_gps = [46.0, 8.0, 1e30]", "must be a place on Earth"),
        ("[face]\norigin = [1, 2, 3]", "needs `face.crs`"),
        ("[face]\norigin = [1, 2, 3]\ncrs = 'foo'", "`face.crs` must be a reference system"),
        ("[face]\ncrs = 'EPSG:25832x'", "got 'EPSG:25832x'"),
        ("[face]\norigin = [1, 2]\ncrs = 'x'", "must hold 3 values"),
        ("[face]\norigin_gps = [191, 2, 3]", "latitude, longitude"),
        ("[face]\nbatter = 80", "horizontal over vertical"),
        ("[face]\nazimuth_deg = 361", "compass"),
        ("[face]\nstations_grow_to = 'up'", "right or left"),
        ("[drone]\nstand_off_m = 0", "larger than 0"),
        ("[widths]\nlimits_mm = [0.3, 0.2]", "rising numbers"),
        ("[widths]\nlimits_mm = []", "rising numbers"),
        ("dam = Obere", "not valid TOML"),
    ],
)
def test_what_does_not_fit_is_a_sentence(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "survey.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=re.escape(words)) as caught:
        read_survey(tmp_path / "survey.toml")
    assert "survey.toml" in str(caught.value)


def test_it_is_looked_for_beside_the_photographs(tmp_path: Path) -> None:
    flight = tmp_path / "flight" / "a"
    flight.mkdir(parents=True)
    assert find_survey([tmp_path / "flight"], [flight / "x.jpg"]) is None
    (tmp_path / "flight" / "survey.toml").write_text('dam = "A"', encoding="utf-8")
    survey = find_survey([tmp_path / "flight"], [flight / "x.jpg"])
    assert survey == Survey(dam="A")
    assert find_survey([flight / "x.jpg"], [flight / "x.jpg"]) is None  # a folder above is no place
    (flight / "survey.toml").write_text('dam = "B"', encoding="utf-8")
    with pytest.raises(ConfigError, match="two surveys"):
        find_survey([tmp_path / "flight"], [flight / "x.jpg"])


def test_the_face_goes_into_the_scale_and_may_not_be_contradicted() -> None:
    survey = Survey(face=Face(batter=0.7))
    assert with_face(AnalyzeOptions(), survey).scale.face_batter == 0.7
    assert with_face(AnalyzeOptions(), None) == AnalyzeOptions()
    same = AnalyzeOptions(scale=ScaleOptions(face_batter=0.7, face_azimuth_deg=10))
    assert with_face(same, survey) == same
    other = replace(same, scale=ScaleOptions(face_batter=0.8))
    with pytest.raises(ConfigError, match=r"`scale.face_batter` is 0.8"):
        with_face(other, survey)


def test_it_travels_with_the_results(photo: Photo, dark_model: Path, tmp_path: Path) -> None:
    picture = photo(tmp_path / "in" / "a.png")
    options = AnalyzeOptions(
        model=str(dark_model), exports=("json",), predict=PredictOptions(readings=1)
    )
    out = tmp_path / "out"
    survey = Survey(dam="Obere Sperre", inspected_on=date(2026, 5, 12), face=Face(batter=0.0))

    def facts() -> dict[str, Any]:
        values: dict[str, Any] = json.loads((out / "survey.json").read_text(encoding="utf-8"))
        return values["facts"]

    batch.run([picture], out, options, facts=survey)  # one photograph has a survey.json then too
    assert survey_from(facts()) == survey
    again = batch.run([picture], out, options)  # which does not know it
    assert survey_from(facts()) == survey
    assert [outcome.status for outcome in again] == ["unchanged"]  # its face is still that known
    batch.run([picture], out, options, facts=Survey(dam="B"))
    assert survey_from(facts()) == Survey(dam="B")


def test_the_command_writes_it_once_and_analyze_reads_it(
    photo: Photo, dark_model: Path, tmp_path: Path
) -> None:
    from typer.testing import CliRunner

    picture = photo(tmp_path / "in" / "a.png")
    run = CliRunner()
    done = run.invoke(app, ["survey", "init", str(picture.parent)])
    assert done.exit_code == 0, done.output
    assert isinstance(
        run.invoke(app, ["survey", "init", str(picture.parent)]).exception, ConfigError
    )
    toml = picture.parent / "survey.toml"
    toml.write_text('dam = "A"\n' + toml.read_text(encoding="utf-8"), encoding="utf-8")
    arguments = [
        "analyze",
        str(picture.parent),
        "-o",
        str(tmp_path / "o"),
        "--exports",
        "json",
    ]
    done = run.invoke(app, [*arguments, "--model", str(dark_model)])
    assert done.exit_code == 0, done.output
    written = json.loads((tmp_path / "o" / "survey.json").read_text(encoding="utf-8"))
    assert written["facts"]["dam"] == "A"
    other = tmp_path / "other.toml"
    other.write_text('damm = "B"', encoding="utf-8")
    refused = run.invoke(app, [*arguments, "--survey", str(other)])
    assert f"unknown key `{other.name}.damm`; known: dam" in str(refused.exception)


@pytest.mark.parametrize(("crs", "is_one"), [("EPSG:2056", True), ("foo", False), ("2056x", False)])
def test_a_reference_system_is_one_by_its_form_without_proj(
    crs: str, is_one: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    if is_one:
        assert Face(crs=crs).crs == crs
    else:
        with pytest.raises(ConfigError, match="must be a reference system"):
            Face(crs=crs)
