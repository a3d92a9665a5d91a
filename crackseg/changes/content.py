"""What changed between two dates, in words: the page, the PDF and the workbook are its forms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from crackseg.changes.crops import Pair
from crackseg.exports.wording import digits_for
from crackseg.records import Notice
from crackseg.words import Words

_COUNTED = ("new", "gone", "longer", "shorter", "wider", "narrower", "same", "not_shown_before",
            "not_shown_now", "other_line_before", "other_line_now", "doubtful")  # fmt: skip
_ALWAYS = ("new", "gone", "longer", "wider")  # counted even where there is none


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A crack of the list of changes, in words."""

    id: int
    change: str
    cells: tuple[str, ...]  # as ``Content.heading``
    pair: Pair | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """Everything that a comparison says."""

    words: Words
    title: str
    structure: str  # dam and part; empty where no survey.toml names them
    span: str
    cautions: tuple[str, ...]
    counts: tuple[tuple[str, str], ...]  # number and what it is of
    dates: tuple[tuple[str, ...], ...]  # a heading and rows: what, before, now, difference
    heading: tuple[str, ...]
    rows: tuple[Shown, ...]
    laid: tuple[str, ...]
    values: Mapping[str, Any] = field(repr=False)  # as ``changes.json``


def compose(
    values: Mapping[str, Any], cautions: Sequence[Notice], crops: Mapping[int, Pair], words: Words
) -> Content:
    """Return a comparison in words.

    Args:
        values: as ``changes.json`` holds them.
        cautions: what to mind, in the language.
        crops: by lasting id.
        words: the language.
    """
    old, new = (_day(values[name]["inspected_on"], words) for name in ("old", "new"))
    names = ("id", "change", "longer_by", "wider_by", "width", "station", "elevation", "old_ids",
             "new_ids")  # fmt: skip
    return Content(
        words=words,
        title=words("changes.title"),
        structure=_structure(values),
        span=words(
            "changes.span", old=old or words("changes.earlier"), new=new or words("changes.later")
        ),
        cautions=tuple(notice.message for notice in cautions),
        counts=tuple(
            (str(values["totals"][name]), words(f"change.{name}"))
            for name in _COUNTED
            if values["totals"][name] or name in _ALWAYS
        ),
        dates=tuple(_dates(values, words)),
        heading=tuple(words(f"changes.{name}") for name in names),
        rows=tuple(_row(row, crops, words) for row in values["changes"]),
        laid=tuple(_laid(values["registration"], words)),
        values=values,
    )


def _structure(values: Mapping[str, Any]) -> str:
    """Return what was photographed, as the later survey names it, else the earlier."""
    old, new = values["old"], values["new"]
    return ", ".join(filter(None, (new[name] or old[name] for name in ("dam", "part"))))


def _day(value: str | None, words: Words) -> str | None:
    return None if value is None else words.date(date.fromisoformat(str(value)))


def _dates(values: Mapping[str, Any], words: Words) -> list[tuple[str, ...]]:
    """Return the table of the two dates, beside each other."""
    unknown = words("general.not_known")
    old, new, between = values["old"], values["new"], values["between"]

    def pair(name: str, digits: int) -> tuple[str, str, str]:
        before, now = (
            unknown if x[name] is None else words.number(x[name], digits) for x in (old, new)
        )
        change = between.get(name)
        return before, now, "" if change is None else _signed(change, digits, words)

    def texts(name: str) -> tuple[str, str, str]:
        before, now = (
            ", ".join(x[name]) if isinstance(x[name], list) else x[name] for x in (old, new)
        )
        return before or unknown, now or unknown, ""

    days = (_day(x["inspected_on"], words) or unknown for x in (old, new))
    head = ("", *(words(f"changes.{name}") for name in ("before", "now", "between")))
    return [
        head,
        (words("changes.date"), *days, ""),
        (words("changes.reservoir"), *pair("reservoir_level_m", 2)),
        (words("changes.temperature"), *pair("temperature_c", 1)),
        (words("head.weather"), *texts("weather")),
        (words("head.people"), *texts("people")),
        (words("changes.cracks"), *pair("cracks", 0)),
        (words("changes.length"), *pair("length_m", 2)),
        (words("changes.photographs"), *pair("photographs", 0)),
        (words("changes.mm_per_px"), *pair("mm_per_px", 2)),
        (words("changes.model"), *texts("models")),
    ]


def _row(row: Mapping[str, Any], crops: Mapping[int, Pair], words: Words) -> Shown:
    parts = [words(f"change.{name.replace(' ', '_')}") for name in row["words"]]
    parts += [words(f"change.{row['link']}")] if row["link"] else []
    parts += [words("change.doubtful")] if row["section"] != "main" else []
    parts += [words("changes.limit")] if row["below_limit"] else []
    width = row["width_mm"]
    cells = (
        str(row["lasting_id"]),
        ", ".join(parts),
        _grown(row["longer_by_mm"], row["longer_u_mm"], words),
        _grown(row["wider_by_mm"], row["wider_u_mm"], words),
        "" if width is None else words.number(width, 2),
        words.number(row["station_m"], 2),
        words.number(row["elevation_m"], 2),
        ", ".join(map(str, row["old_ids"])),
        ", ".join(map(str, row["new_ids"])),
    )
    return Shown(
        id=row["lasting_id"],
        change=", ".join(parts),
        cells=cells,
        pair=crops.get(row["lasting_id"]),
    )


def _grown(by_mm: float | None, u_mm: float | None, words: Words) -> str:
    if by_mm is None:
        return ""
    digits = digits_for(u_mm, by_mm)
    return f"{_signed(by_mm, digits, words)} ± {words.number(u_mm, digits)}"


def _signed(value: float, digits: int, words: Words) -> str:
    number = words.number(abs(value), digits)
    if not float(f"{value:.{digits}f}"):
        return number
    return f"+{number}" if value > 0 else f"−{number}"


def _laid(registration: Mapping[str, Any], words: Words) -> list[str]:
    by = "by_features" if registration["source"] == "features" else "by_coordinates"
    sigma = words.number(registration["sigma_mm"], 1)
    first = words(f"changes.{by}", n=registration["points"], sigma=sigma)
    return [first, words("changes.counts"), words("changes.lasting")]
