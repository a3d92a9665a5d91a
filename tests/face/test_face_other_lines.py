"""What a network takes for a joint is on the map, apart from the cracks, and is said."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from crackseg.face.cracks import cracks_of
from crackseg.face.face_json import SCHEMA, face_to_dict
from crackseg.face.lines import marks_of
from crackseg.face.mapping import FaceMap
from crackseg.face.merging import merge
from crackseg.face.other_lines import FaceLine, lines_of, notice_of
from crackseg.face.writing import write_map

TOLERANCE_M = 0.012


def as_other(crack: dict[str, Any], part: slice) -> dict[str, Any]:
    """Return a part of a crack's first branch as a report lists a line that is none."""
    line = crack["centre_line"][0][part]
    return {"id": 1, "centre_line": [line], "width_mean_px": 2.0}


def split(face: FaceMap, number: int, *, whole: bool) -> tuple[list[Any], FaceMap]:
    """Return the map with one crack taken for another line: as a whole, or its second half."""
    photographs = []
    victim = face.cracks[number]
    names = {face.photographs[n].name: ids for n, ids in victim.views}
    for photograph in face.photographs:
        report = {**photograph.report, "other_lines": []}
        cracks = []
        for crack in report["cracks"]:
            if crack["id"] in names.get(photograph.name, ()):
                half = 0 if whole else len(crack["centre_line"][0]) // 2
                report["other_lines"].append(as_other(crack, slice(half, None)))
                if whole:
                    continue
            cracks.append(crack)
        photographs.append(replace(photograph, report={**report, "cracks": cracks}))
    return photographs, face


def others(face: FaceMap, photographs: list[Any]) -> list[FaceLine]:
    tolerance = np.full((len(photographs), len(photographs)), TOLERANCE_M)
    groups = merge(marks_of(photographs, face.views), tolerance)
    cracks = cracks_of(groups, photographs, face.views, 0.001)
    return lines_of(photographs, face.views, cracks, tolerance)


def test_a_line_that_every_view_takes_for_a_joint_is_listed_once(face_map: FaceMap) -> None:
    photographs, face = split(face_map, 0, whole=True)
    (line,) = others(face, photographs)
    assert line.length_m == pytest.approx((face.cracks[0].length.value_mm or 0) / 1000, rel=0.05)
    assert line.views == tuple(n for n, _ in face.cracks[0].views)
    assert line.goes_on_from == ()
    assert line.width_mean_mm == pytest.approx(2 * face.views[0].mm_per_px, rel=0.15)


def test_what_one_view_takes_for_a_crack_is_no_other_line(face_map: FaceMap) -> None:
    photographs, face = split(face_map, 0, whole=False)  # all views mark the whole of it, too
    assert others(face, photographs) == []


def test_lines_are_in_no_total_but_in_the_files_and_said(face_map: FaceMap, tmp_path: Path) -> None:
    place = face_map.cracks[0].lines_m[0] + 0.3
    line = FaceLine(id=1, lines_m=(place,), width_mean_mm=2.5, views=(0, 1), goes_on_from=(2,))
    notices = (*face_map.notices, *notice_of([line]))
    shown = replace(face_map, other_lines=(line,), notices=notices)
    values = face_to_dict(shown)
    jsonschema.validate(values, json.loads(SCHEMA.read_text(encoding="utf-8")))
    assert values["totals"]["length_m"] == face_to_dict(face_map)["totals"]["length_m"]
    assert values["totals"]["other_lines_length_m"] == pytest.approx(line.length_m, abs=1e-3)
    assert "go on from the ends of cracks (2)" in values["warnings"][-1]["message"]
    results = face_map.photographs[0].folder.parent
    written = {path.name for path in write_map(shown, results, tmp_path / "map")}
    assert "face_other_lines.geojson" in written
    assert "other line" in (tmp_path / "map" / "face.svg").read_text(encoding="utf-8")
    assert "perhaps a straight crack" in (tmp_path / "map" / "face.html").read_text("utf-8")
    ezdxf = pytest.importorskip("ezdxf", reason="extra gis is not installed")
    drawing = ezdxf.readfile(tmp_path / "map" / "face.dxf")
    assert [e.dxf.layer for e in drawing.modelspace()].count("OTHER LINES") == 1
