"""The report of a folder of results: what it counts, what it says first, and each of its files."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from pypdf import PdfReader
from survey_results import speak

from crackseg.detection import UNTESTED
from crackseg.errors import ConfigError, OutputError, UnknownName
from crackseg.exports.tables import marks_sha256
from crackseg.reporting import cells, sums
from crackseg.reporting.command import write_report
from crackseg.reporting.content import Content, compose
from crackseg.reporting.gather import gather
from crackseg.reporting.pdf import write as write_pdf
from crackseg.reporting.pre_annotations import in_order_of_doubt
from crackseg.screen import show_cracks
from crackseg.survey import WidthBins
from crackseg.words import read_words

OPENING = {
    "row": 40.0, "col": 60.0,
    "width_px": 14.5, "width_u_px": 1.7, "width_mm": 3.6, "width_u_mm": 0.4,
    "width_low_px": 12.8, "width_high_px": 16.2, "width_low_mm": 3.2, "width_high_mm": 4.0,
    "width_status": "measured",
    "length_px": 3.0, "length_u_px": 1.0, "length_mm": 0.8, "length_u_mm": 0.3,
}  # fmt: skip


def content(results: Path, locale: str = "en") -> Content:
    return compose(gather(results), read_words(locale))


def text_of(path: Path) -> str:
    return re.sub(r"\s+", " ", path.read_text(encoding="utf-8"))


def test_photographs_stand_in_the_order_of_their_names_with_what_became_of_them(
    results: Path,
) -> None:
    gathered = gather(results)
    states = [(p.number, p.name, p.status) for p in gathered.photographs]
    assert states == [
        (1, "a.png", "analyzed"), (2, "b =1+1.png", "analyzed"), (3, "broken.jpg", "failed"),
        (4, "c.png", "not_judged"),
    ]  # fmt: skip
    assert [(c.photograph.name, c.id) for c in gathered.cracks] == [("b =1+1.png", 1), ("a.png", 1)]
    assert len(gathered.doubtful) == 2
    assert gathered.survey.dam == "Obere <Sperre> & Söhne"


def test_a_report_that_the_survey_does_not_name_is_not_forgotten(results: Path) -> None:
    shutil.copytree(results / "a", results / "z")
    (results / "survey.json").unlink()
    assert len(gather(results).photographs) == 4  # a, b, c and z; of the failed one nothing is left
    (results / "z" / "report.json").write_text("{", encoding="utf-8")
    broken = [p for p in gather(results).photographs if p.status == "failed"]
    assert "cannot be read" in broken[0].reason


def test_a_photograph_whose_results_are_gone_is_named(results: Path) -> None:
    before = gather(results)
    shutil.rmtree(results / "a")
    gathered = gather(results)
    lost = next(p for p in gathered.photographs if p.name == "a.png")
    assert (lost.status, len(gathered.photographs)) == ("failed", len(before.photographs))
    assert "analyze it again" in lost.reason
    (results / "c" / "report.json").write_text("{", encoding="utf-8")
    again = [(p.name, p.status) for p in gather(results).photographs]
    assert again == [
        ("a.png", "failed"), ("b =1+1.png", "analyzed"), ("broken.jpg", "failed"),
        ("c.png", "failed"),
    ]  # fmt: skip


def test_a_damaged_survey_does_not_hide_what_failed(results: Path) -> None:
    (results / "survey.json").write_text('{"images": [', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"survey\.json` cannot be read"):
        gather(results)


def test_a_photograph_has_the_figures_of_its_report_as_it_is_now(results: Path) -> None:
    path = results / "a" / "report.json"
    report = json.loads(path.read_text(encoding="utf-8"))
    report["cracks"] = [crack for crack in report["cracks"] if crack["section"] != "main"]
    report["totals"] |= {"cracks": 0, "length_mm": 0.0, "length_px": 0.0}
    path.write_text(json.dumps(report), encoding="utf-8")
    row = gather(results).photographs[0].row
    assert (row["cracks"], row["length_mm"], row["width_max_mm"]) == (0, 0.0, None)
    assert row["image"].endswith("a.png")


def test_a_row_that_verdicts_made_stands(results: Path) -> None:
    path = results / "survey.json"
    survey = json.loads(path.read_text(encoding="utf-8"))
    row = next(row for row in survey["images"] if row["folder"] == "a")
    row |= {"rejected": 1, "cracks": 0, "width_max_mm": None}
    path.write_text(json.dumps(survey), encoding="utf-8")
    shown = gather(results).photographs[0].row
    assert (shown["rejected"], shown["cracks"], shown["width_max_mm"]) == (1, 0, None)


def test_a_report_of_no_format_is_a_sentence_and_keeps_the_one_before(results: Path) -> None:
    (page,) = write_report(results, formats=["html"])
    with pytest.raises(ConfigError, match="at least one of html"):
        write_report(results, formats=[])
    assert page.is_file()


def test_the_results_of_one_photograph_are_a_survey_too(results: Path) -> None:
    alone = gather(results / "a")
    assert [p.name for p in alone.photographs] == ["a.png"]
    assert alone.photographs[0].folder == results / "a" / "."


@pytest.mark.parametrize("folder", ["nowhere", "photos"])
def test_a_folder_without_results_is_a_sentence(folder: str, results: Path) -> None:
    with pytest.raises(ConfigError, match="holds no results"):
        gather(results.parent / folder)


def test_a_verdict_decides_what_is_counted(results: Path) -> None:
    worst = gather(results).cracks[0]
    speak(results, str(worst.photograph.row["image"]), 1, "reject")
    speak(results, str(worst.photograph.row["image"]), 2, "accept")
    gathered = gather(results)
    assert [(c.photograph.name, c.id) for c in gathered.cracks] == [("a.png", 1), ("b =1+1.png", 2)]
    rejected = gathered.rejected[0]
    assert (rejected.id, rejected.verdict_by, rejected.note) == (1, "A. Name", "an edge")
    assert sums.sum_up(gathered).widest is gathered.cracks[0]
    words = content(results)
    assert any("1 mark was rejected" in sentence for sentence in words.lead)
    assert words.rejected.rows[0][-2:] == ("rejected (A. Name)", "an edge")


def test_a_verdict_that_was_taken_back_is_none(results: Path) -> None:
    image = str(gather(results).cracks[0].photograph.row["image"])
    speak(results, image, 1, "open")
    survey = json.loads((results / "survey.json").read_text(encoding="utf-8"))
    (note,) = survey["verdicts"]
    assert gather(results).cracks[0].verdict == "open"  # a note is kept
    assert any("undecided (A. Name)" in str(row) for row in content(results).cracks.rows)
    note["note"] = ""
    (results / "survey.json").write_text(json.dumps(survey), encoding="utf-8")
    assert {(c.verdict, c.verdict_by) for c in gather(results).cracks} == {("", "")}


def test_a_bundle_that_is_not_unpacked_is_told_from_a_folder(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.zip"
    bundle.write_bytes(b"PK")
    with pytest.raises(ConfigError, match="bundle of the service that is unpacked"):
        write_report(bundle)


def test_the_figures_are_those_of_the_main_list(results: Path) -> None:
    gathered = gather(results)
    figures = sums.sum_up(gathered)
    assert (figures.cracks, figures.length_mm, figures.length_px) == (2, 60.0, 0.0)
    assert figures.analyzed_mm2 == pytest.approx(2 * 240 * 320 * 0.25**2)
    assert figures.density_m_per_m2 == pytest.approx(1000 * 60 / (2 * 240 * 320 * 0.25**2))
    assert figures.mm_per_px == (0.25, 0.25, 0.25)
    assert figures.widest is gathered.cracks[0]


def test_groups_hold_every_crack_once(results: Path) -> None:
    cracks = gather(results).cracks  # 0.85 +- 0.1 mm and 2.1 +- 0.1 mm, 30 mm long each
    widths = {g.name: (g.cracks, g.length_mm, g.share) for g in sums.by_width(cracks, WidthBins())}
    assert widths["4"] == widths["5"] == (1, 30.0, 0.5)
    assert sum(count for count, _, _ in widths.values()) == 2
    assert [g.cracks for g in sums.by_direction(cracks)] == [2, 0, 0, 0]
    assert [(g.name, g.cracks) for g in sums.by_certainty(cracks) if g.cracks] == [
        ("90", 1), ("70", 1),
    ]  # fmt: skip
    bins = WidthBins(limits_mm=(0.8, 0.9, 1.9, 2.21))
    over = [(o.by_value, o.surely, o.possibly) for o in sums.over_limits(cracks, bins)]
    assert over == [(1.0, 0.5, 1.0), (0.5, 0.5, 1.0), (0.5, 0.5, 0.5), (0.0, 0.0, 0.0)]


def test_where_a_crack_is_open_stands_beside_its_width(
    results: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = results / "b =1+1" / "report.json"
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    report["cracks"][0]["openings"] = [OPENING, OPENING]
    path.write_text(json.dumps(report), encoding="utf-8")
    facts = dict(content(results).worst[0].facts)
    assert facts["Remarks"].endswith("open at 2 places, up to 3.6 mm wide there")
    german = dict(content(results, "de").worst[0].facts)
    assert german["Bemerkungen"].endswith("an 2 Stellen offen, dort bis 3,6 mm breit")
    monkeypatch.setenv("COLUMNS", "160")
    show_cracks({"b": results / "b =1+1"})
    assert "open to 3.6 ± 0.4 mm" in capsys.readouterr().out


def test_cracks_without_a_scale_are_said_to_stand_in_no_length(results: Path) -> None:
    foot = "1 crack has no scale: it is counted, and stands in no length and no share."
    assert not any(foot in table.note for table in content(results).groups)
    path = results / "a" / "report.json"
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    for crack in report["cracks"]:
        crack.update({key: None for key in crack if key.endswith("_mm")})
    path.write_text(json.dumps(report), encoding="utf-8")
    notes = {table.title: table.note for table in content(results).groups}
    assert foot in notes["By direction"]
    assert foot in notes["By certainty"]


@pytest.mark.parametrize(
    ("angle", "name"),
    [(0, "horizontal"), (15, "horizontal"), (16, "diagonal"), (75, "vertical"), (105, "vertical"),
     (106, "diagonal"), (164, "diagonal"), (165, "horizontal"), (None, "none")],
)  # fmt: skip
def test_directions(angle: float | None, name: str) -> None:
    assert sums.direction(angle) == name


def test_what_could_not_be_judged_comes_first_with_its_reason(results: Path) -> None:
    shown = content(results)
    first, second = shown.findings[:2]
    assert first.items == ("broken.jpg: `broken.jpg` is cut off.",)
    assert second.items == ("c.png: 90.0 % black".replace("90.0", "90"),)
    page = write_report(results, formats=["html"])[0]
    html = text_of(page)
    assert html.index("is cut off") < html.index('class="totals"') < html.index("All cracks")
    assert "a video; take stills" in html


def test_no_count_of_cracks_is_given_of_a_photograph_that_shows_nothing(results: Path) -> None:
    (entry,) = (p for p in gather(results).photographs if p.name == "c.png")
    words = read_words("en")
    assert cells.photograph(entry, words)[7] == str(entry.row["cracks"]) != "0"
    nothing = replace(entry, row={**entry.row, "cracks": 0})
    assert cells.photograph(nothing, words)[7] == "–"
    assert cells.photograph(replace(nothing, status="analyzed"), words)[7] == "0"


def test_all_is_not_said_to_be_judged_where_parts_are_not(results: Path) -> None:
    for name in ("broken.jpg", "c"):
        survey = json.loads((results / "survey.json").read_text(encoding="utf-8"))
        survey["images"] = [row for row in survey["images"] if name not in str(row)]
        (results / "survey.json").write_text(json.dumps(survey), encoding="utf-8")
    shutil.rmtree(results / "c")
    assert content(results).findings[0].sentence == "Every photograph could be read and judged."
    path = results / "a" / "report.json"
    report = json.loads(path.read_text(encoding="utf-8"))
    report["unjudged"] = [{"code": "white", "share": 0.07, "outlines": []}]
    path.write_text(json.dumps(report), encoding="utf-8")
    first, second = content(results).findings[:2]
    assert first.sentence.endswith("and judged, but not all of each.")
    assert second.items == ("a.png: 7.0 % overexposed",)


def test_photographs_without_scale_are_named_unless_all_are(results: Path) -> None:
    def names() -> list[tuple[str, ...]]:
        findings = content(results).findings
        return [f.items for f in findings if "no known scale" in f.sentence]

    path = results / "a" / "report.json"
    report = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**report, "scale": None}), encoding="utf-8")
    assert len(names()) == 1
    assert "a.png" in names()[0]
    for path in results.glob("*/report.json"):
        report = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps({**report, "scale": None}), encoding="utf-8")
    assert names() == [()]


def state(results: Path, name: str, **limits: Any) -> None:
    """Let a report state from which width on cracks are found."""
    path = results / name / "report.json"
    report = json.loads(path.read_text(encoding="utf-8"))
    report["detection"] = {"width_90_px": None, "width_90_mm": None, "text": UNTESTED, **limits}
    path.write_text(json.dumps(report), encoding="utf-8")


def test_a_detection_limit_is_given_where_the_reports_state_it(results: Path) -> None:
    state(results, "a", width_90_px=1.0, width_90_mm=0.2501)
    state(results, "b =1+1", width_90_px=1.0, width_90_mm=0.4)
    assert content(results).detection[-1] == (
        "Cracks like those tested are found with 90 % probability from a width of 0.26 to 0.40 mm "
        "on, by the scale of the photograph, the faintest of them less surely; thinner ones may be "
        "missed."
    )
    state(results, "c", width_90_px=1.03)
    assert "ab einer Breite von 1,1 px" in content(results, "de").detection[-1]


@pytest.mark.parametrize(
    ("locale", "says"), [("en", "thinner ones may be missed"), ("de", "dünnere können fehlen")]
)
def test_without_any_scale_the_limit_in_px_is_said_as_whole(
    locale: str, says: str, results: Path
) -> None:
    for name in ("a", "b =1+1", "c"):
        state(results, name, width_90_px=1.03)
    sentence = content(results, locale).detection[-1]
    assert all(part in sentence for part in ("90 %", " px", says))


def test_a_detection_that_is_not_known_is_said(results: Path) -> None:
    assert "is not known" in content(results).detection[-1]
    state(results, "a")
    assert "is not known" in content(results).detection[-1]
    state(results, "a", text="40 % of those under 1 px were found.")
    assert content(results).detection[-1] == "40 % of those under 1 px were found."


def test_a_mark_of_a_picture_that_may_show_no_wall_says_so_wherever_it_stands(
    results: Path,
) -> None:
    worst = content(results).worst[0]
    doubt = "the photograph may show no wall"
    assert not any(doubt in value for _, value in worst.facts)
    folder = worst.crack.photograph.folder
    assert folder
    path = folder / "report.json"
    report = json.loads(path.read_text(encoding="utf-8"))
    report["warnings"].append({"code": "may_show_no_wall", "message": "It is green."})
    path.write_text(json.dumps(report), encoding="utf-8")
    warned = content(results)
    assert any("may show no wall: look at it" in sentence for sentence in warned.lead)
    assert doubt in dict(warned.worst[0].facts)["Remarks"]
    assert any(doubt in cell for row in warned.cracks.rows for cell in row)
    page, paper = write_report(results, formats=["html", "pdf"])
    assert f"<span>{doubt}</span>" in page.read_text(encoding="utf-8")
    assert doubt in (PdfReader(paper).pages[0].extract_text() or "").replace("\n", " ")


def test_a_net_that_may_be_joints_says_so_among_its_remarks(results: Path) -> None:
    worst = content(results).worst[0]
    doubt = "a net: map cracking, or joints between stones or slabs"
    assert doubt not in dict(worst.facts).get("Remarks", "")
    folder = worst.crack.photograph.folder
    assert folder
    path = folder / "report.json"
    report = json.loads(path.read_text(encoding="utf-8"))
    for crack in report["cracks"]:
        crack["pattern"] = "map"
    path.write_text(json.dumps(report), encoding="utf-8")
    warned = content(results)
    assert doubt in dict(warned.worst[0].facts)["Remarks"]
    assert any(doubt in cell for row in warned.cracks.rows for cell in row)


def test_the_page_is_one_file_that_is_safe_and_names_the_worst_crack(results: Path) -> None:
    html = write_report(results, formats=["html"])[0].read_text(encoding="utf-8")
    assert "<Sperre>" not in html
    assert "Obere &lt;Sperre&gt; &amp; Söhne" in html
    assert not re.findall(r'(?:src|href)="(?!data:image/jpeg|\.\./)[^"]*"', html)
    assert "http" not in html.replace("http://www.w3.org/2000/svg", "")
    head = html[: html.index('class="totals"')]
    assert "2.10 ± 0.10 mm" in head
    assert head.count("data:image/jpeg") == 1
    assert "../b%20%3D1%2B1/page.html" in html
    assert "2026" in head


@pytest.mark.parametrize(("locale", "width"), [("en", "2.10 ± 0.10 mm"), ("de", "2,10 ± 0,10 mm")])
def test_the_pdf_says_it_in_both_languages(results: Path, locale: str, width: str) -> None:
    path = write_report(results, formats=["pdf"], locale=locale)[0]
    read = PdfReader(path)
    first = read.pages[0].extract_text()
    everything = re.sub(r"\s+", " ", " ".join(page.extract_text() for page in read.pages))
    assert width in first
    assert "Obere <Sperre> & Söhne" in first
    assert "broken.jpg" in first
    assert f"{len(read.pages)}" in read.pages[-1].extract_text()
    assert ("Zeile 91, Spalte" in everything) == (locale == "de")
    assert sum(len(page.images) for page in read.pages) >= 6  # close-ups and thumbnails


@pytest.mark.parametrize("with_cracks", [True, False])
def test_more_findings_than_a_page_holds_go_on_over_the_next(
    with_cracks: bool, results: Path, tmp_path: Path
) -> None:
    composed = content(results)
    many = tuple(
        replace(composed.findings[0], items=tuple(f"{kind}-{n}.png: black" for n in range(12)))
        for kind in range(8)
    )
    worst = composed.worst if with_cracks else ()
    (path,) = write_pdf(replace(composed, findings=many, worst=worst), tmp_path)
    text = " ".join(page.extract_text() for page in PdfReader(path).pages)
    assert all(f"{kind}-{n}.png" in text for kind in range(8) for n in range(12))
    assert all(sentence.split()[0] in text for sentence in composed.detection)


def test_no_word_of_a_table_is_broken_over_lines(results: Path) -> None:
    for name in ("a", "b =1+1"):
        path = results / name / "report.json"
        report = json.loads(path.read_text(encoding="utf-8"))
        for crack in report["cracks"]:
            for which in ("mean", "p95", "max"):
                figures = ("", "u_", "low_", "high_")
                crack |= {f"width_{which}_{f}{u}": None for f in figures for u in ("px", "mm")}
                crack |= {f"width_{which}_low_px": 0.0, f"width_{which}_high_px": 0.7}
                crack[f"width_{which}_status"] = "below_detection"
        path.write_text(json.dumps(report), encoding="utf-8")
    path = write_report(results, formats=["pdf"], locale="de")[0]
    lines = "\n".join(page.extract_text() for page in PdfReader(path).pages).splitlines()
    cracks = lines[lines.index("Alle Risse") :]
    assert sum("Nachweisgrenze" in line for line in cracks) >= 6
    assert not [line for line in cracks if line.endswith(("Na", "Nachweisgrenz"))]


def test_a_report_stays_its_own_where_the_results_are_renamed(results: Path) -> None:
    write_report(results, formats=["csv"])
    moved = results.rename(results.with_name("results of 2026"))
    write_report(moved, formats=["csv"])
    with pytest.raises(OutputError, match="other results"):
        write_report(moved / "a", moved / "report", formats=["csv"])


def test_the_workbook_holds_numbers_and_runs_nothing(results: Path) -> None:
    path = write_report(results, formats=["xlsx"], locale="de")[0]
    book = openpyxl.load_workbook(path)
    assert book.sheetnames[:2] == ["Zusammenfassung", "Risse"]
    rows = list(book["Risse"].iter_rows(values_only=True))
    cells = dict(zip(rows[0], rows[1], strict=True))
    assert len(rows) == 3
    assert cells["photograph"] == "b =1+1.png"
    assert cells["width_max_mm"] == pytest.approx(2.1)
    assert cells["width_bin"] == "über 1 mm"
    photos = list(book["Fotos"].iter_rows(values_only=True))
    shown = dict(zip(photos[0], photos[1], strict=True))
    assert shown["taken_at"].year == 2026
    counts = [row[1] for row in book["Zusammenfassung"].iter_rows(values_only=True) if row[0]]
    assert 2 in counts  # cracks, as a number
    assert not any(isinstance(value, str) and value.isdecimal() for value in counts)
    assert (shown["lat_deg"], shown["judged_share"]) == (46.5, 1)
    assert all(cell.data_type != "f" for sheet in book for row in sheet for cell in row)


@pytest.mark.parametrize(
    ("locale", "delimiter", "decimal"),
    [("en", ",", "."), ("de", ";", ","), ("fr", ";", ","), ("de_CH", ",", ".")],
)
def test_tables_are_read_in_their_locale(
    results: Path, locale: str, delimiter: str, decimal: str
) -> None:
    path = write_report(results, formats=["csv"], locale=locale)[0]
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file, delimiter=delimiter))
    assert [row["section"] for row in rows] == ["main", "main", "also_marked", "also_marked"]
    assert rows[0]["width_max_mm"] == f"2{decimal}1"
    assert float(rows[0]["length_mm"].replace(decimal, ".")) == 30.0
    with (path.parent / "photographs.csv").open(encoding="utf-8-sig", newline="") as file:
        times = [row["taken_at"] for row in csv.DictReader(file, delimiter=delimiter)]
    assert any(times)
    assert all(re.fullmatch(r"2026-05-12 09:0\d:00", time) for time in times if time)


def test_close_ups_come_from_the_photograph_or_else_from_the_overlay(results: Path) -> None:
    worst = content(results).worst[0].pictures
    assert worst.plain
    assert worst.outlined
    (results.parent / "photos").rename(results.parent / "moved")
    moved = content(results).worst[0].pictures
    assert moved.plain is None
    assert moved.outlined
    back = compose(gather(results), read_words("en"), results.parent / "moved")
    assert back.worst[0].pictures.plain == worst.plain
    for name in ("b =1+1", "a"):
        (results / name / "overlay.jpg").unlink()
    assert content(results).worst[0].pictures.outlined is None


def test_another_photograph_of_the_same_name_is_not_shown(results: Path) -> None:
    path = results.parent / "photos" / "b =1+1.png"
    shutil.copy(results.parent / "photos" / "a.png", path)
    assert content(results).worst[0].pictures.plain is None


def test_what_the_report_would_replace_must_be_its_own(results: Path) -> None:
    write_report(results, formats=["csv"])
    write_report(results, formats=["xlsx"])
    assert sorted(p.name for p in (results / "report").iterdir()) == [".crackseg", "report.xlsx"]
    with pytest.raises(OutputError, match="other results"):
        write_report(results, results / "a", formats=["csv"])
    (results / "report" / "report.xlsx").write_text("mine", encoding="utf-8")
    with pytest.raises(OutputError, match="was changed"):
        write_report(results, formats=["csv"])
    assert (results / "report" / "report.xlsx").read_text(encoding="utf-8") == "mine"


def test_wrong_names_stop_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="unknown format `docx`"):
        write_report(tmp_path, formats=["docx"])
    with pytest.raises(ConfigError, match="`locale` must be a language"):
        write_report(tmp_path, formats=["csv"], locale="klingon")


def test_a_survey_toml_in_the_results_or_by_name_is_the_head(results: Path, tmp_path: Path) -> None:
    (results / "survey.toml").write_text('dam = "B"\nreservoir_level_m = 612.4', encoding="utf-8")
    facts = dict(content(results, "de").facts)
    assert (facts["Sperre"], facts["Stauspiegel"]) == ("B", "612,40 m")
    (tmp_path / "c.toml").write_text('dam = "C"', encoding="utf-8")
    assert gather(results, tmp_path / "c.toml").survey.dam == "C"


def test_a_sound_wall_says_so_and_how_far_that_goes(results: Path) -> None:
    for name in ("a", "b =1+1"):
        path = results / name / "report.json"
        report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps({**report, "cracks": []}), encoding="utf-8")
    shown = content(results)
    assert shown.lead[1] == "No crack was found in what could be judged."
    assert shown.findings[0].items
    assert shown.worst == shown.groups == ()
    write_report(results)


def test_a_map_of_the_face_counts_each_crack_once(results: Path) -> None:
    def sha256(name: str) -> str:
        report = json.loads((results / name / "report.json").read_text(encoding="utf-8"))
        return str(report["image"]["sha256"])

    laid = [
        {"sha256": sha256(name), "station_m": 12.0 + 3 * n, "elevation_m": 400.0 + n}
        for n, name in enumerate(("a", "b =1+1"))
    ]
    shown_in = [{"image": f"{name}.png", "folder": name, "ids": [1]} for name in ("a", "b =1+1")]
    face: dict[str, Any] = {
        "face": {"rightwards": False},
        "cracks": [
            {
                "id": 7,
                "photographs": shown_in,
                "length_mm": 31.4,
                "width_max_mm": 0.512,
                "width_max_u_mm": 0.118,
            }
        ],
        "totals": {"cracks": 1, "length_m": 0.03},
        "photographs": laid,
        "set_aside": [{"image": "c.png", "reason": "no neighbours"}],
    }
    (results / "face").mkdir()
    (results / "face" / "face.json").write_text(json.dumps(face), encoding="utf-8")
    shown = content(results)
    assert any("1 crack, 0.03 m long together" in sentence for sentence in shown.lead)
    worst = [(w.crack.photograph.name, dict(w.facts).get("On the map")) for w in shown.worst]
    once = [name for name, place in worst if place is not None]
    assert {place for _, place in worst} - {None} == {
        "crack 7: 0.03 m, 0.51 ± 0.12 mm; in 2 photographs"
    }
    assert len(once) == 1  # of the two marks that are one crack the worse one stands there
    assert len(worst) == len(shown.gathered.cracks) - 1
    assert shown.plan is not None
    assert shown.plan.is_face
    assert [(spot.x_m, spot.y_m) for spot in shown.plan.spots] == [(-12.0, 400.0), (-15.0, 401.0)]
    rows = [f"{name}.png,1,reject" for name in ("a", "b =1+1")]
    table = results / "verdicts.csv"
    table.write_text("\n".join(["image_name,crack,verdict", *rows[:1]]), encoding="utf-8")
    assert any("1 crack, 0.03 m" in sentence for sentence in content(results).lead)
    table.write_text("\n".join(["image_name,crack,verdict", *rows]), encoding="utf-8")
    assert any("0 cracks, 0.00 m" in sentence for sentence in content(results).lead)
    table.write_text(
        "image_name,crack,verdict,verdict_by\na.png,1,reject,A. Meier", encoding="utf-8"
    )
    assert [crack.verdict_by for crack in content(results).gathered.rejected] == ["A. Meier"]
    table.unlink()
    face["set_aside"] = []  # of fewer photographs than are here now
    (results / "face" / "face.json").write_text(json.dumps(face), encoding="utf-8")
    old = content(results)
    assert not any("each crack counts once" in sentence for sentence in old.lead)
    assert any("made of other photographs" in sentence for sentence in old.lead)


def test_a_map_of_earlier_results_is_not_quoted(results: Path) -> None:
    def write(change: int, rejected: tuple[int, ...] = ()) -> None:
        laid = []
        for name in ("a", "b =1+1", "c"):
            report = json.loads((results / name / "report.json").read_text(encoding="utf-8"))
            laid.append({
                "sha256": report["image"]["sha256"], "station_m": 1.0, "elevation_m": 4.0,
                "verdicts": [{"crack": n, "verdict": "reject"} for n in rejected if name == "a"],
                "marks_sha256": marks_sha256(
                    {"cracks": [{**c, "length_px": c["length_px"] + change}
                                for c in report["cracks"]]}
                ),
            })  # fmt: skip
        face = {
            "face": {"rightwards": True},
            "cracks": [
                {
                    "id": 7,
                    "photographs": [{"image": "a.png", "folder": "a", "ids": [1]}],
                    "length_mm": 31.4,
                    "width_max_mm": None,
                }
            ],
            "totals": {"cracks": 1, "length_m": 0.03},
            "photographs": laid,
            "set_aside": [],
        }
        (results / "face" / "face.json").write_text(json.dumps(face), encoding="utf-8")

    (results / "face").mkdir()
    write(0)
    shown = content(results)
    assert any("1 crack, 0.03 m long together" in sentence for sentence in shown.lead)
    write(1)  # the photographs were analyzed again since
    shown = content(results)
    assert any("of other results than stand here now" in sentence for sentence in shown.lead)
    assert not any("On the map" in dict(worst.facts) for worst in shown.worst)
    write(0, rejected=(1,))  # and its verdict was taken back since
    assert any("of other results" in sentence for sentence in content(results).lead)
    (results / "verdicts.csv").write_text("image_name,crack,verdict\na.png,1,reject\n")
    assert not any("of other results" in sentence for sentence in content(results).lead)
    facts = results / "survey.toml"
    path = results / "face" / "face.json"
    face = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**face, "survey": {"face": {"batter": 0.0}}}), encoding="utf-8")
    assert not any("other facts of the face" in sentence for sentence in content(results).lead)
    facts.write_text("[face]\nbatter = 0.3\n", encoding="utf-8")
    assert any("other facts of the face" in sentence for sentence in content(results).lead)


def test_what_a_later_analysis_left_behind_is_said(results: Path) -> None:
    def warned() -> set[str]:
        return {n["code"] for p in content(results).gathered.photographs for n in p.notices}

    table, edits = results / "verdicts.csv", results / "a" / "corrections.json"
    table.write_text("image_name,crack,verdict\na.png,1,reject\n", encoding="utf-8")
    report = json.loads((results / "a" / "report.json").read_text(encoding="utf-8"))
    values = {"image_sha256": report["image"]["sha256"], "edits": []}
    edits.write_text(json.dumps(values), encoding="utf-8")
    assert not warned() & {"edits_left_behind", "verdicts_are_older"}
    assert content(results).gathered.rejected
    survey = json.loads((results / "survey.json").read_text(encoding="utf-8"))
    for row in survey["images"]:
        row["marks_since"] = "2026-05-01T10:00:00+00:00"
    (results / "survey.json").write_text(json.dumps(survey), encoding="utf-8")
    os.utime(table, (0, 0))  # before its cracks were listed as they are
    edits.write_text(json.dumps({**values, "edits": [{}]}), encoding="utf-8")
    assert warned() >= {"edits_left_behind", "verdicts_are_older"}
    assert not content(results).gathered.rejected  # it may be another crack that has the number


def test_the_map_shows_each_photograph_with_a_position(results: Path) -> None:
    plan = content(results).plan
    assert plan is not None
    assert [spot.number for spot in plan.spots] == [1, 2, 4]
    north = [spot.y_m for spot in plan.spots]
    assert north[1] - north[0] == pytest.approx(11.1, abs=0.1)  # 1e-4 degrees of latitude
    (results / "survey.toml").write_text("[face]\nazimuth_deg = 90\nbatter = 0", encoding="utf-8")
    face = content(results).plan
    assert face is not None
    assert face.is_face
    assert [spot.y_m for spot in face.spots] == [600.0, 601.0, 602.0]
    assert face.spots[1].x_m - face.spots[0].x_m == pytest.approx(11.1, abs=0.1)


def test_photographs_of_several_places_have_no_map(results: Path) -> None:
    path = results / "a" / "report.json"
    report = json.loads(path.read_text(encoding="utf-8"))
    report["image"]["gps"]["lon_deg"] = 100.0
    path.write_text(json.dumps(report), encoding="utf-8")
    shown = content(results)
    assert shown.plan is None
    assert "km apart" in shown.plan_notes[0]


def twice(results: Path) -> None:
    """Let the second photograph of a folder of results lie there a second time."""
    shutil.copytree(results / "b =1+1", results / "copy")
    path = results / "copy" / "report.json"
    report = json.loads(path.read_text(encoding="utf-8"))
    report["image"]["path"] = str(Path(report["image"]["path"]).with_name("zz.png"))
    path.write_text(json.dumps(report), encoding="utf-8")


def test_a_file_under_two_names_counts_once_and_is_said(results: Path) -> None:
    before = sums.sum_up(gather(results))
    twice(results)
    gathered = gather(results)
    assert sums.sum_up(gathered) == before
    assert gathered.cracks
    assert "zz.png" not in {one.photograph.name for one in in_order_of_doubt(results)}
    assert [(p.name, p.copy_of) for p in gathered.of_status("copy")] == [("zz.png", "b =1+1.png")]
    shown = content(results, "de")
    assert any(f.items == ("zz.png ist b =1+1.png",) for f in shown.findings)
    assert shown.lead[0].startswith("3 Fotos wurden ausgewertet")
    assert shown.plan is not None
    assert len(shown.plan.spots) == 3
    assert "dieselbe Datei wie b =1+1.png" in shown.photographs.rows[-1]
    paths = write_report(results, formats=["html", "pdf", "xlsx", "csv", "yolo"], locale="de")
    with zipfile.ZipFile(
        paths[-1]
    ) as packed:  # no empty label: it would teach that nothing is there
        assert packed.read("labels/zz.txt") == packed.read("labels/b =1+1.txt") != b""


def test_of_two_names_the_one_that_was_judged_counts(results: Path) -> None:
    twice(results)
    (results / "survey.json").write_text(
        json.dumps({"images": [], "verdicts": [
            {"image_name": str(results.parent / "photos" / "zz.png"), "crack": 1,
             "verdict": "reject", "by": "A. Name"}]}), encoding="utf-8",
    )  # fmt: skip
    gathered = gather(results)
    assert [p.name for p in gathered.of_status("copy")] == ["b =1+1.png"]
    assert [c.photograph.name for c in gathered.rejected] == ["zz.png"]


def test_no_table_in_print_shows_the_signs_of_code(results: Path) -> None:
    rows = content(results, "de").photographs.rows
    assert "broken.jpg is cut off." in rows[2]
    assert not any("`" in cell for row in rows for cell in row)


def test_lines_that_are_taken_for_no_crack_are_said_and_in_no_figure(results: Path) -> None:
    before = sums.sum_up(gather(results))
    assert not any("dark line" in sentence for sentence in content(results).lead)
    line = {"id": 1, "length_px": 400.0, "length_mm": 100.0, "centre_line": [[[0, 0], [400, 0]]]}
    for name, mm in (("a", 100.0), ("c", None)):
        path = results / name / "report.json"
        report = json.loads(path.read_text(encoding="utf-8"))
        report["other_lines"] = [{**line, "length_mm": mm}, {**line, "length_mm": mm}]
        path.write_text(json.dumps(report), encoding="utf-8")
    assert sums.sum_up(gather(results)) == before
    shown = content(results, "de")
    (other_lines,) = (sentence for sentence in shown.lead if "andere dunkle" in sentence)
    assert other_lines.startswith("4 andere dunkle Linien, zusammen 0,20 m + 800 px lang")
    place = shown.photographs.heading.index("Andere Linien")
    assert [row[place] for row in shown.photographs.rows] == ["2: 0,20 m", "–", "–", "2: 800 px"]
    book = openpyxl.load_workbook(write_report(results, formats=["xlsx"])[0])
    rows = list(book["Photographs"].iter_rows(values_only=True))
    first = dict(zip(rows[0], rows[1], strict=True))
    assert (first["other_lines"], first["other_lines_length_mm"]) == (2, 200)
