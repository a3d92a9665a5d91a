"""Tables of any spreadsheet and country are read as they are meant, or refused by their line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import exit_code
from PIL import Image

from crackseg.config import read_toml
from crackseg.csv_files import read_csv, read_numbers
from crackseg.errors import ConfigError, DataError
from crackseg.inputs import find_inputs
from crackseg.metrology.field_widths import read_field_widths
from crackseg.training.manifest import index_folder, read_manifest, read_sites, write_manifest
from crackseg.verdict_table import read_verdicts

GREY = "190 188.5 187 150 40 38 150.5 188 190 191 190"
WIDTHS = f"site,name,width_mm,mm_per_px,profile\nwall,a,0.75,0.25,{GREY}\n"
VERDICTS = "image_name,crack,verdict,note\nb/a.jpg,1,accept,no\nb/a.jpg,2,reject,a stain\n"


def german(text: str) -> str:
    """Return a table as a German Excel writes it; no cell of these holds a comma."""
    return text.replace(",", ";").replace(".5", ",5").replace("0.", "0,")


WAYS: dict[str, Callable[[str], bytes]] = {
    "plain": lambda text: text.encode(),
    "windows": lambda text: b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode(),
    "old mac": lambda text: text.replace("\n", "\r").encode(),
    "tabs": lambda text: text.replace(",", "\t").encode(),
    "unicode text": lambda text: text.replace(",", "\t").encode("utf-16"),
    "semicolons": lambda text: text.replace(",", ";").encode(),
    "german": lambda text: b"\xef\xbb\xbf" + german(text).replace("\n", "\r\n").encode(),
    "named separator": lambda text: b"sep=;\r\n" + german(text).encode(),
    "empty cells after": lambda text: german(text).replace("\n", ";;\n").encode() + b";;;;;;\n",
    "quoted": lambda text: german(text).replace("wall;a;", '"wall";"a";').encode(),
    "spaces in the head": lambda text: german(text).replace("name;", " name ;", 1).encode(),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_writing_gives_the_same_widths(way: str, tmp_path: Path) -> None:
    path = tmp_path / "widths.csv"
    path.write_bytes(WAYS[way](WIDTHS))
    field = read_field_widths(path)
    assert field.site == ("wall",)
    assert field.width_mm.tolist() == [0.75]
    assert field.mm_per_px.tolist() == [0.25]
    assert field.profiles[0].tolist() == [float(word) for word in GREY.split()]


@pytest.mark.parametrize("way", [way for way in WAYS if "head" not in way])
def test_every_way_of_writing_gives_the_same_verdicts(way: str, tmp_path: Path) -> None:
    (tmp_path / "verdicts.csv").write_bytes(WAYS[way](VERDICTS))
    said = read_verdicts(tmp_path, tmp_path)
    assert [(one.name, one.crack, one.word, one.note) for one in said] == [
        ("b/a.jpg", 1, "accept", "no"), ("b/a.jpg", 2, "reject", "a stain")
    ]  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_writing_gives_the_same_manifest(way: str, tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / "set" / folder).mkdir(parents=True)
        pixels = np.zeros((40, 40), np.uint8)
        pixels[10] = 255
        Image.fromarray(pixels).save(tmp_path / "set" / folder / "a.png")
    (tmp_path / "set" / "sites.csv").write_bytes(WAYS[way]("stem,site\na,north\n"))
    path = tmp_path / "m.csv"
    write_manifest(index_folder(tmp_path / "set"), path)
    path.write_bytes(WAYS[way](path.read_text("utf-8")))
    (sample,) = read_manifest(path)
    assert sample.site == "north"
    (tmp_path / "list.csv").write_bytes(WAYS[way]("site,image\nn,set/images/a.png\n"))
    assert find_inputs([tmp_path / "list.csv"]).paths == (tmp_path / "set/images/a.png",)


BROKEN = {
    "both signs": (german(WIDTHS) + "wall;b;1.25;0,25;1 2 3 4 5 6 7 8 9\n", "line 2 and a point"),
    "thousands": (german(WIDTHS).replace("0,75", "1.234,5"), "must write all numbers alike"),
    "quoted comma": (WIDTHS.replace("0.75", '"0,75"').replace(".", ""), "line 2: a number must ha"),
    "bare comma": (WIDTHS.replace("0.75", "0,75"), "line 2: it has 6 cells, and the head has 5"),
    "no number": (WIDTHS.replace("0.75", "25. Jan"), "line 2: `width_mm` must be a number, got"),
    "empty": (WIDTHS.replace("0.75", ""), "line 2: `width_mm` must be a number, got nothing"),
    "infinite": (WIDTHS.replace("0.75", "inf"), "line 2: `width_mm` must be a number"),
    "underscore": (WIDTHS.replace("0.75", "1_000"), "line 2: `width_mm` must be a number"),
    "two": (WIDTHS.replace("0.75", "1 2"), "line 2: `width_mm` must be larger than 0, got 1 2"),
    "short": ("site,name,width_mm,mm_per_px,profile\nwall,a\n", "line 2: it has 2 cells"),
    "twice": (WIDTHS.replace("profile", "profile,site").replace("wall", "x,w"), "`site` twice"),
    "other columns": ("a;b\n1;2\n", "must have the columns site, .*got a, b"),
    "nothing": ("", "got nothing"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_what_may_be_read_in_two_ways_is_refused(kind: str, tmp_path: Path) -> None:
    text, reason = BROKEN[kind]
    path = tmp_path / "widths.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=reason):
        read_field_widths(path)


def test_text_of_another_code_page_is_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "w.csv").write_bytes(german(WIDTHS).replace("wall", "Mäuer").encode("cp1252"))
    with pytest.raises(DataError, match=r'no UTF-8 text .* in Excel as "CSV UTF-8"'):
        read_field_widths(tmp_path / "w.csv")


def test_a_number_that_is_whole_everywhere_has_no_sign(tmp_path: Path) -> None:
    (tmp_path / "w.csv").write_text("a;b\n1;-2e3\n")
    assert read_numbers(read_csv(tmp_path / "w.csv", ("a",)), ("a", "b")) == [[[1.0], [-2000.0]]]


def test_a_site_that_is_two_or_of_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sites.csv").write_text("stem,site\na,north\na,south\n")
    with pytest.raises(DataError, match="row 3: `a` is of site `north` in a row above"):
        read_sites(tmp_path / "sites.csv")
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        Image.new("L", (40, 40)).save(tmp_path / folder / "a.png")
    (tmp_path / "sites.csv").write_text("stem,site\na.png,north\n")
    with pytest.raises(DataError, match=r"`a\.png` must be a stem, `a`"):
        index_folder(tmp_path)


def test_the_command_reads_and_refuses_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "widths.csv"
    monkeypatch.setattr(sys, "argv", ["crackseg", "evaluate-widths", str(path)])
    shown = []
    for way in ("plain", "german"):
        path.write_bytes(WAYS[way](WIDTHS))
        assert exit_code() == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1]
    path.write_text(BROKEN["bare comma"][0])
    assert exit_code() == 2
    assert "quotation marks" in capsys.readouterr().err


def test_a_decimal_comma_in_toml_is_told(tmp_path: Path) -> None:
    path = tmp_path / "options.toml"
    path.write_text("[scale]\nmm_per_px = 0,2  # read off the bar\n")
    with pytest.raises(ConfigError, match=r"A number has a decimal point, as 0\.2"):
        read_toml(path)
    path.write_text("a = " + "[" * 100_000)
    with pytest.raises(ConfigError, match=r"not valid TOML|nested too deep"):
        read_toml(path)
