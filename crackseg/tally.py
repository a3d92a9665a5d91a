"""What a folder of results holds, of a run and of those before it, is told in its survey."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from crackseg import __version__
from crackseg.config import AnalyzeOptions, to_plain
from crackseg.exports.survey import FILES, failure_row, has_result, row_of_result, write_survey
from crackseg.folders import MARK, filling, read_mark, refuse_foreign
from crackseg.inputs import Passed
from crackseg.pipeline import SCHEMA_VERSION
from crackseg.records import ModelCard
from crackseg.stores import side_by_side
from crackseg.survey import Survey, survey_from, survey_to_dict

_GONE = " The file is no longer there."


@dataclass(frozen=True, slots=True)
class Tally:
    """The files that tell of all results in a folder."""

    out: Path
    options: AnalyzeOptions
    model: ModelCard
    passed: Sequence[Passed]
    facts: Survey | None
    started: datetime = field(default_factory=lambda: datetime.now(UTC))

    def is_due(self, paths: Sequence[Path]) -> bool:
        """Return whether ``write`` will write, as far as that is known before the work."""
        if len(paths) > 1 or self.passed or self.facts or read_mark(self.out) is not None:
            return True
        own = {path.absolute() for path in paths}
        return any(Path(row["image"]).absolute() not in own for row in earlier_rows(self.out, []))

    def check(self) -> None:
        """Raise where files of others have the names of the survey's."""
        refuse_foreign(self.out, FILES)

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write the survey if there is more to tell than one report does."""
        everything = [*rows, *earlier_rows(self.out, rows)]
        passed = {str(item.path): item.reason for item in self.passed}
        passed = _earlier_passed(self.out, everything) | passed
        alone = len(everything) == 1 and has_result(everything[0]) and not passed and not self.facts
        if alone and read_mark(self.out) is None:
            return
        told = _with_since(everything, _read_survey(self.out), self.started)
        about = _about(self.model, self.options, self.started)
        about["facts"] = survey_to_dict(self.facts) if self.facts else None
        with filling(self.out, work=self.out) as fresh:
            gallery = "page" in self.options.exports
            write_survey(told, about, fresh, gallery=gallery, passed=passed)


def _with_since(
    rows: Sequence[Mapping[str, Any]], earlier: Mapping[str, Any], started: datetime
) -> list[dict[str, Any]]:
    """Return rows of results with the time since when they list the cracks that they list now.

    None where no other list was seen: verdicts name cracks by their numbers, and those given
    before that time were given on another list.
    """
    before = {row["folder"]: row for row in earlier.get("images", ()) if row.get("folder")}
    told = []
    for row in rows:
        was = before.get(row.get("folder"), {})
        since = was.get("marks_since")
        if was.get("marks_sha256") not in (None, row.get("marks_sha256")):
            since = started.isoformat()
        told.append({**row, "marks_since": since} if has_result(row) else dict(row))
    return told


def earlier_rows(out: Path, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of results and failures of earlier runs that this run says nothing of.

    A failure, or what no run has reached, stays where its file was deleted, and says so: that part
    of the wall was never looked at. It goes where a file that differs in its suffix alone has a
    result: it was converted.
    """
    folders = {row["folder"] for row in rows}
    earlier: list[dict[str, Any]] = []
    others = sorted(path for path in out.iterdir() if path.is_dir() and path.name not in folders)
    earlier.extend(row for row in side_by_side(_earlier_row, others, out) if row)
    told = {Path(row["image"]).absolute(): has_result(row) for row in [*rows, *earlier]}
    analyzed = {path.with_suffix("") for path, result in told.items() if result}
    for row in _read_survey(out).get("images", ()):
        path = Path(row["image"]).absolute()
        if has_result(row) or path in told:
            continue
        # Deleted, not on a drive that is away; a link that leads nowhere is there.
        gone = path.parent.is_dir() and not os.path.lexists(path)
        if not gone or path.with_suffix("") not in analyzed:
            reason = row["reason"].removesuffix(_GONE) + _GONE * gone
            earlier.append(failure_row(Path(row["image"]), reason, row["status"]))
    return earlier


def _earlier_row(folder: Path) -> dict[str, Any] | None:
    report = read_report(folder)
    return row_of_result(report, folder, "earlier") if report else None


def _earlier_passed(out: Path, rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the files that earlier runs left aside and that are still there."""
    named = {Path(row["image"]).absolute() for row in rows}
    earlier = {row["path"]: row["reason"] for row in _read_survey(out).get("passed_over", ())}
    return {
        path: reason
        for path, reason in earlier.items()
        if Path(path).exists() and Path(path).absolute() not in named
    }


def earlier_facts(out: Path) -> Survey | None:
    """Return what an earlier run into a folder knew of the survey."""
    facts = _read_survey(out).get("facts")
    return survey_from(facts) if facts else None


def _read_survey(out: Path) -> dict[str, Any]:
    mark = read_mark(out)
    if mark is None or "survey.json" not in mark.files:
        return {}
    try:
        survey = json.loads((out / "survey.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return survey if isinstance(survey, dict) else {}


def records_of(out: Path, name: str) -> tuple[Path, Path]:
    """Return the files that tell what an earlier run made of a photograph."""
    return out / name / MARK, out / name / "report.json"


def read_report(folder: Path) -> dict[str, Any] | None:
    """Return the report of an earlier run, or None where there is none of this schema."""
    mark = read_mark(folder)
    if mark is None or not mark.origin or not mark.complete:
        return None
    try:
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    fits = isinstance(report, dict) and report.get("schema_version") == SCHEMA_VERSION
    return report if fits else None


def _about(card: ModelCard, options: AnalyzeOptions, started: datetime) -> dict[str, Any]:
    return {
        "package_version": __version__,
        "started_at": started.isoformat(timespec="seconds"),
        "ended_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": {
            "name": card.name,
            "version": card.version,
            "sha256": card.sha256.get("model.onnx", ""),
        },
        "options": to_plain(options),
    }
