"""``verdicts.csv`` beside a survey's results, and what names of photographs in it mean.

Verdicts stand in that table, with the columns image_name, crack and verdict, or in ``survey.json``
itself, as the service writes it. A row that is not understood is refused by its number.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PureWindowsPath
from typing import Any

from crackseg.csv_files import read_csv
from crackseg.errors import DataError

VERDICTS = "verdicts.csv"
WORDS = {
    "accept": "accept", "accepted": "accept",
    "reject": "reject", "rejected": "reject",
    "open": "open", "undecided": "open", "": "open",
}  # fmt: skip
BUNDLE = "bundle.json"  # of a bundle: which analysis it is, and the sha256 of its files


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """One row: what was said of a crack."""

    name: str  # of the photograph
    crack: int
    word: str  # accept, reject or open
    where: str  # file and row, for messages
    by: str = ""
    note: str = ""

    @property
    def fields(self) -> dict[str, str]:
        """As ``survey.json`` of the service holds them."""
        return {"verdict": self.word, "by_name": self.by, "note": self.note}


def read_json(path: Path) -> dict[str, Any]:
    """Return the values of a file, none where it is not there.

    Raises:
        DataError: it is damaged.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise DataError(f"`{path.name}` cannot be read: {error}.") from error
    return values if isinstance(values, dict) else {}


def read_verdicts(folder: Path, survey: Path) -> list[Spoken]:
    """Return the verdicts of a survey in the order of their rows.

    Those on an earlier list of a photograph's cracks are left out: see ``judged_before``.

    Args:
        folder: of the survey, unpacked.
        survey: as the user gave it, for messages.

    Raises:
        DataError: a row is not understood, or is of another analysis than the bundle, which
            numbers its cracks otherwise.
    """
    return _parted(folder, survey)[0]


def judged_before(results: Path) -> set[str]:
    """Return the photographs, as ``survey.json`` calls them, with verdicts on an earlier list.

    ``read_verdicts`` leaves those verdicts out.
    """
    try:
        return _parted(results, results)[1]
    except (OSError, DataError):
        return set()  # no table, or one that whoever reads it refuses


def _parted(folder: Path, survey: Path) -> tuple[list[Spoken], set[str]]:
    """Return the verdicts that count, and the photographs with others, on an earlier list.

    A table names cracks by their numbers, which another analysis may give to others. When it was
    written its file tells.
    """
    spoken, table = _read(folder, survey), folder / VERDICTS
    if not table.is_file():
        return spoken, set()
    written = table.stat().st_mtime
    rows = read_json(folder / "survey.json").get("images") or ()
    names = [str(row["image"]) for row in rows]
    older = {k for k, row in enumerate(rows) if written < _since(row)}
    counting, judged = [], set()
    for one in spoken:
        places = set(_places(one.name, names))
        if not places or places - older:
            counting.append(one)
        elif one.word != "open":
            judged |= {names[k] for k in places}
    return counting, judged


def _since(row: Mapping[str, Any]) -> float:
    """Return since when a photograph lists these cracks, in s; 0: no other list was seen."""
    since = row.get("marks_since")
    return datetime.fromisoformat(since).timestamp() if since else 0.0


def _read(folder: Path, survey: Path) -> list[Spoken]:
    path = folder / VERDICTS
    if not path.is_file():
        rows = read_json(folder / "survey.json").get("verdicts") or ()
        return [_one(row, f"survey.json of `{survey}`, verdict {n}") for n, row in enumerate(rows)]
    job = read_json(folder / BUNDLE).get("job")
    return [
        _one(row.cells, f"`{VERDICTS}` of `{survey}`, row {row.line}", job)
        for row in read_csv(path, ("image_name", "crack", "verdict")).rows
    ]


def crack_numbers(report: Mapping[str, Any]) -> set[int]:
    """Return the cracks that a ``report.json`` lists, also those that an edit took off."""
    before = (report.get("corrections") or {}).get("replaced") or ()
    return {crack["id"] for crack in (*report["cracks"], *before)}


def by_photograph(
    spoken: Sequence[Spoken],
    names: Sequence[str],
    numbers: Sequence[Collection[int]],
    survey: Path,
) -> list[dict[int, Spoken]]:
    """Return what was said of each photograph's cracks, by their numbers.

    Args:
        spoken: all verdicts.
        names: of the photographs, as the survey calls them.
        numbers: of the cracks of each.
        survey: as the user gave it, for messages.

    Raises:
        DataError: a verdict names no photograph, several, or a crack that is not there, or two of
            them contradict each other.
    """
    words: list[dict[int, Spoken]] = [{} for _ in names]
    for one in spoken:
        k = _place(one, names, survey)
        if one.crack not in numbers[k]:
            raise DataError(f"{one.where}: `{one.name}` has no crack {one.crack}.")
        before = words[k].setdefault(one.crack, one)
        if before.word != one.word:
            raise DataError(
                f"{one.where}: it says {one.word} of crack {one.crack} of `{one.name}`, and "
                f"{before.where} says {before.word}; keep one of them."
            )
    return words


def _place(one: Spoken, names: Sequence[str], survey: Path) -> int:
    places = _places(one.name, names)
    if not places:
        raise DataError(f"{one.where}: there is no result of `{one.name}` in `{survey}`.")
    if len(places) > 1:
        which = ", ".join(f"`{names[k]}`" for k in places[:3])
        raise DataError(f"{one.where}: `{one.name}` may be {which}; name its folder too.")
    return places[0]


def _places(name: str, names: Sequence[str]) -> list[int]:
    """Return which photographs a name may mean: as a whole, or as the survey's tables call it.

    Else with the folders that are given, else by the file alone, of a survey that was moved.
    """
    path = PureWindowsPath(name).parts
    whole = [PureWindowsPath(full).parts for full in names]
    levels = zip(*(parts[:-1] for parts in whole), strict=False)
    above = sum(1 for _ in itertools.takewhile(lambda level: len(set(level)) == 1, levels))
    ways = (
        [k for k, full in enumerate(names) if full == name],
        [k for k, parts in enumerate(whole) if parts[above:] == path],
        [k for k, parts in enumerate(whole) if parts[-len(path) :] == path],
        [k for k, parts in enumerate(whole) if parts[-1:] == path[-1:]],
    )
    return next((places for places in ways if places), [])


def _one(row: Mapping[str, Any], where: str, job: str | None = None) -> Spoken:
    name, text = str(row.get("image_name") or ""), str(row.get("crack") or "").strip()
    word = WORDS.get(str(row.get("verdict") or "").strip().lower())
    if word is None:
        raise DataError(
            f"{where}: `verdict` must be accept, reject or open, got {row.get('verdict')!r:.40}."
        )
    if not text.isascii() or not text.isdigit():
        raise DataError(f"{where}: `crack` must be the number of a crack, got {text!r:.40}.")
    if job and (row.get("job") or job) != job:
        raise DataError(
            f"{where}: it is of another analysis, job {row['job']!r:.60}, and the bundle is of "
            f"{job!r}; download the bundle again."
        )
    by = row.get("by_name") or row.get("verdict_by") or row.get("by") or ""
    note = _plain(str(row.get("note") or ""))
    return Spoken(
        name=_plain(name), crack=int(text), word=word, where=where, by=_plain(str(by)), note=note
    )


def _plain(cell: str) -> str:
    """Return a cell's text: one that a spreadsheet would run has an apostrophe in front."""
    return cell[1:] if cell[:2] in ("'=", "'+", "'-", "'@") else cell
