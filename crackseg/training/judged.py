"""A survey that inspectors looked at -> its photographs, with what was said of each mark.

Read are a folder of results (``crackseg analyze``, with ``crackseg correct`` or without) and a
bundle of the service, packed or not. Verdicts stand in ``verdicts.csv`` beside ``survey.json``, in
``survey.json`` itself, or with the cracks of a report. A report, a verdict or a photograph that
does not fit is refused by name.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from crackseg.errors import DataError
from crackseg.folders import read_mark
from crackseg.verdict_table import (
    BUNDLE,
    VERDICTS,
    WORDS,
    by_photograph,
    crack_numbers,
    judged_before,
    read_json,
    read_verdicts,
)

_WANTED = {"report.json", "mask.png", "photo.jpg", ".crackseg", "survey.json", VERDICTS, BUNDLE}
_SCHEMA = "2"
_MOST_BYTES = 2 << 30  # of one unpacked file of a bundle

Words = Mapping[int, str]  # number of a crack -> accept, reject or open


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One photograph's result and what was said of its cracks."""

    name: str  # of the photograph, as the survey calls it
    folder: Path  # with report.json and mask.png
    report: Mapping[str, Any]  # as in report.json
    words: Words
    digests: Mapping[str, str] = field(default_factory=dict)  # sha256 of files, by a bundle

    @property
    def looked_at(self) -> bool:
        """Whether anybody said or changed anything."""
        return bool(self.report.get("corrections")) or bool(set(self.words.values()) - {"open"})

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the upright photograph."""
        image = self.report["image"]
        return image["height_px"], image["width_px"]

    def word(self, crack: Mapping[str, Any]) -> str:
        """Return accept, reject or open.

        An inspector's own line, and what he called a crack, is accepted unless a verdict says
        otherwise; who cuts or joins cracks does not say that they are some.
        """
        number = crack["id"]
        if number in self.words:
            return self.words[number]
        drawn = crack.get("correction") == "drawn"
        return "accept" if drawn or self._is_called_crack(crack) else "open"

    def _is_called_crack(self, crack: Mapping[str, Any]) -> bool:
        edits = (self.report.get("corrections") or {"edits": []})["edits"]
        called = {edit["id"] for edit in edits if edit["kind"] == "crack"}
        return not called.isdisjoint(crack.get("edits") or ())


@contextmanager
def opened(survey: Path) -> Iterator[Path]:
    """Give the folder of a survey; a bundle is unpacked as far as it is needed, then removed.

    Raises:
        DataError: it is neither a folder nor a bundle that can be read.
    """
    if survey.is_dir():
        yield survey
        return
    with TemporaryDirectory(prefix="crackseg-") as name:
        try:
            with zipfile.ZipFile(survey) as packed:
                _unpack(packed, Path(name))
        except (OSError, zipfile.BadZipFile, zipfile.LargeZipFile) as error:
            raise DataError(
                f"`{survey}` must be a folder of results or a bundle of the service: {error}."
            ) from error
        yield Path(name)


def _unpack(packed: zipfile.ZipFile, folder: Path) -> None:
    for member in packed.infolist():
        parts = PurePosixPath(member.filename).parts
        if not parts or parts[-1] not in _WANTED or "network" in parts or len(parts) > 3:
            continue
        if any(part in ("..", "/") or ":" in part or "\\" in part for part in parts):
            raise DataError(f"`{packed.filename}` names a file outside of it, `{member.filename}`.")
        if member.file_size > _MOST_BYTES:
            raise DataError(f"`{member.filename}` of `{packed.filename}` has over 2 GB.")
        packed.extract(member, folder)


def read_judged(folder: Path, survey: Path) -> list[Judged]:
    """Return the photographs of a survey in the order of their names.

    Args:
        folder: of the survey, unpacked.
        survey: as the user gave it, for messages.

    Raises:
        DataError: there are no results, one is incomplete or of another release, or a verdict
            names a photograph or a crack that is not there.
    """
    reports = [(path.parent, _read_report(path, survey)) for path in _reports(folder)]
    if not reports:
        raise DataError(
            f"`{survey}` holds no results: expected the `--out` folder of `crackseg analyze`, or "
            "the bundle of a survey of the service."
        )
    if older := judged_before(folder):
        raise DataError(
            f"`{VERDICTS}` of `{survey}` is older than the list of cracks of `{min(older)}`, which "
            "was analyzed again: hold its rows against that result and save it again."
        )
    names = _names(folder, [(path, report) for path, report in reports])
    numbers = [crack_numbers(report) for _, report in reports]
    spoken = by_photograph(read_verdicts(folder, survey), names, numbers, survey)
    words = [{number: one.word for number, one in of.items()} for of in spoken]
    digests = read_json(folder / BUNDLE).get("images") or {}
    _require_own(reports, digests, folder, survey)
    results = [
        Judged(
            name=name,
            folder=path,
            report=report,
            words=_with_own(report, of),
            digests=digests.get(path.relative_to(folder).as_posix()) or {},
        )
        for name, (path, report), of in zip(names, reports, words, strict=True)
    ]
    return sorted(results, key=lambda one: one.name)


def _require_own(
    reports: Sequence[tuple[Path, Mapping[str, Any]]],
    digests: Mapping[str, Mapping[str, str]],
    folder: Path,
    survey: Path,
) -> None:
    """Refuse a report that lies in the folder of another photograph of a bundle."""
    for path, report in reports:
        own = digests.get(path.relative_to(folder).as_posix()) or {}
        if own.get("photograph", report["image"]["sha256"]) != report["image"]["sha256"]:
            raise DataError(
                f"`{path.name}` of `{survey}` holds the report of another photograph; download the "
                "bundle again."
            )


def _reports(folder: Path) -> list[Path]:
    """Return the reports: of one photograph, of a survey, or of one of the service."""
    places = ("report.json", "*/report.json", "images/*/report.json")
    return sorted(path for place in places for path in folder.glob(place))


def _read_report(path: Path, survey: Path) -> dict[str, Any]:
    where = f"`{path.parent.name}` of `{survey}`"
    mark = read_mark(path.parent)
    if mark is not None and not mark.complete:
        raise DataError(f"{where} is not complete: a run was stopped; run it again.")
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        version, _ = report["schema_version"], report["image"]["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{where}: report.json cannot be read: {error}.") from error
    if version != _SCHEMA:
        raise DataError(
            f"{where} is of another release (schema {version}, expected {_SCHEMA}); analyze the "
            "photographs again."
        )
    return report  # type: ignore[no-any-return]


def _names(folder: Path, reports: Sequence[tuple[Path, Mapping[str, Any]]]) -> list[str]:
    """Return what the survey calls each photograph; a bundle knows them by the names uploaded."""
    rows = {
        row.get("folder"): row["image"]
        for row in read_json(folder / "survey.json").get("images") or ()
    }
    return [
        str(rows.get(path.relative_to(folder).as_posix()) or report["image"]["path"])
        for path, report in reports
    ]


def _with_own(report: Mapping[str, Any], words: Words) -> dict[int, str]:
    """Return the verdicts with those that a judged report holds itself."""
    own = {c["id"]: WORDS[c["verdict"]] for c in report["cracks"] if c.get("verdict") in WORDS}
    return {**own, **words}
