"""A survey with verdicts and corrections becomes masks and areas: each mark in its right class."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dark_model import write_dark_model
from PIL import Image
from typer.testing import CliRunner

from crackseg import batch
from crackseg.commands import app
from crackseg.config import AnalyzeOptions, read_options
from crackseg.corrections.results import correct_folder
from crackseg.errors import DataError
from crackseg.metrology.phantoms import Look, Stroke, draw, wandering
from crackseg.training.areas import LEFT_OUT, NO_CRACK, OTHER_LINE, read_areas
from crackseg.training.from_survey import FromSurvey, from_survey
from crackseg.training.judged import Judged, read_judged
from crackseg.training.manifest import index_folder, read_pair
from crackseg.verdict_table import Spoken, by_photograph

SHAPE = 440, 560
BY, AT = "A. Meier", "2026-05-04T09:30:00+00:00"
NAMES = ("true", "cable", "joint", "undecided", "trimmed", "wire")
ROWS = dict(zip((*NAMES, "missed"), (40, 100, 160, 220, 280, 340, 390), strict=True))


def _strokes() -> dict[str, Stroke]:
    rng = np.random.default_rng(3)
    return {name: wandering((row, 50), 0, 440, 5.0, rng, bend_deg=4) for name, row in ROWS.items()}


def _photograph(strokes: dict[str, Stroke]) -> np.ndarray:
    """All strokes, black; the missed one is too faint for the model and not for the eye."""
    rng = np.random.default_rng(1)
    dark = draw(SHAPE, [s for n, s in strokes.items() if n != "missed"], Look(), rng)
    faint = draw(SHAPE, [strokes["missed"]], Look(), rng).coverage
    return (dark.picture * (1 - 0.3 * faint[..., None])).astype(np.uint8)


@dataclass
class Site:
    """A survey of three photographs, analyzed."""

    folder: Path
    photographs: Path
    strokes: dict[str, Stroke]

    def report(self, name: str = "a") -> dict[str, Any]:
        return json.loads((self.folder / name / "report.json").read_text(encoding="utf-8"))

    def crack_at(self, name: str) -> int:
        """Return the number of the crack on a stroke."""
        place = self.strokes[name].points[220]
        away = {
            crack["id"]: min(
                float(np.linalg.norm(np.array(line) - place, axis=1).min())
                for line in crack["centre_line"]
            )
            for crack in self.report()["cracks"]
        }
        return min(away, key=lambda number: away[number])

    def correct(self, *edits: dict[str, Any]) -> None:
        listed = [{"id": str(n), **e, "by": BY, "at": AT} for n, e in enumerate(edits)]
        digest = self.report()["image"]["sha256"]
        values = {"schema_version": "1", "image_sha256": digest, "edits": listed}
        path = self.folder.parent / "edits.json"
        path.write_text(json.dumps(values), encoding="utf-8")
        correct_folder(self.folder / "a", path)

    def say(self, **words: str) -> None:
        with (self.folder / "verdicts.csv").open("w", newline="", encoding="utf-8-sig") as file:
            table = csv.writer(file)
            table.writerow(["image_name", "crack", "verdict"])
            for name, word in words.items():
                table.writerow(["a.png", self.crack_at(name), word])


@pytest.fixture
def site(tmp_path: Path) -> Site:
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    strokes = _strokes()
    Image.fromarray(_photograph(strokes)).save(photographs / "a.png")
    Image.fromarray(_photograph(strokes)[:, ::-1]).save(photographs / "b.png")
    plain = draw(SHAPE, [], Look(), np.random.default_rng(4)).picture
    Image.fromarray(plain).save(photographs / "c.png")
    model = write_dark_model(tmp_path / "dark")
    options = read_options(AnalyzeOptions, {"model": str(model)})
    batch.run(sorted(photographs.iterdir()), tmp_path / "results", options)
    return Site(tmp_path / "results", photographs, strokes)


def _judge(site: Site) -> None:
    """Everything an inspector does in one photograph."""
    trimmed = site.strokes["trimmed"].points
    row, col = trimmed[300]
    end = [[row - 25, col], [row - 25, 559], [row + 25, 559], [row + 25, col]]
    site.correct(
        {"kind": "joint", "point": site.strokes["joint"].points[200].tolist()},
        {"kind": "other_line", "point": site.strokes["wire"].points[200].tolist()},
        {"kind": "draw", "line": site.strokes["missed"].points[::40].tolist()},
        {"kind": "erase", "area": end},
        {"kind": "ignore", "area": [[410, 0], [439, 0], [439, 80], [410, 80]]},
    )  # fmt: skip
    site.say(true="accept", cable="reject", trimmed="accept")


def _on(picture: np.ndarray, stroke: Stroke, start: int = 40, stop: int = -20) -> np.ndarray:
    rows, cols = np.rint(stroke.points[start:stop]).astype(int).T
    return picture[rows, cols]


def test_each_mark_gets_the_class_that_was_said(site: Site, tmp_path: Path) -> None:
    _judge(site)
    done = from_survey(site.folder, tmp_path / "set", licence="CC BY 4.0")
    others = tuple(str(site.photographs / name) for name in ("b.png", "c.png"))
    assert done == FromSurvey(
        pictures=1, not_looked_at=others, not_judged=(), copies=0,
        accepted=1, drawn=2, rejected=1, joints=2, undecided=1,
    )  # fmt: skip
    (sample,) = index_folder(tmp_path / "set")
    assert sample.licence == "CC BY 4.0"
    picture, mask = read_pair(sample)
    assert np.array_equal(picture, _photograph(site.strokes))
    areas = read_areas(sample, mask.shape)
    assert areas is not None
    inside = {name: _on(mask, stroke) for name, stroke in site.strokes.items()}
    classes = {name: _on(areas, stroke) for name, stroke in site.strokes.items()}
    assert inside["true"].mean() > 0.97
    # where its width is not read, a drawn crack is a line of one pixel in a rim that is left out
    assert inside["missed"].mean() > 0.8
    assert (inside["missed"] | (classes["missed"] == LEFT_OUT)).mean() > 0.97
    assert inside["trimmed"][:230].mean() > 0.97
    assert not inside["trimmed"][280:].any()
    assert (classes["trimmed"][280:] == NO_CRACK).all()
    for name, value in (
        ("cable", NO_CRACK),
        ("joint", OTHER_LINE),
        ("wire", OTHER_LINE),
        ("undecided", LEFT_OUT),
    ):
        assert not inside[name].any()
        assert (classes[name] == value).mean() > 0.98, name
    assert (areas[411:439, :80] == LEFT_OUT).all()
    assert (areas[:20] == 0).all()


@pytest.mark.parametrize(
    ("number", "correction", "edits", "word"),
    [
        (1, "corrected", ["cut"], "open"),  # who cuts a crack does not say that it is one
        (2, "corrected", ["cut"], "reject"),
        (3, "corrected", ["cut"], "accept"),
        (4, "drawn", ["line"], "accept"),
        (5, "drawn", ["line"], "reject"),
        (6, "corrected", ["called", "cut"], "accept"),
        (7, "corrected", ["joined"], "open"),
    ],
)
def test_a_corrected_crack_is_taught_by_its_verdict(
    number: int, correction: str, edits: list[str], word: str
) -> None:
    kinds = {"cut": "split", "line": "draw", "called": "crack", "joined": "join"}
    made = [{"id": name, "kind": kind} for name, kind in kinds.items()]
    judged = Judged(
        name="a.png",
        folder=Path(),
        report={"corrections": {"edits": made}},
        words={2: "reject", 3: "accept", 5: "reject"},
    )
    assert judged.word({"id": number, "correction": correction, "edits": edits}) == word


def test_a_drawn_crack_is_as_wide_as_it_was_measured(site: Site, tmp_path: Path) -> None:
    _judge(site)
    from_survey(site.folder, tmp_path / "set")
    (sample,) = index_folder(tmp_path / "set")
    _, mask = read_pair(sample)
    areas = read_areas(sample, mask.shape)
    assert areas is not None
    columns = np.arange(120, 460)
    widths = mask[ROWS["missed"] - 35 : ROWS["missed"] + 35, columns].sum(axis=0)
    drawn = next(c for c in site.report()["cracks"] if c.get("correction") == "drawn")
    assert abs(np.median(widths) - drawn["width_median_px"]) <= 1
    rim = areas[ROWS["missed"] - 35 : ROWS["missed"] + 35, columns] == LEFT_OUT
    assert 2 <= np.median(rim.sum(axis=0)) <= 8  # one to four px on either side
    assert not (areas[mask] == LEFT_OUT).any()


def test_crack_free_pictures_are_taken_where_somebody_looked_through(
    site: Site, tmp_path: Path
) -> None:
    _judge(site)
    done = from_survey(site.folder, tmp_path / "set", looked_through=True)
    assert [s.image.stem for s in index_folder(tmp_path / "set")] == ["a", "c"]
    assert done.not_looked_at == (str(site.photographs / "b.png"),)
    free = index_folder(tmp_path / "set")[1]
    assert not read_pair(free)[1].any()


def _bundle(site: Site, path: Path) -> Path:
    """Pack the survey as the service does: folders below images/, photographs as JPEG."""
    about = json.loads((site.folder / "survey.json").read_text(encoding="utf-8"))
    for row in about["images"]:
        row["image"], row["folder"] = Path(row["image"]).name, f"images/{row['folder']}"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("survey.json", json.dumps(about))
        packed.write(site.folder / "verdicts.csv", "verdicts.csv")
        for name in ("a", "b", "c"):
            report = site.report(name)
            report["image"]["path"] = f"{name}.png"
            packed.writestr(f"images/{name}/report.json", json.dumps(report))
            packed.write(site.folder / name / "mask.png", f"images/{name}/mask.png")
            with Image.open(site.photographs / f"{name}.png") as picture:  # noqa: TID251
                picture.save(site.folder.parent / "photo.jpg", quality=90)
            packed.write(site.folder.parent / "photo.jpg", f"images/{name}/photo.jpg")
    return path


def test_a_bundle_of_the_service_says_the_same_as_its_folder(site: Site, tmp_path: Path) -> None:
    _judge(site)
    packed = _bundle(site, tmp_path / "bundle.zip")
    from_survey(site.folder, tmp_path / "one")
    with_copy = from_survey(packed, tmp_path / "two")
    assert with_copy.copies == 1
    named = from_survey(packed, tmp_path / "three", photographs=site.photographs)
    assert named.copies == 0
    masks = [(tmp_path / n / "masks" / "a.png").read_bytes() for n in ("one", "two", "three")]
    areas = [(tmp_path / n / "areas" / "a.png").read_bytes() for n in ("one", "two", "three")]
    assert len(set(masks)) == len(set(areas)) == 1
    assert (tmp_path / "three" / "images" / "a.png").read_bytes() == (
        site.photographs / "a.png"
    ).read_bytes()
    assert (tmp_path / "two" / "images" / "a.jpg").is_file()


def test_a_turned_photograph_and_its_mask_stay_a_pair(site: Site, tmp_path: Path) -> None:
    """Turned by 180 degrees by its tag: upright and stored picture are of one size."""
    photo = site.photographs / "a.jpg"
    exif = Image.Exif()
    exif[274] = 3
    upright = Image.fromarray(_photograph(site.strokes))
    upright.rotate(180).save(photo, exif=exif, quality=95)
    (site.photographs / "a.png").unlink()
    shutil.rmtree(site.folder)
    model = str(tmp_path / "dark")
    batch.run([photo], site.folder, read_options(AnalyzeOptions, {"model": model}))
    with (site.folder / "verdicts.csv").open("w", encoding="utf-8") as file:
        file.write(f"image_name,crack,verdict\na.jpg,{site.crack_at('true')},accepted\n")
    from_survey(site.folder, tmp_path / "set")
    (sample,) = index_folder(tmp_path / "set")
    picture, mask = read_pair(sample)
    assert _on(mask, site.strokes["true"]).mean() > 0.97
    assert picture[mask].mean() < 90


def _refused(site: Site, out: Path, **more: Any) -> str:
    before = sorted(out.parent.iterdir())
    with pytest.raises(DataError) as error:
        from_survey(site.folder, out, **more)
    assert sorted(out.parent.iterdir()) == before  # nothing is left
    return str(error.value)


def test_what_does_not_fit_is_refused_and_leaves_nothing(site: Site, tmp_path: Path) -> None:
    out = tmp_path / "set"
    assert "nobody has looked at" in _refused(site, out)
    table = site.folder / "verdicts.csv"
    for rows, sentence in (
        ("a.png,1,perhaps", "row 2: `verdict` must be accept, reject or open, got 'perhaps'"),
        ("a.png,99,accept", "row 2: `a.png` has no crack 99"),
        ("z.png,1,accept", "row 2: there is no result of `z.png`"),
        ("a.png,one,accept", "row 2: `crack` must be the number of a crack, got 'one'"),
        ("a.png,1,accept\na.png,2,open\na.png,1,reject", "row 4: it says reject of crack 1"),
    ):
        table.write_text(f"image_name,crack,verdict\n{rows}\n", encoding="utf-8")
        assert sentence in _refused(site, out)
    table.write_text("image,crack\n", encoding="utf-8")
    assert "image_name, verdict is missing" in _refused(site, out)
    site.say(true="accept")
    (site.photographs / "a.png").rename(site.photographs / "other.png")
    text = _refused(site, out)
    assert text.startswith("1 of 1 photographs are not there, first `")
    assert "`--photographs`" in text
    assert "not there" in _refused(site, out, photographs=site.folder)
    (site.photographs / "other.png").rename(site.photographs / "a.png")
    (site.folder / "a" / "mask.png").unlink()
    assert "export `mask`" in _refused(site, out)


def _with_digests(packed: Path, job: str = "j1") -> dict[str, bytes]:
    """Return the files of a bundle with the one that says what belongs to which photograph."""
    with zipfile.ZipFile(packed) as bundle:
        files = {name: bundle.read(name) for name in bundle.namelist()}
    images: dict[str, dict[str, str]] = {}
    for name, content in files.items():
        folder, _, last = name.rpartition("/")
        if last == "report.json":
            digest = json.loads(content)["image"]["sha256"]
            images.setdefault(folder, {})["photograph"] = digest
        if folder:
            images.setdefault(folder, {})[last] = hashlib.sha256(content).hexdigest()
    about = {"schema_version": "1", "job": job, "images": images}
    return {**files, "bundle.json": json.dumps(about).encode()}


def _refused_bundle(files: dict[str, bytes], tmp_path: Path) -> str:
    path = tmp_path / "mixed.zip"
    with zipfile.ZipFile(path, "w") as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    with pytest.raises(DataError) as error:
        from_survey(path, tmp_path / "mixed")
    assert not (tmp_path / "mixed").exists()
    return str(error.value)


def test_a_bundle_whose_files_were_mixed_up_is_refused(site: Site, tmp_path: Path) -> None:
    _judge(site)
    files = _with_digests(_bundle(site, tmp_path / "bundle.zip"))
    other = {name: files[f"images/b/{name}"] for name in ("mask.png", "photo.jpg", "report.json")}
    for name, sentence in (
        ("photo.jpg", "`a/photo.jpg` is not the file of `a.png`"),
        ("mask.png", "`a/mask.png` is not the file of `a.png`"),
        ("report.json", "`a` of"),
    ):
        text = _refused_bundle({**files, f"images/a/{name}": other[name]}, tmp_path)
        assert sentence in text, name
    cut = {**files, "images/a/photo.jpg": files["images/a/photo.jpg"][:900]}
    assert "`a/photo.jpg` is not the file of `a.png`" in _refused_bundle(cut, tmp_path)
    del cut["bundle.json"]
    assert "`a.png`" in _refused_bundle(cut, tmp_path)
    rows = files["verdicts.csv"].decode("utf-8-sig").splitlines()
    table = [f"{rows[0]},job", *(f"{row},j2" for row in rows[1:])]
    text = _refused_bundle({**files, "verdicts.csv": "\n".join(table).encode()}, tmp_path)
    assert "row 2: it is of another analysis, job 'j2', and the bundle is of 'j1'" in text


def test_a_mask_of_another_photograph_is_refused_without_digests(
    site: Site, tmp_path: Path
) -> None:
    _judge(site)
    path = site.folder / "a" / "mask.png"
    with Image.open(path) as picture:  # noqa: TID251
        moved = np.roll(np.asarray(picture.convert("L")), 30, axis=0)
    path.unlink()
    Image.fromarray(moved).save(path)
    assert "`a/mask.png` does not belong to the report of" in _refused(site, tmp_path / "set")


NAMED = ["/s/two/IMG.png", "/s/two/a/IMG.png", "/s/two/b/IMG.png"]


@pytest.mark.parametrize(
    ("name", "place"),
    [("IMG.png", 0), ("a/IMG.png", 1), ("b\\IMG.png", 2), ("/s/two/b/IMG.png", 2)],
)
def test_photographs_with_equal_names_are_told_by_their_folders(name: str, place: int) -> None:
    one = Spoken(name=name, crack=1, word="accept", where="row 2")
    words = by_photograph([one], NAMED, [{1}] * 3, Path("s"))
    assert [bool(of) for of in words] == [k == place for k in range(3)]


def test_a_name_that_may_be_several_photographs_is_refused_with_them() -> None:
    one = Spoken(name="IMG.png", crack=1, word="accept", where="row 2")
    with pytest.raises(DataError, match=r"row 2: `IMG.png` may be `/s/two/a/IMG.png`, `/s/two/b"):
        by_photograph([one], NAMED[1:], [{1}] * 2, Path("s"))


def test_a_damaged_bundle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bundle.zip").write_bytes(b"PK nothing")
    with pytest.raises(DataError, match="must be a folder of results or a bundle"):
        from_survey(tmp_path / "bundle.zip", tmp_path / "set")
    with zipfile.ZipFile(tmp_path / "out.zip", "w") as packed:
        packed.writestr("../report.json", "{}")
    with pytest.raises(DataError, match="names a file outside"):
        from_survey(tmp_path / "out.zip", tmp_path / "set")


def test_verdicts_in_survey_json_serve_where_there_is_no_table(site: Site) -> None:
    about = json.loads((site.folder / "survey.json").read_text(encoding="utf-8"))
    about["verdicts"] = [{"image_name": "a.png", "crack": 1, "verdict": "reject"}]
    (site.folder / "survey.json").write_text(json.dumps(about), encoding="utf-8")
    first = read_judged(site.folder, site.folder)[0]
    assert first.words == {1: "reject"}


def test_the_command_says_what_it_made(site: Site, tmp_path: Path) -> None:
    _judge(site)
    done = CliRunner().invoke(
        app, ["data", "from-survey", str(site.folder), "--out", str(tmp_path / "set")]
    )
    assert done.exit_code == 0, done.output
    assert "crack: 1 accepted, 2 drawn or put right; none: 1 rejected" in done.output
    assert "2 photographs are left out" in done.output
    assert done.output.endswith(f"1 picture written to {tmp_path / 'set'}\n")
