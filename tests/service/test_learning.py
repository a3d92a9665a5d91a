"""A survey's bundle is enough to learn from, and its page says how."""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from service_process import finished, running
from test_corrections import keyed, rough, wall
from test_surveys import make_survey

from crackseg.errors import DataError
from crackseg.training.areas import LEFT_OUT, NO_CRACK, read_areas
from crackseg.training.from_survey import from_survey
from crackseg.training.manifest import index_folder, read_pair
from service.database import open_database
from service.keys import add
from service.settings import Settings


@pytest.fixture
def owner(tmp_path: Path, model_folder: Path) -> Iterator[Any]:
    engine = open_database(Settings(data=tmp_path / "data"))
    key = add(engine, "north", "A. Meier", ("read", "write"))
    engine.dispose()
    with running(tmp_path, model_folder) as started:
        yield keyed(started, key)


def test_a_bundle_becomes_masks_and_the_page_says_how(owner: Any, tmp_path: Path) -> None:
    survey = make_survey(owner, {"wall.png": wall(), "other.png": wall()}, name="Wall")
    started = owner.post(f"{survey}/execution", json={})
    job = str(started.headers["location"])
    finished(owner, job)
    listed = owner.get(f"{job}/images").json()["images"]
    image = next(str(i["links"]["self"]) for i in listed if i["name"] == "wall.png")
    before = owner.get(f"{image}/report.json").json()
    number = before["cracks"][0]["id"]
    stored = owner.put(f"{image}/cracks/{number}/verdict", json={"verdict": "reject"})
    assert stored.status_code == 200, stored.text
    drawn = {"kind": "draw", "line": rough()}
    made = owner.post(f"{image}/corrections", json=drawn)
    assert made.status_code in (200, 201), made.text
    page = owner.get(f"/surveys/{survey.rpartition('/')[2]}").text
    command = re.search(r"crackseg data from-survey (\S+) --out site", page)
    assert command is not None
    assert "crackseg fine-tune site --out site_model" in page
    answer = owner.get(f"{job}/bundle.zip")
    assert command[1] in answer.headers["content-disposition"]
    path = tmp_path / command[1]
    path.write_bytes(answer.content)
    done = from_survey(path, tmp_path / "set")
    with zipfile.ZipFile(path) as packed:
        about = json.loads(packed.read("bundle.json"))
        assert packed.namelist()[-1] == "bundle.json"
        for folder, digests in about["images"].items():
            for name in ("report.json", "mask.png", "photo.jpg"):
                content = packed.read(f"{folder}/{name}")
                assert digests[name] == hashlib.sha256(content).hexdigest(), name
        files = {name: packed.read(name) for name in packed.namelist()}
    assert about["job"] == job.rpartition("/")[2]
    assert about["job"] in files["verdicts.csv"].decode("utf-8-sig")
    copies = [f"{folder}/photo.jpg" for folder in about["images"]]
    with zipfile.ZipFile(tmp_path / "mixed.zip", "w") as packed:
        for name, content in files.items():
            packed.writestr(name, content + b"x" if name in copies else content)
    with pytest.raises(DataError, match=r"is not the file of `wall\.png`"):
        from_survey(tmp_path / "mixed.zip", tmp_path / "mixed")
    assert (done.pictures, done.drawn, done.rejected, done.copies) == (1, 1, 1, 1)
    assert done.not_looked_at == ("other.png",)
    (sample,) = index_folder(tmp_path / "set")
    picture, mask = read_pair(sample)
    areas = read_areas(sample, mask.shape)
    assert areas is not None
    line = np.concatenate([np.array(part) for part in before["cracks"][0]["centre_line"]])
    rows, cols = np.rint(line).astype(int).T
    assert (areas[rows, cols] == NO_CRACK).mean() > 0.9
    assert not mask[rows, cols].mean() > 0.1
    assert mask.any()
    assert (areas == LEFT_OUT).any()  # the rim of what was drawn
    assert picture.shape[:2] == mask.shape
