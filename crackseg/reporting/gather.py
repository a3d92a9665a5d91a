"""A folder of results becomes one record: photographs, cracks, and what is known of the survey.

Reports are read one after the other and their centre lines let go, so that thousands fit into
memory. A verdict on a crack, where there is one, decides: what was rejected is in no figure, what
was accepted stands in the main list.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from crackseg.corrections.earlier import left_behind
from crackseg.errors import ConfigError
from crackseg.exports.survey import (
    copies,
    failure_row,
    has_result,
    judged_row,
    report_row,
    short_names,
)
from crackseg.exports.tables import flat_crack, marks_sha256, read_measure
from crackseg.folder_names import FACE
from crackseg.folders import read_mark
from crackseg.imagery import greenery
from crackseg.imagery.clarity import is_worth_a_word
from crackseg.metrology import ranking
from crackseg.records import Measure
from crackseg.reporting.same_map import is_of
from crackseg.survey import NAME, Survey, read_survey, survey_from
from crackseg.verdict_table import (
    VERDICTS,
    Spoken,
    by_photograph,
    crack_numbers,
    judged_before,
    read_verdicts,
)

NOT_JUDGED, ANALYZED, COPY = "not_judged", "analyzed", "copy"


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherLines:
    """Dark lines of a photograph that its network took for no crack; they are in no total."""

    count: int
    length_px: float
    length_mm: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Photograph:
    """One photograph of a survey and what its report says of it as a whole."""

    number: int
    name: str
    folder: Path | None  # of its results; None where it failed or was not reached
    status: str  # FAILED, NOT_REACHED, NOT_JUDGED, ANALYZED or COPY
    row: Mapping[str, Any]  # of the survey, as ``exports.survey`` makes it
    image: Mapping[str, Any] = field(default_factory=dict)  # as in its report
    scale: Mapping[str, Any] | None = None
    unjudged: tuple[tuple[str, float], ...] = ()  # code and share of the picture
    impaired: tuple[tuple[str, float], ...] = ()  # judged, but cracks are seen less well
    notices: tuple[Mapping[str, str], ...] = ()
    analyzed_mm2: float | None = None
    detection: Mapping[str, Any] | None = None  # what its report says of the detection limit
    model: Mapping[str, Any] | None = None
    network_run: tuple[str, str] = ("", "")  # precision and runtime
    release: str = ""
    others: OtherLines | None = None  # None: its model does not tell them from cracks
    marks_sha256: str = ""  # of the cracks that its report lists
    copy_of: str = ""  # the photograph whose very file it is, which counts for both

    @property
    def reason(self) -> str:
        """Why it was not analyzed, as its row says."""
        return str(self.row.get("reason") or "")

    @property
    def is_impaired(self) -> bool:
        """Whether cracks are seen less well over an area worth a word."""
        return is_worth_a_word(dict(self.impaired))

    @property
    def may_show_no_wall(self) -> bool:
        """Whether it is warned of for its colours, so that no mark in it need be a crack."""
        return any(notice["code"] == greenery.CODE for notice in self.notices)


@dataclass(frozen=True, slots=True, kw_only=True)
class SurveyCrack:
    """One crack of a photograph, without its centre line."""

    photograph: Photograph
    facts: Mapping[str, Any]  # the columns of ``cracks.csv``
    place: tuple[bool, float]  # sort by it: the worst first
    verdict: str = ""
    verdict_by: str = ""
    note: str = ""

    @property
    def id(self) -> int:
        """Its number in the photograph."""
        return int(self.facts["id"])

    def measure(self, name: str) -> Measure:
        """Return one of its measures: ``length``, ``width_p95``, ..."""
        return read_measure(self.facts, name)

    @property
    def length_mm(self) -> float | None:
        """Its length, None without a scale."""
        value = self.facts.get("length_mm")
        return None if value is None else float(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """Everything a report of a survey is made of."""

    folder: Path
    survey: Survey
    photographs: tuple[Photograph, ...]  # in the order of their names
    cracks: tuple[SurveyCrack, ...]  # the main list, the worst first
    doubtful: tuple[SurveyCrack, ...]
    rejected: tuple[SurveyCrack, ...]
    passed_over: tuple[Mapping[str, str], ...]
    about: Mapping[str, Any]  # versions, times and options, as in ``survey.json``
    face: Mapping[str, Any] | None = None  # the map of the face, where it is of these results
    face_is_old: bool = False  # there is a map, and it is of other photographs or results

    def of_status(self, status: str) -> list[Photograph]:
        """Return the photographs of a status."""
        return [photograph for photograph in self.photographs if photograph.status == status]


def gather(folder: Path, facts: Path | None = None) -> Gathered:
    """Read a folder of results.

    Args:
        folder: ``--out`` of an analysis, or an unpacked bundle of the service.
        facts: a ``survey.toml``; None: the one in ``folder``, else what the analysis knew.

    Raises:
        ConfigError: the folder holds no results, or the file does not fit.
        DataError: a row of ``verdicts.csv`` beside the results is not understood or fits none.
    """
    about = _read_about(folder)
    rows = {row["folder"]: row for row in about.get("images", ()) if row.get("folder")}
    reports = list(_report_folders(folder, rows))
    failed = [row for row in about.get("images", ()) if not has_result(row)]
    there = {name for name, _ in reports}
    lost = [row for name, row in rows.items() if name not in there and has_result(row)]
    failed += [_lost(row, folder / row["folder"]) for row in lost]
    if not reports and not failed:
        raise ConfigError(
            f"`{folder}` holds no results; expected the `--out` folder of `crackseg analyze`."
        )
    spoken = _spoken(folder, about)
    read = _read_all(reports, rows, failed, _verdicts(about), spoken, judged_before(folder))
    photographs, cracks = _once(*read)
    cracks.sort(key=lambda crack: crack.place)
    parts: dict[str, list[SurveyCrack]] = {"main": [], "also_marked": [], "rejected": []}
    for crack in cracks:
        parts[_part(crack)].append(crack)
    face = _read_face(folder)
    survey = _facts(folder, facts, about)
    is_of_these = face is not None and is_of(face, photographs, cracks, survey)
    return Gathered(
        folder=folder,
        survey=survey,
        photographs=tuple(photographs),
        cracks=tuple(parts["main"]),
        doubtful=tuple(parts["also_marked"]),
        rejected=tuple(parts["rejected"]),
        passed_over=tuple(about.get("passed_over", ())),
        about={key: value for key, value in about.items() if key not in ("images", "verdicts")},
        face=face if is_of_these else None,
        face_is_old=face is not None and not is_of_these,
    )


def read_report(photograph: Photograph) -> dict[str, Any]:
    """Return the whole ``report.json`` of a photograph, with its centre lines."""
    if photograph.folder is None:
        raise ConfigError(f"`{photograph.name}` has no results.")
    return json.loads((photograph.folder / "report.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def _facts(folder: Path, facts: Path | None, about: Mapping[str, Any]) -> Survey:
    if facts is None and (folder / NAME).is_file():
        facts = folder / NAME
    return read_survey(facts) if facts else survey_from(about.get("facts") or {})


def _read_face(folder: Path) -> dict[str, Any] | None:
    """Return ``face/face.json``, None where there is none."""
    face = _read_json(folder / FACE / "face.json")
    return None if face is None or "totals" not in face else face


def _report_folders(folder: Path, rows: Mapping[str, Any]) -> Iterator[tuple[str, Path]]:
    """Yield the result folders: those that the survey names, then any other that is there."""
    if not folder.is_dir():
        return
    named = [(name, folder / name) for name in rows]
    below = [(path.name, path) for path in sorted(folder.iterdir()) if path.name not in rows]
    alone = [(".", folder)]  # of one photograph
    for name, path in [*named, *below, *alone]:
        if (path / "report.json").is_file():
            mark = read_mark(path)
            if mark is None or mark.complete:
                yield name, path


def _read_about(folder: Path) -> dict[str, Any]:
    """Return what ``survey.json`` holds, nothing where there is none.

    Raises:
        ConfigError: it is damaged; photographs that failed are named nowhere else.
    """
    path = folder / "survey.json"
    about = _read_json(path)
    if about is None and path.exists():
        raise ConfigError(
            f"`{path}` cannot be read, and no other file names the photographs that failed; run "
            "the analysis with this `--out` again: it keeps what is finished."
        )
    return about or {}


def _lost(row: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Return the row of a photograph that the survey names and whose results cannot be read."""
    reason = f"`{path / 'report.json'}` cannot be read or is not complete: analyze it again."
    return {**failure_row(Path(row["image"]), reason), "image": row["image"]}


def _row(report: Mapping[str, Any], name: str, row: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return the row of a photograph by its report, which corrections change after the survey.

    A row that verdicts made (it counts ``rejected``) stands: the report does not know of them.
    """
    if row is not None and "rejected" in row:
        return row
    fresh = report_row(report, name, ANALYZED)
    return fresh if row is None else {**row, **fresh, "image": row["image"]}


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) else None


def _verdicts(about: Mapping[str, Any]) -> dict[tuple[str, int], Mapping[str, Any]]:
    """Return the verdicts that a survey of the service lists, by image and crack."""
    return {(v["image_name"], v["crack"]): v for v in about.get("verdicts") or ()}


def _spoken(folder: Path, about: Mapping[str, Any]) -> list[Spoken] | None:
    """Return the table of verdicts beside the results; None where the survey says it already."""
    if not (folder / VERDICTS).is_file():
        return None
    spoken = read_verdicts(folder, folder)
    listed = {(v["image_name"], v["crack"], v["verdict"]) for v in about.get("verdicts") or ()}
    return None if {(one.name, one.crack, one.word) for one in spoken} == listed else spoken


def _read_all(
    reports: list[tuple[str, Path]],
    rows: Mapping[str, Mapping[str, Any]],
    failed: list[Mapping[str, Any]],
    verdicts: Mapping[tuple[str, int], Mapping[str, Any]],
    spoken: list[Spoken] | None,
    judged: Collection[str],
) -> tuple[list[Photograph], list[SurveyCrack]]:
    """Return the photographs in the order of their names and all their cracks."""
    read = []
    table = {} if spoken is None else _by_folder(reports, rows, spoken)
    words_of = dict(verdicts) if spoken is None else {}
    for name, path in reports:
        report = _read_json(path / "report.json")
        if report is None or "cracks" not in report:
            failed = [*failed, _lost(rows.get(name) or {"image": str(path)}, path)]
            continue
        row = _row(report, name, rows.get(name))
        if of := table.get(path):
            words = {number: one.word for number, one in of.items()}
            row = {**judged_row(report, row, words), "image": row["image"]}
            words_of |= {(str(row["image"]), number): one.fields for number, one in of.items()}
        read.append((str(row["image"]), path, row, report))
        _let_go(report)
    everything = [*read, *((str(row["image"]), None, row, None) for row in failed)]
    everything.sort(key=lambda item: item[0])
    names = short_names([item[0] for item in everything])
    photographs, cracks = [], []
    for number, (name, item) in enumerate(zip(names, everything, strict=True), start=1):
        image, folder, row, facts = item
        photograph = _photograph(number, name, folder, row, facts, judged)
        photographs.append(photograph)
        for crack in (facts or {}).get("cracks", ()):
            cracks.append(_crack(photograph, crack, words_of.get((image, crack["id"]), {})))
    return photographs, cracks


def _by_folder(
    reports: list[tuple[str, Path]], rows: Mapping[str, Mapping[str, Any]], spoken: list[Spoken]
) -> dict[Path, dict[int, Spoken]]:
    """Return what a table of verdicts says of each result, by its folder."""
    names, numbers, paths = [], [], []
    for name, path in reports:
        report = _read_json(path / "report.json")
        if report is not None and "cracks" in report:
            names.append(str(rows.get(name, {}).get("image") or report["image"]["path"]))
            numbers.append(crack_numbers(report))
            paths.append(path)
    where = paths[0].parent if paths else Path()
    return dict(zip(paths, by_photograph(spoken, names, numbers, where), strict=True))


def _once(
    photographs: list[Photograph], cracks: list[SurveyCrack]
) -> tuple[list[Photograph], list[SurveyCrack]]:
    """Mark photographs that are one file under several names, by the rule of ``copies``."""
    looked_at = {
        c.photograph.number
        for c in cracks
        if c.verdict in ("accept", "reject") or c.facts.get("correction")
    }
    rows = [
        {
            **p.row,
            "sha256": p.image.get("sha256"),
            "number": p.number,
            "looked_at": p.number in looked_at,
        }
        for p in photographs
    ]
    name_of = {p.number: p.name for p in photographs}
    again = {row["number"]: name_of[first["number"]] for row, first in copies(rows)}
    marked = [
        replace(p, status=COPY, copy_of=again[p.number]) if p.number in again else p
        for p in photographs
    ]
    return marked, [crack for crack in cracks if crack.photograph.number not in again]


def _let_go(report: dict[str, Any]) -> None:
    """Drop in place what a report says point by point, and flatten its cracks."""
    report["others"] = _others(report.get("other_lines"))
    report["marks_sha256"] = marks_sha256(report)
    for key in ("other_lines", "joints", "region", "timing_s"):
        report.pop(key, None)
    report["cracks"] = [_flat(crack) for crack in report["cracks"]]


def _others(lines: Sequence[Mapping[str, Any]] | None) -> OtherLines | None:
    if lines is None:
        return None
    mm = [line["length_mm"] for line in lines]
    return OtherLines(
        count=len(lines),
        length_px=sum(line["length_px"] for line in lines),
        length_mm=None if None in mm else sum(mm),
    )


def _flat(crack: Mapping[str, Any]) -> dict[str, Any]:
    spoken = {key: crack.get(key) for key in ("verdict", "verdict_by", "note")}
    return {**flat_crack(crack), **spoken, "place": ranking.place(crack)}


def _photograph(
    number: int,
    name: str,
    folder: Path | None,
    row: Mapping[str, Any],
    report: Mapping[str, Any] | None,
    judged: Collection[str],
) -> Photograph:
    if report is None or folder is None:
        return Photograph(number=number, name=name, folder=None, status=row["status"], row=row)
    predict = report["options"]["predict"]
    codes, content = {n["code"] for n in report["warnings"]}, report["image"]["sha256"]
    behind = left_behind(folder, content, codes, verdicts_are_older=row["image"] in judged)
    return Photograph(
        number=number,
        name=name,
        folder=folder,
        status=ANALYZED if report.get("judged", True) else NOT_JUDGED,
        row=row,
        image=report["image"],
        scale=report["scale"],
        unjudged=_shares(report.get("unjudged", ())),
        impaired=_shares(report.get("impaired", ())),
        notices=(*report["warnings"], *behind),
        analyzed_mm2=report["totals"].get("analyzed_mm2"),
        detection=report.get("detection"),
        model=report["model"],
        network_run=(predict.get("precision", "float"), predict.get("runtime", "")),
        release=report["package_version"],
        others=report["others"],
        marks_sha256=report["marks_sha256"],
    )


def _shares(parts: Iterable[Mapping[str, Any]]) -> tuple[tuple[str, float], ...]:
    return tuple((part["code"], part["share"]) for part in parts)


def _crack(
    photograph: Photograph, facts: Mapping[str, Any], spoken: Mapping[str, Any]
) -> SurveyCrack:
    verdict = str(facts.get("verdict") or spoken.get("verdict") or "")
    by = str(facts.get("verdict_by") or spoken.get("by_name") or spoken.get("by") or "")
    note = str(facts.get("note") or spoken.get("note") or "")
    if verdict == "open" and not note:  # taken back: nothing is said of it
        verdict = by = ""
    return SurveyCrack(
        photograph=photograph,
        facts={key: value for key, value in facts.items() if key != "place"},
        place=facts["place"],
        verdict=verdict,
        verdict_by=by,
        note=note,
    )


def _part(crack: SurveyCrack) -> str:
    if crack.verdict == "reject":
        return "rejected"
    if crack.verdict == "accept":
        return "main"
    return "main" if crack.facts.get("section", "main") == "main" else "also_marked"
