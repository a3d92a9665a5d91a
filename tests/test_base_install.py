"""A base install does all but paper and training, in English, and says what the rest needs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from crackseg.commands import app

PACKAGES = ("babel", "reportlab", "xlsxwriter", "skimage", "sqlalchemy", "ezdxf", "shapely")
HINT = "pip install 'crackseg[reports]'"
# Runs commands of the command line one after the other, as if the packages were not installed.
RUN = f"""
import contextlib, io, json, sys
from importlib.machinery import PathFinder
class Base:
    @staticmethod
    def find_spec(name, path=None, target=None):
        return None if name in {PACKAGES!r} else PathFinder.find_spec(name, path, target)
sys.meta_path[:] = [Base if finder is PathFinder else finder for finder in sys.meta_path]
from crackseg.commands import app
from crackseg.errors import CracksegError
told = []
for words in json.loads(sys.argv[1]):
    with contextlib.redirect_stderr(io.StringIO()) as said, contextlib.redirect_stdout(said):
        try:
            code = app(words, standalone_mode=False) or 0
        except CracksegError as error:
            code = str(error)
    told.append([code, said.getvalue()])
print(json.dumps(told))
"""


def run(*commands: list[object]) -> list[tuple[int | str, str]]:
    """Run commands without the extra; return of each 0 or the error's text, and what it printed."""
    words = json.dumps([[str(word) for word in command] for command in commands])
    done = subprocess.run([sys.executable, "-c", RUN, words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [(code, said) for code, said in json.loads(done.stdout)]


def test_all_but_paper_is_written_in_english(
    photo: Callable[..., Path], dark_model: Path, tmp_path: Path
) -> None:
    for name in ("a.jpg", "b.jpg"):
        photo(tmp_path / "in" / name)
    out = tmp_path / "out"
    flags = ["--model", dark_model, "--mm-per-px", 0.2]
    analysis, report = run(["analyze", tmp_path / "in", "--out", out, *flags], ["report", out])
    assert analysis[0] == report[0] == 0, (analysis, report)
    files = ("report.json", "cracks.csv", "cracks.geojson", "page.html", "overlay.jpg", "mask.png")
    assert all((out / "a" / name).is_file() for name in files)
    assert all((out / name).is_file() for name in ("index.html", "summary.csv", "survey.json"))
    assert HINT not in analysis[1]
    written = {path.name for path in (out / "report").iterdir() if path.name[0] != "."}
    assert written == {"report.html", "cracks.csv", "photographs.csv"}
    assert "`report.pdf` and `report.xlsx` left out" in report[1]
    assert HINT in report[1]


def test_a_crack_is_drawn_without_scikit_image(
    photo: Callable[..., Path], dark_model: Path, tmp_path: Path
) -> None:
    photo(tmp_path / "a.jpg")
    out, edits = tmp_path / "out", tmp_path / "edits.json"
    analyze: list[object] = ["analyze", tmp_path / "a.jpg", "--out", out, "--model", dark_model]
    assert run(analyze)[0][0] == 0
    report = json.loads((out / "a" / "report.json").read_text(encoding="utf-8"))
    about = {"by": "A. Name", "at": "2026-05-04T09:30:00+02:00"}
    edit = {"id": "1", "kind": "draw", "line": [[42, 31], [50, 110], [58, 199]], **about}
    wanted = {"schema_version": "1", "image_sha256": report["image"]["sha256"], "edits": [edit]}
    edits.write_text(json.dumps(wanted), encoding="utf-8")
    assert run(["correct", out / "a", edits])[0][0] == 0
    report = json.loads((out / "a" / "report.json").read_text(encoding="utf-8"))
    assert [crack["correction"] for crack in report["cracks"]] == ["drawn"]


@pytest.mark.parametrize(
    ("flags", "package", "extra"),
    [(["--locale", "de"], "babel", "reports"), (["--exports", "mask,dxf"], "ezdxf", "gis")],
)
def test_a_result_made_with_an_extra_is_left_as_it_was(
    flags: list[str],
    package: str,
    extra: str,
    photo: Callable[..., Path],
    dark_model: Path,
    tmp_path: Path,
) -> None:
    out, edits = tmp_path / "out", tmp_path / "edits.json"
    analyze = ["analyze", photo(tmp_path / "a.jpg"), "--out", out, "--model", dark_model, *flags]
    app([str(word) for word in analyze], standalone_mode=False)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    report = json.loads((out / "a" / "report.json").read_text(encoding="utf-8"))
    about = {"by": "A. Name", "at": "2026-05-04T09:30:00+02:00"}
    edit = {"id": "1", "kind": "draw", "line": [[42, 31], [50, 110], [58, 199]], **about}
    wanted = {"schema_version": "1", "image_sha256": report["image"]["sha256"], "edits": [edit]}
    edits.write_text(json.dumps(wanted), encoding="utf-8")
    ((code, _),) = run(["correct", out / "a", edits])
    assert f"needs the package `{package}`" in str(code)
    assert f"pip install 'crackseg[{extra}]'" in str(code)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_every_command_of_the_service_says_what_to_install(tmp_path: Path) -> None:
    data = ["--data", tmp_path / "data"]
    asked: list[list[object]] = [
        ["serve", *data],
        ["keys", "add", "gate", *data],
        ["keys", "list", *data],
        ["keys", "revoke", "1", *data],
        ["db", "check", *data],
        ["db", "backup", tmp_path / "copy", *data],
    ]
    for words, (code, _) in zip(asked, run(*asked), strict=True):
        assert "pip install 'crackseg[service]'" in str(code), words
    assert not list(tmp_path.iterdir())


def test_what_needs_an_extra_is_refused_before_any_work(
    photo: Callable[..., Path], tmp_path: Path
) -> None:
    photographs, results, fresh = tmp_path / "in", tmp_path, tmp_path / "fresh"
    photo(photographs / "a.jpg")
    (tmp_path / "german.toml").write_text("locale = 'de'\n", encoding="utf-8")
    asked = {
        "babel": [
            ["analyze", photographs, "--out", fresh, "--locale", "de"],
            ["analyze", photographs, "--out", fresh, "--config", tmp_path / "german.toml"],
            ["report", results, "--out", fresh, "--locale", "en_GB"],
            ["face", results, "--out", fresh, "--locale", "de"],
            ["diff", results, results, "--out", fresh, "--locale", "de"],
        ],
        "reportlab": [["report", results, "--out", fresh, "--formats", "html,pdf"]],
        "xlsxwriter": [
            ["report", results, "--out", fresh, "--formats", "xlsx"],
            ["analyze", photographs, "--out", fresh, "--exports", "csv,xlsx"],
        ],
        "shapely": [
            ["data", "pre-annotate", results, "--out", fresh, "--format", "cvat"],
            ["analyze", photographs, "--out", fresh, "--exports", "csv,yolo"],
        ],
        "skimage": [
            ["evaluate", photographs, "--report", fresh],
            ["calibrate", photographs],
            [
                "data",
                "import",
                photographs,
                "--images",
                photographs,
                "--format",
                "cvat",
                "--labels",
                "crack",
                "--licence",
                "ours",
                "--out",
                fresh,
            ],
        ],
    }
    commands = [(name, words) for name, each in asked.items() for words in each]
    for (name, words), (code, _) in zip(commands, run(*(w for _, w in commands)), strict=True):
        assert f"needs the package `{name}`" in str(code), words
        extra = {"skimage": "train", "shapely": "gis"}.get(name, "reports")
        assert f"pip install 'crackseg[{extra}]'" in str(code), words
    assert not fresh.exists()


def test_nothing_of_an_analysis_imports_an_extra() -> None:
    """Where they are installed, too: English is the same whether Babel is there or not."""
    code = (
        "import sys; import crackseg.batch, crackseg.corrections.results, crackseg.words, "
        "crackseg.reporting.command; "
        "crackseg.words.read_words('en'); "
        f"print(sorted({set(PACKAGES)!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done
